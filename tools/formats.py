"""Which format a file is, told by its content, and what it holds.

WFDB goes through `wfdb`; DICOM, GE MUSE, Philips, HL7 aECG, Mortara, SCP-ECG, EDF, ISHNE and Kardia through
`ecgdatakit`; tables and arrays through tools/tables.py and tools/arrays.py. A parser here only fetches `Channels`;
`tools.healing.heal` makes the recording. Whatever a library throws at a bad file comes out as one line.

    read(Path("00001_hr"), fs_hz=None, unit=None, kind=None)  -> [Recording]
"""

from __future__ import annotations

import math
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tools.arrays import parse_npy, parse_npz
from tools.errors import NeedsFields, UnreadableFile
from tools.healing import Channels, heal
from tools.recording import Recording
from tools.safety import (
    MAX_FILE,
    MAX_HEADER,
    MAX_PACKED,
    MAX_PHILIPS,
    MAX_SCP,
    MAX_TAGS,
    bounded_lzw,
    check_count,
    check_size,
    check_zip,
    existing,
    quiet,
    shown,
)
from tools.tables import parse_csv

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
# Bits a sample of the WFDB formats that say so; the others are compressed or store differences
WFDB_BITS = {"16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16, "212": 12, "310": 32 / 3, "311": 32 / 3}
WFDB_BLOCK = 2_000_000  # values read at once; wfdb works in 64 bits


def read(path: str | Path, **given: Any) -> list[Recording]:
    """Every recording in a file; `given` are fs_hz, unit and kind as in `tools.recording.read`."""
    file = _locate(path)
    with _one_line(file, "a zip"):
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                check_zip(file, archive)
                if not all(name.endswith(".npy") for name in archive.namelist()):
                    return _read_zip(archive, **given)
    return [_read_one(file, **given)]


def _locate(path: str | Path) -> Path:
    """The file a person means: itself, or the header of a WFDB stem or signal file."""
    file = existing(path)
    if not file.is_file():
        header = existing(file.with_name(file.name + ".hea"))
        if not header.is_file():
            raise UnreadableFile(f"there is no file {shown(file)}: check the path")
        return header
    header = file.with_suffix(".hea")
    return header if file.suffix.lower() in (".dat", ".mat") and header.is_file() else file


@contextmanager
def _one_line(path: Path, looks_like: str) -> Iterator[None]:
    """Any failure inside as one line that names the file; a library's own words may quote the file, so they go."""
    try:
        yield
    except NeedsFields as error:
        raise NeedsFields(f"{shown(path)}: {error}", error.fields) from None
    except UnreadableFile as error:
        raise UnreadableFile(f"{shown(path)}: {error}") from None
    except Exception:
        raise UnreadableFile(
            f"{shown(path)}: looks like {looks_like} but is damaged or incomplete: export it again"
        ) from None


def _read_one(path: Path, **given: Any) -> Recording:
    with _one_line(path, "a recording"):
        name, parse = sniff(path)
    with _one_line(path, name):
        found = parse(path)
        found.meta["format"] = name
        return heal(found, **given)


def _read_zip(archive: zipfile.ZipFile, **given: Any) -> list[Recording]:
    """Every recording among the members; the rest is counted, a zip inside is not opened."""
    recordings: list[Recording] = []
    failures: list[UnreadableFile] = []
    with tempfile.TemporaryDirectory() as folder:
        archive.extractall(folder)  # drops "..", drives and links
        files = [file for file in sorted(Path(folder).rglob("*")) if file.is_file() and not file.name.startswith(".")]
        stems = {file.with_suffix("") for file in files if file.suffix == ".hea"}
        for file in files:
            if (file.suffix != ".hea" and file.with_suffix("") in stems) or "__MACOSX" in file.parts:
                continue
            try:
                recordings.append(_read_one(existing(file), **given))
            except UnreadableFile as error:
                failures.append(error)
    if recordings and failures:
        note = f"{len(failures)} files of the zip are not recordings and were left out."
        recordings[0] = replace(recordings[0], warnings=(*recordings[0].warnings, note))
    if recordings:
        return recordings
    asks = [error for error in failures if isinstance(error, NeedsFields)]
    raise (
        asks or failures[:1] if len(failures) == 1 or asks else [UnreadableFile("no file in the zip is a recording")]
    )[0]


def sniff(path: Path) -> tuple[str, Callable[[Path], Channels]]:
    """Name of the format and its parser, by the first bytes."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head.startswith(b"\x93NUMPY"):
        return "NPY", parse_npy
    if head.startswith(b"PK\x03\x04"):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if all(name.endswith(".npy") for name in archive.namelist()):
                    return "NPZ", parse_npz
        raise UnreadableFile("a zip inside a zip or a damaged zip is not opened: unpack it")
    if _is_wfdb_header(head):
        return "WFDB", parse_wfdb
    if (parser := _kit_parser(path, head)) is not None:
        name, limit = KIT_FORMATS[parser.FORMAT_NAME]
        return name, partial(parse_kit, parser=parser, limit=limit)
    return _sniff_rest(head)


def _sniff_rest(head: bytes) -> tuple[str, Callable[[Path], Channels]]:
    """A table if it is text that is not some markup, else a line that says what it seems to be."""
    for magic, what in (
        (b"MATLAB", "a MATLAB file: put its WFDB header (.hea) beside it, or save the signal as CSV"),
        (b"%PDF", "a PDF; it holds a drawing, not a signal: export the recording itself"),
        (b"\x89PNG", "a picture; it holds no signal: export the recording itself"),
        (b"\xff\xd8\xff", "a picture; it holds no signal: export the recording itself"),
        (b"\x1f\x8b", "gzip: unpack it first"),
        (b"\xffBIOSEMI", "BDF, which is not read: convert it to EDF"),
    ):
        if head.startswith(magic):
            raise UnreadableFile(f"this is {what}")
    text = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1", errors="ignore").lstrip(
        "\ufeffï»¿ \r\n\t"
    )
    if text.startswith("<"):
        raise UnreadableFile(
            "XML of an unknown kind; GE MUSE, Philips, HL7 aECG and Mortara are read: export as one of these"
        )
    controls = sum(byte < 9 or 13 < byte < 32 for byte in head)
    if controls or text.startswith("{") or not re.search(r"\d", text):
        raise UnreadableFile(
            "not a recording in any known format (WFDB, DICOM, XML, SCP-ECG, EDF, CSV, NPY): check the file"
        )
    return "CSV", parse_csv


def _is_wfdb_header(head: bytes) -> bool:
    """A record line, then lines that begin with a file name and a sample format."""
    lines = [line for line in head.decode("latin-1").splitlines() if line.strip() and not line.startswith("#")]
    if not lines or not re.match(r"\S+ +\d+( +\S+)*\s*$", lines[0]) or "," in lines[0].split()[0]:
        return False
    if "/" in lines[0].split()[0]:  # record/segments
        return len(lines) > 1 and re.match(r"\S+ +\d+\s*$", lines[1]) is not None
    return len(lines) > 1 and re.match(r"(?!-?[\d.]+\s)\S+ +\d+(x\d+)?(:\d+)?(\+\d+)?(\s|$)", lines[1]) is not None


# ---- WFDB ----------------------------------------------------------------------------------------------------------


def parse_wfdb(path: Path) -> Channels:
    """A WFDB header and its signal files.

    They are copied to a private folder under checked names first: wfdb takes URLs for record names, and believes
    a header (sizes, rates, negative gains) that its own patterns only half match.
    """
    import wfdb

    check_size(path, MAX_HEADER, "a WFDB header")
    text = _text(path).replace("µ", "u").replace("μ", "u")  # wfdb drops what is not ASCII: µV would become V
    notes = _check_wfdb_lines(
        [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    )
    with tempfile.TemporaryDirectory() as folder, quiet():
        stem = Path(folder) / "record"
        stem.with_suffix(".hea").write_text(text, encoding="utf-8")
        header = wfdb.rdheader(str(stem))
        samples = _fetch_signal_files(path, header, Path(folder))
        spans = [int(count) for count in header.samps_per_frame]
        check_count(header.n_sig, samples * max(spans))
        signals, sums = _read_blocks(str(stem), samples, spans)
    if not any(header.skew) and any(
        want and (got - want) % 65536 for want, got in zip(header.checksum, sums, strict=True)
    ):
        notes.append("The samples do not match the header's checksums: the file may be damaged or cut.")
    meta = _comment_meta(header.comments)
    if header.base_date and header.base_time:
        meta.setdefault("date", f"{header.base_date}T{header.base_time}")
    return Channels(
        signals=signals,
        names=[name or "" for name in header.sig_name],
        rates_hz=[float(header.fs) * span for span in spans],
        units=list(header.units),
        gain=[float(gain) for gain in header.adc_gain],
        kind=meta.pop("kind", None),
        meta=meta,
        warnings=notes,
    )


def _text(path: Path) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _check_wfdb_lines(lines: list[str]) -> list[str]:
    """Refuse what wfdb would misread; say what it assumes."""
    notes = []
    record = lines[0].split()
    if "/" in record[0]:
        raise UnreadableFile("a WFDB record of several segments is not read whole: open one of its segments")
    if len(record) < 3:
        notes.append("The header gives no sampling rate; 250 Hz, WFDB's default, was taken.")
    elif not re.fullmatch(r"\d+\.?\d*(/.*)?", record[2]) or (len(record) > 3 and not record[3].isdigit()):
        raise UnreadableFile("the header's sampling rate or length is not a positive number: repair the header")
    if int(record[1]) != len(lines) - 1:
        raise UnreadableFile(f"the header promises {record[1]} signals and describes {len(lines) - 1}: repair it")
    for fields in (line.split() for line in lines[1:]):
        if not re.fullmatch(r"[\w-]+(\.\w+)?", fields[0], re.ASCII):
            raise UnreadableFile("the header names a signal file outside its own folder, which is refused")
        gain = float(re.match(r"[-+.\deE]*", fields[2])[0] or 0) if len(fields) > 2 else 0.0  # type: ignore[index]
        if gain < 0 or not math.isfinite(gain):
            raise UnreadableFile("the header gives a gain that is not a positive number: repair the header")
        if gain == 0:
            notes.append("The header gives no gain; 200 steps/mV, WFDB's default, were taken.")
    return notes


def _fetch_signal_files(path: Path, header: Any, folder: Path) -> int:
    """Copy the signal files beside the header; samples a signal, after checking that the files hold them."""
    samples = header.sig_len or math.inf
    for name in set(header.file_name):
        rows = [row for row, other in enumerate(header.file_name) if other == name]
        formats = {header.fmt[row] for row in rows}
        if len(formats) > 1 or not formats <= WFDB_BITS.keys():
            raise UnreadableFile(
                "the WFDB sample format is not read (16, 24, 32, 61, 80, 160, 212, 310, 311 are): convert it"
            )
        source = path.parent / name
        if not source.is_file() and len(set(header.file_name)) == 1:  # both files were renamed
            source = path.with_suffix(Path(name).suffix)
        if not source.is_file():
            raise UnreadableFile("the signal file that the header names is not beside it: give both, or a zip of both")
        check_size(source, MAX_FILE, "a signal file")
        held = (source.stat().st_size - (header.byte_offset[rows[0]] or 0)) * 8
        frames = int(held / WFDB_BITS[formats.pop()] + 1e-6) // sum(header.samps_per_frame[row] for row in rows)
        if header.sig_len and frames < header.sig_len:
            raise UnreadableFile(
                f"the header promises {header.sig_len:.3g} samples, the signal file holds {frames}: get it whole"
            )
        samples = min(samples, frames)
        shutil.copyfile(source, folder / name)
    return int(samples)


def _read_blocks(stem: str, samples: int, spans: list[int]) -> tuple[list[np.ndarray], list[int]]:
    """Each signal in its unit, and the sum of its digital values, block by block to spare memory."""
    import wfdb

    step = max(WFDB_BLOCK // sum(spans), 1)
    parts: list[list[np.ndarray]] = []
    sums = [0] * len(spans)
    for start in range(0, samples, step):
        stop = min(start + step, samples)
        block = wfdb.rdrecord(stem, sampfrom=start, sampto=stop, physical=False, smooth_frames=False)
        sums = [total + int(part.sum()) for total, part in zip(sums, block.e_d_signal, strict=True)]
        parts.append([part.astype(np.float32) for part in block.dac(expanded=True)])
    return [np.concatenate(part) for part in zip(*parts, strict=True)], sums


def _comment_meta(comments: list[str]) -> dict[str, Any]:
    """Age and sex as LUDB, BIDMC and the Challenges write them ("<age>: 51", "Sex: F") or MIT-BIH ("69 M 1085")."""
    meta: dict[str, Any] = {}
    for line in comments:
        for key, value in re.findall(
            r"(?:^|[\s<])(age|sex|synthetic|kind|date|device)>?\s*:\s*([^<\s][^<]{0,40})", line, re.I
        ):
            meta.setdefault(key.lower(), value.strip())
        if match := re.match(r"(\d{1,3}) ([MF])\b", line):
            meta = {"age": match[1], "sex": match[2]} | meta
    if not re.match(r"\d{1,3}(\.\d+)?$", meta.get("age", "0")):
        meta.pop("age")
    if "synthetic" in meta:
        meta["synthetic"] = meta["synthetic"].lower() == "true"
    if meta.get("kind") not in ("ecg", "ppg", "spirogram", "ctg"):
        meta.pop("kind", None)
    return meta


# ---- vendor files --------------------------------------------------------------------------------------------------


def _kit_parser(path: Path, head: bytes) -> Any:
    """ecgdatakit's parser class that knows these first bytes, or None."""
    from ecgdatakit import FileParser

    known = (parser for parser in FileParser().parsers if parser.FORMAT_NAME in KIT_FORMATS)
    return next((parser for parser in known if parser.can_parse(path, head)), None)


def parse_kit(path: Path, *, parser: Any, limit: int) -> Channels:
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
