"""From what a file holds to a `Recording`: pick the signals, unit to mV, names and order of the field.

Every format's parser (tools/formats.py, tools/tables.py) hands over `Channels`, as found; `heal` is the one place
that decides. What it changes or leaves out it says in `warnings`; what the file does not say it asks for
(`NeedsFields`) and never guesses. Decisions worth knowing:

- MLII, the modified lead II of Holter sets (MIT-BIH), is named II, and a warning says so.
- The eight leads I, II, V1–V6 that some vendors store get III, aVR, aVL, aVF by Einthoven's and Goldberger's
  equations; other subsets are left as they are.
- -aVR is turned over. A name that occurs twice keeps its first lead; an unknown name becomes ECG1, ECG2, …:
  no text of a file gets through.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tools.channels import Channels, plain_unit, volts
from tools.errors import NeedsFields, UnreadableFile
from tools.recording import KINDS, LEADS, META_FIELDS, Recording, canonical_lead
from tools.safety import MAX_HOURS, MAX_LEADS, RATE_HZ, check_count

_KEPT_UNITS = {"bpm": "bpm", "nu": "NU", "l": "L", "l/s": "L/s", "ml": "mL", "ml/s": "mL/s", "%": "%"} | {
    "nv": "nV", "uv": "uV", "mv": "mV", "v": "V"
}  # fmt: skip
_DEFAULT_UNIT = {"ppg": "NU", "ctg": "bpm"}  # a pulse wave has no unit of its own
# Leads beyond the twelve whose names are kept; anything else becomes ECG1, ECG2, ...
_OTHER_LEAD = re.compile(
    r"(V|V[7-9]R?|V[2-6]R|V[XYZ]|[XYZ]|ML(I|II|III)|MCL\d?|MV\d|CM\d|CC\d|CS\d|CB\d|NASA|ES|AS|AI|D[34]|MOD\.? ?V?\d?)"
)
_KIND_NAMES = {
    "ppg": re.compile(r"PLETH\w*|PPG\w*|PULSE|BVP|RED|IR"),
    "ctg": re.compile(r"FHR\d?|UC|TOCO|UA|MHR"),
    "spirogram": re.compile(r"FLOW|VOLUME|VOL|MANOEUVRE \d{1,2}"),
    "other": re.compile(
        r"RESP\w*|A?BP|ART|[CPI][AVC]P|P?AP|SPO2|ETCO2|CO2|TEMP\w*|HR|TREND\w*|STATUS|(EEG|EOG|EMG)\b.*|SCG|GSR|ACC\w*"
    ),
}


def known_unit(unit: str) -> bool:
    """Whether a recording can be in this unit."""
    return volts(unit) is not None or plain_unit(unit) in _KEPT_UNITS


def heal_all(found: Channels, *, kind: str | None = None, **given: Any) -> list[Recording]:
    """The recordings in these channels: one of `kind`, or with "all" one of each kind that their names tell."""
    if kind != "all" or found.kind:
        return [heal(found, kind=None if kind == "all" else kind, **given)]
    named = [_kind_of(name, unit) for name, unit in zip(found.names, found.units, strict=True)]
    kinds: list[str] = [one for one in KINDS if one in named] or ["ecg"]
    return [heal(replace(found, warnings=[*found.warnings]), kind=one, beside=kinds, **given) for one in kinds]


def heal(
    found: Channels,
    *,
    fs_hz: float | None = None,
    unit: str | None = None,
    kind: str | None = None,
    beside: Sequence[str] = (),
) -> Recording:
    """The recording in these channels; see the module docstring for what is healed. Channels of the kinds `beside`
    are read too: that they are left out here is not said."""
    check_count(len(found.signals), max((len(signal) for signal in found.signals), default=0))
    kind = _choose_kind(found, kind or found.kind, beside)
    _fill(found, kind, fs_hz, unit)
    _same_rate(found)
    rate = float(found.rates_hz[0] or 0)
    _check_rate(kind, rate, len(found.signals[0]))
    out_unit = _to_unit(found, kind)
    if kind == "ecg":
        _name_leads(found)
        _derive_limb_leads(found)
        _order(found)
    else:
        found.names = _numbered([_safe_name(name, kind) for name in found.names])
    if len(found.signals) > MAX_LEADS:
        raise UnreadableFile(f"the file holds {len(found.signals)} {kind} leads, at most {MAX_LEADS} are read")
    signal = np.stack(found.signals).astype(np.float32)
    _check_values(signal, found, out_unit)
    gains = [gain for gain in found.gain if gain]
    return Recording(
        signal=signal,
        fs_hz=rate,
        leads=tuple(found.names),
        kind=kind,
        unit=out_unit,
        gain=tuple(gains) if len(gains) == len(signal) else None,
        meta=_clean_meta(found),
        warnings=tuple(dict.fromkeys(found.warnings)),
    )


def _kind_of(name: str, unit: str | None) -> str:
    """Which kind a channel is, "other" for what no tool reads, "unknown" where nothing tells."""
    upper = name.strip(" ,;'\".").upper()
    if canonical_lead(name) or re.fullmatch(r"-AVR|(ECG|EKG)[\s_-]?\w{0,3}", upper) or _OTHER_LEAD.fullmatch(upper):
        return "ecg"
    for kind, pattern in _KIND_NAMES.items():
        if pattern.fullmatch(upper):
            return kind
    return "unknown" if unit is None or volts(unit) else "other"


def _choose_kind(found: Channels, wanted: str | None, beside: Sequence[str] = ()) -> str:
    """Keep the channels of one kind; what is left out is said."""
    kinds = [_kind_of(name, unit) for name, unit in zip(found.names, found.units, strict=True)]
    order = (wanted,) if wanted else ("ecg", "ppg", "ctg", "spirogram")
    chosen = next((kind for kind in order if kind in kinds), None)
    if chosen is None and "unknown" in kinds:
        chosen, kinds = wanted or "ecg", [wanted or "ecg" if kind == "unknown" else kind for kind in kinds]
    elif chosen == "ecg":
        kinds = ["ecg" if kind == "unknown" else kind for kind in kinds]
    if chosen is None:
        raise UnreadableFile(f"the file holds no {wanted or 'ECG, PPG or CTG'} signal: choose another file or kind")
    others = [name for name, kind in zip(found.names, kinds, strict=True) if kind not in {chosen, *beside}]
    left = sorted({_safe_name(name, "other") for name in others})
    found.take([row for row, kind in enumerate(kinds) if kind == chosen])
    if left:
        found.warnings.append(f"Channels that are not {chosen.upper()} were left out: {', '.join(left)}.")
    return chosen


def _safe_name(name: str, kind: str) -> str:
    """A name of the lists above, or a plain word; never the file's own text."""
    upper = name.strip(" ,;'\".").upper()
    if kind == "spirogram" and (blow := re.fullmatch(r"MANOEUVRE (\d{1,2})", upper)):
        return f"manoeuvre {int(blow[1])}"
    known = any(pattern.fullmatch(upper) for pattern in _KIND_NAMES.values())
    return re.match(r"\w{1,8}", upper).group() if known else kind.upper()  # type: ignore[union-attr]


def _fill(found: Channels, kind: str, fs_hz: float | None, unit: str | None) -> None:
    """Put in what the caller gave where the file is silent; ask for what is still missing."""
    missing = []
    if kind == "ecg":  # "adu" and the like say nothing
        found.units = [own if volts(own) else None for own in found.units]
    if None in found.rates_hz:
        found.rates_hz = [rate or fs_hz for rate in found.rates_hz]
        missing += ["fs_hz"] * (fs_hz is None)
    elif fs_hz and abs(fs_hz - (found.rates_hz[0] or 0)) > 1e-3:
        found.warnings.append(f"The file says {found.rates_hz[0]:g} Hz; the given {fs_hz:g} Hz was not used.")
    default = unit or _DEFAULT_UNIT.get(kind)
    if None in found.units:
        found.units = [own or default for own in found.units]
        missing += ["unit"] * (default is None)
    elif unit and found.units[0] and plain_unit(unit) != plain_unit(found.units[0]):
        found.warnings.append("The file says its own unit; the given one was not used.")
    if missing:
        words = {"fs_hz": "sampling rate (--fs-hz)", "unit": "unit (--unit mV or uV)"}
        raise NeedsFields(
            f"the file does not say its {' or '.join(words[m] for m in missing)}: give it", tuple(missing)
        )


def _same_rate(found: Channels) -> None:
    """Keep the largest group of channels that share rate and length."""
    shapes = [(rate, len(signal)) for rate, signal in zip(found.rates_hz, found.signals, strict=True)]
    common, number = Counter(shapes).most_common(1)[0]
    if number < len(shapes):
        found.warnings.append(f"{len(shapes) - number} channels of another rate or length were left out.")
        found.take([row for row, shape in enumerate(shapes) if shape == common])


def _check_rate(kind: str, rate: float, samples: int) -> None:
    low, high = RATE_HZ[kind]
    if not low <= rate <= high:
        raise UnreadableFile(
            f"a rate of {rate:g} Hz is outside {low:g}–{high:g} Hz, the range for {kind}: check the file"
        )
    if samples > MAX_HOURS * 3600 * rate:
        raise UnreadableFile(f"the recording is longer than {MAX_HOURS} hours: cut out a part")


def _to_unit(found: Channels, kind: str) -> str:
    """Bring the channels to mV (ECG) or name the unit they are in."""
    if kind != "ecg":
        unit = _KEPT_UNITS.get(plain_unit(found.units[0] or ""), _DEFAULT_UNIT.get(kind))
        if unit is None:
            raise NeedsFields(f"the file does not say its unit (--unit) in a way a {kind} can have: give it", ("unit",))
        return unit
    scales = [volts(unit) or 1.0 for unit in found.units]
    for row, scale in enumerate(scales):
        if scale != 1:
            found.signals[row] = found.signals[row] * np.float64(scale)
            found.gain[row] = float(np.float64(gain) / scale) if (gain := found.gain[row]) else None
    if any(scale != 1 for scale in scales):
        found.warnings.append(
            f"Converted from {_KEPT_UNITS.get(plain_unit(found.units[0] or ''), 'another unit')} to mV."
        )
    return "mV"


def _name_leads(found: Channels) -> None:
    """Canonical names; -aVR turned over, MLII as II, doubles and strangers made plain."""
    names = []
    for row, name in enumerate(re.sub(r"_\d$", "", name.strip(" ,;'\".")) for name in found.names):
        if name.upper() == "-AVR":
            found.signals[row] = -found.signals[row]
            found.warnings.append("The lead -aVR was turned over to aVR.")
            name = "aVR"
        known = canonical_lead(name)
        names.append(known or (name.upper() if _OTHER_LEAD.fullmatch(name.upper()) else "ECG"))
    if "MLII" in names and "II" not in names:
        names[names.index("MLII")] = "II"
        found.warnings.append(
            "Lead II is MLII, recorded from the chest: amplitudes and axis differ from a standard lead II."
        )
    keep = [row for row, name in enumerate(names) if name not in LEADS or names.index(name) == row]
    if len(keep) < len(names):
        double = sorted({name for row, name in enumerate(names) if row not in keep}, key=LEADS.index)
        found.warnings.append(f"Leads that the file holds twice were kept once: {', '.join(double)}.")
    found.take(keep)
    found.names = _numbered([names[row] for row in keep])


def _numbered(names: list[str]) -> list[str]:
    """ECG, ECG -> ECG1, ECG2."""
    total: Counter[str] = Counter(names)
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(f"{name}{seen[name]}" if total[name] > 1 else name)
    return numbered


def _derive_limb_leads(found: Channels) -> None:
    """The four limb leads that follow from I and II, where a file stores exactly I, II and V1–V6."""
    if set(found.names) != {"I", "II", *LEADS[6:]}:
        return
    rows = [found.names.index(name) for name in ("I", "II")]
    one, two = (np.asarray(found.signals[row], np.float64) for row in rows)
    gain = found.gain[rows[0]] if found.gain[rows[0]] == found.gain[rows[1]] else None
    steps = (1, 2, 2, 2)  # half sums need half steps
    for name, lead, step in zip(
        LEADS[2:6], (two - one, -(one + two) / 2, one - two / 2, two - one / 2), steps, strict=True
    ):
        found.names.append(name)
        found.signals.append(lead)
        found.gain.append(gain and gain * step)
        found.rates_hz.append(found.rates_hz[0])
        found.units.append("mV")
    found.warnings.append("The file stores eight leads; III, aVR, aVL and aVF were computed from I and II.")


def _order(found: Channels) -> None:
    """I … V6 first, the rest in the file's order."""
    rank = [LEADS.index(name) if name in LEADS else len(LEADS) for name in found.names]
    order = sorted(range(len(rank)), key=rank.__getitem__)
    if order != list(range(len(rank))):
        found.take(order)
        if not any("computed from I and II" in text for text in found.warnings):
            found.warnings.append("The leads were put into the usual order.")


def _check_values(signal: np.ndarray, found: Channels, unit: str) -> None:
    """All missing is an error, flat is not; amplitudes no heart makes get a warning."""
    endless = np.isinf(signal) | (np.abs(signal) > 1e7)
    if endless.any():
        signal[endless] = np.nan
        found.warnings.append("Values too large to be a signal were taken as missing.")
    if not np.isfinite(signal).any():
        raise UnreadableFile("the file holds no valid sample: every value is missing")
    if unit != "mV":
        return
    spread = np.array([row[np.isfinite(row)].std() if np.isfinite(row).any() else 0 for row in signal])
    spread = spread[spread > 0]
    if spread.size and np.median(spread) > 20:
        found.warnings.append(
            "The amplitudes are far too large for mV: the unit is probably uV, or electrodes are off."
        )
    if spread.size and np.median(spread) < 0.002:
        found.warnings.append("The amplitudes are far too small for mV: the unit is probably V, or electrodes are off.")


def _clean_meta(found: Channels) -> dict[str, Any]:
    """The whitelisted fields, each in the one form it may have."""
    meta = {key: found.meta[key] for key in META_FIELDS if found.meta.get(key) not in (None, "")}
    if "age" in meta:
        age = float(meta.pop("age"))
        if age == 300:  # how PTB-XL writes it
            meta["age"] = 90.0
            found.warnings.append("The age is given as over 89 years and taken as 90.")
        elif 0 <= age <= 120:
            meta["age"] = age
        else:
            found.warnings.append("The age is impossible and was left out.")
    if "sex" in meta:
        sex = str(meta.pop("sex")).strip().upper()[:1]
        meta |= {"sex": sex} if sex in ("M", "F") else {}
    if "device" in meta:
        device = re.sub(r"[^A-Za-z0-9 ./+-]", "", str(meta.pop("device"))).strip()
        meta |= {"device": device[:40]} if device else {}
    if "date" in meta and not re.fullmatch(r"\d{4}-\d\d-\d\d(T[\d:.+-]{5,20})?", str(meta["date"])):
        meta.pop("date")
    if "synthetic" in meta:
        meta["synthetic"] = bool(meta["synthetic"])
    if "rebuilt" in meta:
        meta["rebuilt"] = " ".join(lead for lead in LEADS if lead in str(meta["rebuilt"]).split())
    return meta
