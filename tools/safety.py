"""What a file may cost, checked before memory is taken, and quiet around libraries that talk.

Limits (why): 25 million values are 100 MB as float32, which holds an hour of twelve leads at 500 Hz, or a day
of two leads at 128 Hz; reading the largest file of any format takes less than 500 MB. Formats that a library
unpacks in Python (XML, SCP-ECG) have smaller limits, so that the worst file of that size still answers in seconds.

    path = existing("ecg.hea")          # a local file, or one clear line
    check_size(path, MAX_FILE, "EDF")   # before it is opened
    with quiet() as caught: ...         # nothing reaches the terminal; what was warned is in `caught`
"""

from __future__ import annotations

import logging
import re
import threading
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from tools.errors import UnreadableFile

MAX_VALUES = 25_000_000  # leads x samples
MAX_LEADS = 16
MAX_CHANNELS = 64  # in the file; at most MAX_LEADS of them are kept
MAX_HOURS = 24
MAX_FILE = 128 << 20  # bytes
MAX_PACKED = 8 << 20  # XML and JSON: trees cost many times their text
MAX_TAGS = 200_000  # opening and closing, of XML
MAX_TEXT = 96 << 20  # a table: 20 minutes of twelve leads at 500 Hz
MAX_PHILIPS = 2 << 20  # its waveforms are LZW codes
MAX_UNPACKED = 4 << 20  # bytes of all LZW codes of a file; a real one unpacks to a thirtieth of it
MAX_SCP = 1 << 18  # Huffman codes are unpacked bit by bit; 12 leads at 1000 Hz take 240 kB even without
MAX_HEADER = 1 << 20  # a WFDB header is a page of text
MAX_MEMBERS = 2000  # of a zip
MAX_RATIO = 200  # bytes unpacked for one byte of the zip; an ECG reaches 20; small ones are let be
RATE_HZ = {"ecg": (50, 2000), "ppg": (20, 2000), "spirogram": (10, 2000), "ctg": (0.2, 20)}

_ONE_AT_A_TIME = threading.RLock()  # the switches below belong to the whole process


NAMELESS = "the file"


def shown(path: Path) -> str:
    """A file's name where it may stand in a message: short and without spaces, or plain words instead.

    File names come from strangers and messages can reach a language model.
    """
    return path.name if re.fullmatch(r"[\w.+-]{1,40}", path.name) else NAMELESS


def existing(path: str | Path) -> Path:
    """The absolute path of a local file that is there, whatever the string looks like (URLs are not fetched)."""
    try:
        local = Path(path).expanduser().absolute()  # links stay: the files beside them belong together
        if local.is_dir():
            raise UnreadableFile(f"{shown(local)} is a folder: name a recording in it")
        if local.is_file() and local.stat().st_size == 0:
            raise UnreadableFile(f"{shown(local)} is empty: export the recording again")
        if local.exists() and not local.is_file():
            raise UnreadableFile(f"{shown(local)} is not a regular file")
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, a loop of links, no permission
        raise UnreadableFile("the file's path cannot be opened: check its name and permissions") from None
    return local


def check_size(path: Path, limit: int, what: str) -> None:
    """Refuse a file that is larger than its format may be."""
    size = path.stat().st_size
    if size > limit:
        raise UnreadableFile(
            f"{size / 1e6:.0f} MB is too large for {what} (at most {limit / 1e6:.0f} MB): export a part"
        )


def check_count(channels: int, samples: int) -> None:
    """Refuse what would not fit into memory, by what the header says, before any of it is read."""
    if channels < 1 or samples < 1:
        raise UnreadableFile("the file holds no samples: export the recording again")
    if channels > MAX_CHANNELS:
        raise UnreadableFile(
            f"the file holds {channels} channels, at most {MAX_CHANNELS} are read: export the ECG only"
        )
    if channels * samples > MAX_VALUES:
        raise UnreadableFile(
            f"the file promises {channels} x {samples:.3g} samples, at most {MAX_VALUES / 1e6:.0f} million values are "
            "read: cut out a part"
        )


def check_zip(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse a zip whose table of contents says it is a bomb or reaches outside its folder."""
    members = [info for info in archive.infolist() if not info.is_dir()]
    if len(members) > MAX_MEMBERS:
        raise UnreadableFile(f"the zip holds {len(members)} files, at most {MAX_MEMBERS} are read")
    total = sum(info.file_size for info in members)
    if total > MAX_FILE or total > max(MAX_RATIO * path.stat().st_size, MAX_PACKED):
        raise UnreadableFile(f"the zip would unpack to {total / 1e6:.0f} MB, which is refused: unpack it")
    if any(info.flag_bits & 1 for info in members):
        raise UnreadableFile("the zip is locked by a password: unpack it first")
    for info in members:
        parts = re.split(r"[/\\]", info.filename)
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise UnreadableFile("the zip names files outside its own folder, which is refused")


@contextmanager
def quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Catch what libraries warn or log; the list holds the warnings afterwards."""
    logger = logging.getLogger("pydicom")
    with _ONE_AT_A_TIME, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        level, logger.level = logger.level, logging.CRITICAL + 1
        try:
            yield caught
        finally:
            logger.level = level


@contextmanager
def bounded_lzw() -> Iterator[None]:
    """Let ecgdatakit unpack no more than `MAX_UNPACKED` bytes of Philips waveforms; its decoder has no limit."""
    from unittest.mock import patch

    from ecgdatakit.parsing.codecs import xli

    left = MAX_UNPACKED

    class Bounded(xli.LzwDecoder):
        def read_all(self) -> bytes:
            nonlocal left
            out = bytes(islice(iter(self.read, -1), left + 1))
            left -= len(out)
            if left < 0:
                raise UnreadableFile("its waveforms unpack without end, which is refused: export it again")
            return out

    with _ONE_AT_A_TIME, patch.object(xli, "LzwDecoder", Bounded):
        yield
