"""Files of ECG machines and exchange formats: DICOM, GE MUSE, Philips, HL7 aECG, SCP-ECG, EDF and more.

`ecgdatakit` parses them; here are the limits it lacks, its scaling to units, and our words for its complaints.

    name, parse = find_vendor(path, first_bytes)
    channels = parse(path)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tools.channels import Channels
from tools.errors import UnreadableFile
from tools.safety import (
    MAX_FILE,
    MAX_PACKED,
    MAX_PHILIPS,
    MAX_SCP,
    MAX_TAGS,
    bounded_lzw,
    check_count,
    check_size,
    quiet,
)

# ecgdatakit's name of a format -> ours, and the largest file of it. Its loose and experimental ones are not asked.
KIT_FORMATS = {
    "DICOM Waveform": ("DICOM", MAX_FILE),
    "EDF/EDF+": ("EDF", MAX_FILE // 2),
    "ISHNE Holter": ("ISHNE", MAX_FILE // 2),
    "SCP-ECG": ("SCP-ECG", MAX_SCP),
    "GE MUSE XML": ("GE MUSE XML", MAX_PACKED),
    "Philips Sierra XML": ("Philips XML", MAX_PHILIPS),
    "HL7 aECG": ("HL7 aECG", MAX_PACKED),
    "Mortara ELI (EL250/ELI280)": ("Mortara XML", MAX_PACKED),
    "AliveCor Kardia JSON": ("Kardia JSON", MAX_PACKED),
}


def find_vendor(path: Path, head: bytes) -> tuple[str, Callable[[Path], Channels]] | None:
    """Name of the format and its parser, if `head`, the file's first bytes, is one of these."""
    from ecgdatakit import FileParser

    known = (parser for parser in FileParser().parsers if parser.FORMAT_NAME in KIT_FORMATS)
    parser = next((parser for parser in known if parser.can_parse(path, head)), None)
    if parser is None:
        return None
    name, limit = KIT_FORMATS[parser.FORMAT_NAME]
    return name, partial(parse_vendor, parser=parser, limit=limit)


def parse_vendor(path: Path, *, parser: Any, limit: int) -> Channels:
    """A vendor's file through ecgdatakit: its leads as stored, scaled by the resolution it states."""
    from ecgdatakit import MissingElementError, UnsupportedFormatError

    check_size(path, limit, "this format")
    _check_content(path, limit)
    try:
        with quiet() as caught, bounded_lzw():
            record = parser().parse(path)
    except MissingElementError:
        raise UnreadableFile("it holds no ECG waveform (an image or a report?): export the waveform") from None
    except UnsupportedFormatError:
        raise UnreadableFile("a variant of its format that is not read: export it as WFDB, DICOM or EDF") from None
    check_count(len(record.leads), max((len(lead.samples) for lead in record.leads), default=0))
    notes = _kit_notes([(warning.category.__name__, str(warning.message)) for warning in caught])
    if any(not math.isfinite(lead.resolution) or lead.resolution == 0 for lead in record.leads):
        raise UnreadableFile("its gain is zero or not a number: export it again")
    patient, recording = record.patient, record.recording
    return Channels(
        signals=[lead.samples * lead.resolution + lead.offset for lead in record.leads],
        names=[lead.label for lead in record.leads],
        rates_hz=[_exact_rate(record, lead) for lead in record.leads],
        units=[lead.resolution_unit or None for lead in record.leads],
        gain=[1 / abs(lead.resolution) for lead in record.leads],
        meta={
            "age": patient.age,
            "sex": patient.sex,
            "date": recording.date.isoformat() if recording.date else None,
            "device": f"{recording.device.manufacturer} {recording.device.model}".strip(),
        },
        warnings=notes,
    )


def _check_content(path: Path, limit: int) -> None:
    """What the libraries would unpack without end: XML entities, deflated DICOM."""
    if limit < MAX_FILE // 2:
        raw = path.read_bytes()
        if b"<!ENTITY" in raw.replace(b"\x00", b""):
            raise UnreadableFile("XML with entities is refused, since they can unpack without end: export it again")
        if raw.count(b"<") > MAX_TAGS:
            raise UnreadableFile(f"the XML has more than {MAX_TAGS // 2} elements, which no ECG has: export it again")
    else:
        with path.open("rb") as file:
            if b"1.2.840.10008.1.2.1.99" in file.read(4096):
                raise UnreadableFile(
                    "a deflated DICOM is refused, since it can unpack without end: export it uncompressed"
                )


def _kit_notes(caught: list[tuple[str, str]]) -> list[str]:
    """Our words for ecgdatakit's warnings (its own quote the file); a file that is cut short is refused."""
    text = " ".join(message for _, message in caught).lower()
    if any(words in text for words in ("truncated", "invalid range", "multiplier is 0")):
        raise UnreadableFile("it promises samples or a scale that it does not hold: export it again")
    notes = []
    if any(category == "ChecksumWarning" for category, _ in caught):
        notes.append("The file's checksum does not match: it may be damaged.")
    if "gaps" in text:
        notes.append("The recording has gaps; its parts were joined end to end.")
    if "multiplex group" in text or "rhythm series" in text or "sequence sets" in text or "additional rhythm" in text:
        notes.append("The file holds further signals; the first was read.")
    if "experimental" in text:
        notes.append("The amplitude scale of this format is not documented and may be wrong.")
    return notes


def _exact_rate(record: Any, lead: Any) -> float:
    """ecgdatakit rounds rates to whole Hz; the exact one is in its metadata."""
    meta = record.raw_metadata
    groups = [group["sampling_frequency"] for group in meta.get("multiplex_groups", ())]
    rates = [
        *meta.get("exact_sampling_rates", {}).values(),
        *groups,
        meta.get("rhythm_time", {}).get("sampling_rate_exact", 0),
    ]
    exact = next((rate for rate in rates if abs(rate - lead.sampling_rate) <= 0.5), lead.sampling_rate)
    return float(round(exact, 6))
