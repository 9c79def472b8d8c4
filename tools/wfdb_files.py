"""WFDB records, as PhysioNet keeps them: a header (.hea) and signal files (.dat, .mat) beside it, through `wfdb`.

parse_wfdb(Path("100.hea"))  -> Channels
"""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tools.channels import Channels
from tools.errors import UnreadableFile
from tools.safety import (
    MAX_FILE,
    MAX_HEADER,
    check_count,
    check_size,
)

# Bits a sample of the WFDB formats that say so; the others are compressed or store differences
WFDB_BITS = {"16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16, "212": 12, "310": 32 / 3, "311": 32 / 3}
WFDB_BLOCK = 2_000_000  # values read at once; wfdb works in 64 bits


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
    with tempfile.TemporaryDirectory() as folder:
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
                f"the header promises {header.sig_len:,} samples, the signal file holds {frames}: get it whole"
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
            r"(?:^|[\s<])(age|sex|synthetic|rebuilt|kind|date|device)>?\s*:\s*([^<\s][^<]{0,40})", line, re.I
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
