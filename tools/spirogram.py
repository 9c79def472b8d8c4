"""`read_spirogram`: what forced expirations show, against GLI.

    volumes in L -> each blow (tools/spirometry.py: measure) -> the session's best values and grade (session)
    -> predicted, LLN and z (tools/gli.py) -> pattern and severity (here)
    -> figure (tools/spirogram_sheet.py), report and sentences (tools/spirogram_words.py)

Pattern and severity follow the ERS/ATS technical standard on interpretation (Stanojevic et al. 2022,
doi 10.1183/13993003.01499-2021): FEV1/FVC below its LLN is obstruction, FVC below its LLN with a normal ratio is
possible restriction, and severity is told by z. `obstruction_probability` is another thing: what a small network
(encoders/spiro.py) sees in the curve alone, without age, height or sex, also where a blow ended early.

    result = read_spirogram(recording, ReadSpirogram(age=45, sex="F", height_cm=165), out)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tools import gli
from tools.errors import UsageError
from tools.recording import Recording
from tools.spirogram_words import DIGITS, report, sentences
from tools.spirometry import YOUNG, flow_of, measure, session, volume_of_flow

__all__ = ["read_spirogram", "sentences"]

LITRES = {"L": 1.0, "mL": 1e-3, "L/s": 1.0, "mL/s": 1e-3}
POSSIBLE_L = (0.3, 12.0)  # what a forced expiration can hold
SEVERITY = ((-1.645, None), (-2.5, "mild"), (-4.0, "moderate"), (-np.inf, "severe"))
FULL_PATTERNS = {  # (ratio low, FVC low)
    (True, False): "airflow obstruction",
    (True, True): "airflow obstruction with a low FVC",
    (False, True): "possible restriction",
}


@dataclass(frozen=True)
class Blow:
    """A manoeuvre that could be measured: its number from 1, volume in L from full lungs, and `measure`'s result."""

    number: int
    volume_l: np.ndarray
    told: dict[str, Any]


def read_spirogram(recording: Recording, arguments: Any = None, out: Path | None = None) -> dict[str, Any]:
    """Read a spirogram; writes a figure into `out`.

    Parameters
    ----------
    recording : of kind "spirogram", a row a manoeuvre, in L, mL, L/s or mL/s.
    arguments : age in years, sex "F" or "M", height_cm; equations "GLI-2022" (default) or "GLI-2012", and for these
        group (one of tools.gli.GROUPS). Age and sex of the recording are used where they are not given.

    Returns
    -------
    fev1_l, fvc_l, fev1_fvc, pef_lps, fef2575_lps, fev6_l, fet_s, bev_l : the session's; None where not measurable.
    predicted, lln, z_scores, percent_predicted : {measure: value}; None for an unknown person, and warnings says why.
    pattern, severity, obstruction_probability, report, grade, grades, repeatability_l, manoeuvres, best_manoeuvre,
    age, sex, height_cm, equations, group, figure, warnings.

    Raises
    ------
    UsageError : no manoeuvre holds a forced expiration, an impossible unit, an unknown equation or group.
    """
    from tools.paper import save
    from tools.spirogram_sheet import drawn

    result, blows, best = told_of(recording, arguments)
    curves = [_curves(blow, recording.fs_hz) for blow in blows]
    place = {**result, "best_manoeuvre": best + 1}
    return result | {"figure": str(save(drawn(curves, place), recording, "flow-volume", "svg", out))}


def told_of(recording: Recording, arguments: Any = None) -> tuple[dict[str, Any], list[Blow], int]:
    """The result of `read_spirogram` without its figure, its manoeuvres, and which of them is the best."""
    volumes, warnings = volumes_l(recording)
    person, reason = _person(recording, arguments)
    equations = getattr(arguments, "equations", None) or "GLI-2022"
    if equations not in gli.EQUATIONS:
        raise UsageError(f"--equations: {' or '.join(gli.EQUATIONS)}")
    young = person is not None and person.age <= YOUNG
    blows, empty = measured(volumes, recording.fs_hz, young)
    warnings += [f"Manoeuvre {number} holds no forced expiration and was left out." for number in empty]
    told = session([blow.told for blow in blows], young)
    result: dict[str, Any] = {key: _rounded(told[key], digits) for key, digits in DIGITS.items()}
    result |= {"grade": told["grade"], "grades": told["grades"], "best_manoeuvre": blows[told["best"]].number}
    result["repeatability_l"] = {of: _rounded(value, 3) for of, value in told["repeatability_l"].items()}
    result["manoeuvres"] = [_row(blow, n, told) for n, blow in enumerate(blows)]
    warnings += _quality(blows, told)
    result |= {"age": None, "sex": None, "height_cm": None, "equations": equations, "group": None}
    result |= dict.fromkeys(("predicted", "lln", "z_scores", "percent_predicted", "pattern", "severity"))
    if person is not None:
        try:
            result |= _against(person, equations, told, warnings)
        except UsageError as error:
            reason = f"No predicted values: {str(error).removeprefix('--')}."
    if result["predicted"] is None:
        warnings.append(reason)
    result["obstruction_probability"] = _seen(blows[told["best"]], recording.fs_hz, warnings)
    result["warnings"] = [*recording.warnings, *warnings]
    result["report"] = report(result)
    return result, blows, told["best"]


def measured(volumes: list[np.ndarray], fs_hz: float, young: bool = False) -> tuple[list[Blow], list[int]]:
    """The manoeuvres that hold a forced expiration, and the numbers of those that do not; UsageError if none does."""
    blows, empty = [], []
    for number, volume in enumerate(volumes, 1):
        try:
            blows.append(Blow(number, volume, measure(volume, fs_hz, young)))
        except UsageError:
            empty.append(number)
    if not blows:
        raise UsageError("no manoeuvre holds a forced expiration: give exhaled volume (L) or flow (L/s) over time")
    return blows, empty


def best_blow(recording: Recording) -> Blow:
    """The manoeuvre whose curve is read; raises as `read_spirogram` does."""
    blows, _ = measured(volumes_l(recording)[0], recording.fs_hz)
    return blows[session([blow.told for blow in blows], False)["best"]]


def volumes_l(recording: Recording) -> tuple[list[np.ndarray], list[str]]:
    """Exhaled volume in L of each manoeuvre, and what had to be mended, in sentences."""
    if recording.unit not in LITRES:
        raise UsageError(
            f"a spirogram is in L, mL, L/s or mL/s, this recording is in {recording.unit[:12]}: give its unit"
        )
    rows = [n for n, name in enumerate(recording.leads) if not name.upper().startswith("FLOW")]
    flows = recording.unit.endswith("/s")
    signal = recording.signal[range(len(recording.leads)) if flows or not rows else rows].astype(float)
    volumes = list(signal * LITRES[recording.unit])
    if flows or not rows:
        volumes = [volume_of_flow(row, recording.fs_hz) for row in volumes]
    warnings: list[str] = []
    for n, volume in enumerate(volumes):
        known = volume[np.isfinite(volume)]
        if known.size < 2:
            continue
        rises = float((known - np.minimum.accumulate(known)).max())
        falls = float((np.maximum.accumulate(known) - known).max())
        if rises < 0.5 * falls:
            volumes[n] = -volume
            warnings.append(f"The volume of manoeuvre {n + 1} falls during the blow: its sign was turned over.")
        elif known.min() < -0.05 * falls - 0.05 and not flows:
            warnings.append(
                f"Manoeuvre {n + 1} has negative volumes: volume was counted from its lowest level before the blow."
            )
    return _possible(volumes, warnings), warnings


def _possible(volumes: list[np.ndarray], warnings: list[str]) -> list[np.ndarray]:
    """Litres that can be: what is a thousand times too large or small is in another unit."""
    sizes = [float(np.nanmax(v) - np.nanmin(v)) for v in volumes if np.isfinite(v).any()]
    largest = max(sizes, default=0.0)
    for factor, words in ((1e-3, "millilitres given as litres"), (1e3, "litres given as millilitres")):
        off = largest > 100 if factor < 1 else 0 < largest < 0.02
        if off and POSSIBLE_L[0] <= largest * factor <= POSSIBLE_L[1]:
            warnings.append(f"A volume of {largest:.3g} L is impossible: read as {words}. Check the unit of the file.")
            return [volume * factor for volume in volumes]
    if largest > POSSIBLE_L[1]:
        raise UsageError(f"a volume of {largest:.3g} L is impossible in one breath: check the unit of the file")
    return volumes


def _person(recording: Recording, arguments: Any) -> tuple[gli.Person | None, str]:
    """Whom the values are for, or why they are for nobody."""
    age, sex, height, group = (getattr(arguments, key, None) for key in ("age", "sex", "height_cm", "group"))
    age = recording.meta.get("age") if age is None else age
    sex = recording.meta.get("sex") if sex is None else sex
    needed = {"age (--age)": age, "sex (--sex)": sex, "height (--height-cm)": height}
    missing = [name for name, value in needed.items() if value is None]
    if age is None or sex is None or height is None:
        return None, f"No predicted values: {', '.join(missing)} not known."
    return gli.Person(float(age), str(sex), float(height), group), ""


def _against(person: gli.Person, equations: str, told: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    """What GLI predicts for this person, and what the values are beside it."""
    of = gli.references(person, equations)
    measures = ("fev1_l", "fvc_l", "fev1_fvc", "fef2575_lps")
    out: dict[str, Any] = {"age": person.age, "sex": person.sex, "height_cm": person.height_cm}
    out["group"] = (person.group or "Other") if equations == "GLI-2012" else None
    out["predicted"] = {key: _rounded(of[key].predicted if key in of else None, DIGITS[key]) for key in measures}
    out["lln"] = {key: _rounded(of[key].lln if key in of else None, DIGITS[key]) for key in measures}
    here = {key: told[key] for key in measures if key in of and told[key] is not None}
    out["z_scores"] = {key: _rounded(of[key].z(here[key]) if key in here else None, 2) for key in measures}
    out["percent_predicted"] = {
        key: round(100 * value / of[key].predicted) for key, value in here.items() if key != "fev1_fvc"
    }
    peak = gli.peak_flow_lps(person)
    out["predicted"]["pef_lps"], out["lln"]["pef_lps"] = (_rounded(v, 2) for v in peak or (None, None))
    if peak:
        out["percent_predicted"]["pef_lps"] = round(100 * told["pef_lps"] / peak[0])
    else:
        warnings.append("No predicted PEF: NHANES III reaches from 8 to 80 years.")
    if "fef2575_lps" not in of:
        why = "GLI Global 2022 has no equation for it" if equations == "GLI-2022" else "GLI-2012 has it to 90 years"
        warnings.append(f"No predicted FEF25-75: {why}.")
    if equations == "GLI-2012" and person.group is None:
        warnings.append("No group was given; GLI-2012's equation for other or mixed groups was used.")
    out["pattern"], out["severity"] = _pattern({key: of[key].z(value) for key, value in here.items()}, told, warnings)
    return out


def _pattern(z: dict[str, float], told: dict[str, Any], warnings: list[str]) -> tuple[str | None, str | None]:
    """Names of pattern and severity by z; neither where the blows do not allow it."""
    if "fev1_fvc" not in z:
        return None, None
    if not (told["usable"]["fev1"] and told["usable"]["fvc"]):
        warnings.append("No pattern is named: no manoeuvre gives a usable FEV1 and FVC.")
        return None, None
    low = {key: z[key] < gli.LLN_Z for key in ("fev1_l", "fvc_l", "fev1_fvc")}
    if not (told["acceptable"]["fvc"] and told["ended"]) and (low["fvc_l"] or not low["fev1_fvc"]):
        warnings.append(
            "No manoeuvre ends as it should: FVC may be larger, so a low FVC does not mean restriction and a "
            "normal FEV1/FVC does not exclude obstruction."
        )
        if not low["fev1_fvc"]:
            return None, None
    name = FULL_PATTERNS.get(
        (low["fev1_fvc"], low["fvc_l"]), "low FEV1 alone" if low["fev1_l"] else "normal spirometry"
    )
    worst = z["fvc_l"] if name == "possible restriction" else z["fev1_l"]
    severity = next(word for limit, word in SEVERITY if worst >= limit)
    return name, severity if name != "normal spirometry" else None


def _seen(blow: Blow, fs_hz: float, warnings: list[str]) -> float | None:
    from encoders.spiro import opened
    from encoders.weights import MissingModel

    try:
        return round(opened().read(blow.volume_l, fs_hz).probability, 2)
    except MissingModel as error:
        warnings.append(f"No probability from the curve: {error}.")
        return None


def _row(blow: Blow, n: int, told: dict[str, Any]) -> dict[str, Any]:
    """A manoeuvre as the result shows it."""
    return {
        "number": blow.number,
        **{key: _rounded(blow.told[key], digits) for key, digits in DIGITS.items()},
        "faults": told["faults"][n],
        "acceptable": [of for of in ("fev1", "fvc") if n in told["acceptable"][of]],
        "usable": [of for of in ("fev1", "fvc") if n in told["usable"][of]],
    }


def _quality(blows: list[Blow], told: dict[str, Any]) -> list[str]:
    """What is wrong with the blows, in sentences."""
    said = []
    for n, blow in enumerate(blows):
        words = {
            "late start": f"late start (back-extrapolated volume {blow.told['bev_l']:.3f} L)",
            "hesitation": f"hesitation of {blow.told['hesitation_s']:.1f} s",
            "early end": f"early end after {blow.told['fet_s']:.1f} s, no plateau: FVC may be larger",
            "shorter than one second": "shorter than one second: no FEV1",
            "not from full lungs": "a breath in that is larger than the blow: not from full lungs",
        }
        if told["faults"][n]:
            said.append(f"Manoeuvre {blow.number}: {'; '.join(words.get(f, f) for f in told['faults'][n])}.")
    if len(blows) == 1:
        said.append("Only one manoeuvre: repeatability cannot be judged; the standard asks for three acceptable ones.")
    elif told["grade"] in "DEUF":
        said.append(f"The session's grade is {told['grade']}: its numbers are to be taken with caution.")
    return said


def _curves(blow: Blow, fs_hz: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time from time zero, volume from full lungs, and flow, calmer where it is slow: a step of 1 mL is 0.1 L/s."""
    known = np.flatnonzero(np.isfinite(blow.volume_l))
    at = np.arange(known[0], known[-1] + 1)
    volume = np.interp(at, known, blow.volume_l[known])
    flow = flow_of(volume, fs_hz)
    peak, width = int(flow.argmax()), max(1, int(0.15 * fs_hz))
    calm = np.convolve(np.pad(flow, (width, width), mode="edge"), np.ones(width) / width, mode="same")[width:-width]
    late = np.clip((np.arange(len(flow)) - peak) / fs_hz - 0.2, 0, 0.3) / 0.3
    flow = (1 - late) * flow + late * calm
    start = volume[: peak + 1].min()
    return np.arange(len(at)) / fs_hz - blow.told["time_zero_s"], volume - start, flow


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)
