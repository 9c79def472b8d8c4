"""Which format a file is, told by its content, and what it holds.

WFDB is parsed in tools/wfdb_files.py; DICOM, GE MUSE, Philips, HL7 aECG, Mortara, SCP-ECG, EDF, ISHNE and Kardia in
tools/vendors.py; tables and arrays in tools/tables.py and tools/arrays.py, forced expirations in
tools/spirogram_files.py. Parsers only fetch `Channels`; `tools.healing` makes the recordings. Whatever a library throws
at a bad file comes out as one line.

    read(Path("00001_hr"), fs_hz=None, unit=None, kind=None)  -> [Recording]
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tools.arrays import parse_npy, parse_npz
from tools.channels import Channels
from tools.errors import NeedsFields, UnreadableFile
from tools.healing import heal_all
from tools.recording import Recording
from tools.safety import MAX_VALUES, check_zip, existing, quiet, shown
from tools.spirogram_files import spirogram_in
from tools.tables import parse_csv
from tools.vendors import find_vendor
from tools.wfdb_files import parse_wfdb


def read(path: str | Path, **given: Any) -> list[Recording]:
    """Every recording in a file; `given` are fs_hz, unit and kind as in `tools.recording.read`."""
    file = _locate(path)
    with _one_line(file, "a zip"):
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                check_zip(file, archive)
                if not all(name.endswith(".npy") for name in archive.namelist()):
                    return _read_zip(archive, **given)
    return _read_one(file, **given)


def _locate(path: str | Path) -> Path:
    """The file a person means: itself, or the header of a WFDB stem or signal file."""
    file = existing(path)
    if not file.is_file():
        header = existing(file.with_name(file.name + ".hea"))
        if not header.is_file():
            raise UnreadableFile(f"{shown(file)} is not there: check the path")
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


def _read_one(path: Path, **given: Any) -> list[Recording]:
    with _one_line(path, "a recording"), quiet():
        name, parse = sniff(path)
    with _one_line(path, name), quiet(), np.errstate(all="ignore"):
        if name == "CSV" and (blows := spirogram_in(path, **given)):
            return [blows]
        found = parse(path)
        found.meta["format"] = name
        return heal_all(found, **given)


def _read_zip(archive: zipfile.ZipFile, **given: Any) -> list[Recording]:
    """Every recording among the members; the rest is counted, a zip inside is not opened."""
    recordings: list[Recording] = []
    failures: list[UnreadableFile] = []
    values = 0
    with tempfile.TemporaryDirectory() as folder:
        archive.extractall(folder)  # drops "..", drives and links
        files = [file for file in sorted(Path(folder).rglob("*")) if file.is_file() and not file.name.startswith(".")]
        stems = {file.with_suffix("") for file in files if file.suffix == ".hea"}
        for file in files:
            if (file.suffix != ".hea" and file.with_suffix("") in stems) or "__MACOSX" in file.parts:
                continue
            try:
                found = _read_one(existing(file), **given)
            except UnreadableFile as error:
                failures.append(error)
                continue
            values += sum(one.signal.size for one in found)  # a small zip can name one signal a thousand times
            if values > MAX_VALUES:
                raise UnreadableFile(
                    f"the recordings of the zip have more than {MAX_VALUES / 1e6:.0f} million values together: split it"
                )
            recordings += found
    if recordings and failures:
        note = f"{len(failures)} files of the zip are not recordings and were left out."
        recordings[0] = replace(recordings[0], warnings=(*recordings[0].warnings, note))
    if recordings:
        return recordings
    for failure in failures:
        if isinstance(failure, NeedsFields) or len(failures) == 1:
            raise failure
    raise UnreadableFile("no file in the zip is a recording")


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
    return find_vendor(path, head) or _sniff_rest(head)


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
    wide = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    text = head.decode("utf-16" if wide else "latin-1", errors="ignore").lstrip("\ufeffï»¿ \r\n\t")
    if text.startswith("<"):
        raise UnreadableFile(
            "XML of an unknown kind; GE MUSE, Philips, HL7 aECG and Mortara are read: export as one of these"
        )
    if re.search(r"[\x00-\x08\x0e-\x1f]", text) or text.startswith("{") or not re.search(r"\d", text):
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
