"""Signals in numpy files: NPY and NPZ. Promises are checked before memory is taken; nothing is unpickled.

np.savez("ecg.npz", signal=signal, fs_hz=500, leads=["I", "II"], unit="mV")   # says all that reading needs
"""

from __future__ import annotations

import json
import math
import zipfile
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from tools.channels import Channels
from tools.errors import UnreadableFile
from tools.safety import MAX_FILE, MAX_LEADS, MAX_VALUES, check_count, check_size


def parse_npy(path: Path) -> Channels:
    """One array, (leads, samples) or (samples, leads)."""
    check_size(path, MAX_FILE, "an array")
    with path.open("rb") as file:
        array = _read_npy(file, path.stat().st_size)
    return _from_array(array, [])


def parse_npz(path: Path) -> Channels:
    """`signal` (or the only long array of numbers), and fs_hz or fs, leads, unit, kind, gain, meta."""
    with zipfile.ZipFile(path) as archive:
        arrays = {}
        for info in islice(archive.infolist(), 64):
            with archive.open(info) as file:
                arrays[info.filename.removesuffix(".npy")] = _read_npy(file, info.file_size)
    numeric = [key for key, array in arrays.items() if array.size > MAX_LEADS and array.dtype.kind in "iuf"]
    key = "signal" if "signal" in arrays else numeric[0] if len(numeric) == 1 else None
    if key is None:
        raise UnreadableFile("the NPZ has no array named signal: save it with the keys signal, fs_hz, leads, unit")
    leads = next(
        (arrays[name] for name in ("leads", "lead_names", "sig_name", "names") if name in arrays), np.array([], "U1")
    )
    names = [str(name) for name in np.atleast_1d(leads)] if leads.dtype.kind == "U" else []
    found = _from_array(arrays[key], names)
    found.believe(_said(arrays))
    return found


def _said(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """What the small arrays of an NPZ say of the signal."""
    said: dict[str, Any] = {}
    for name, keys in (("fs_hz", ("fs_hz", "fs", "sampling_rate")), ("unit", ("unit", "units")), ("kind", ("kind",))):
        array = next((arrays[key] for key in keys if key in arrays), np.array([]))
        if array.size:
            said[name] = array.reshape(-1)[0].item()
    if "gain" in arrays:
        said["gain"] = arrays["gain"].reshape(-1).tolist()
    if "meta" in arrays and arrays["meta"].dtype.kind == "U":
        said["meta"] = json.loads(str(arrays["meta"].reshape(-1)[0]))
    return said


def _read_npy(file: IO[bytes], size: int) -> np.ndarray:
    """One .npy stream of `size` bytes, refused before memory is taken if its header promises more or other things."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise UnreadableFile("a version of NPY that is not read: save the array again")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(file)
    count = math.prod(shape)
    if dtype.hasobject or dtype.kind not in "iufbU":
        raise UnreadableFile("the array holds objects, which are not unpickled: save plain numbers")
    if min(shape, default=1) < 0 or count > MAX_VALUES or count * dtype.itemsize > size:
        raise UnreadableFile(
            f"the array promises {count:.3g} values, more than the file holds or is read: save it again"
        )
    raw = file.read(count * dtype.itemsize)
    return np.frombuffer(raw, dtype, count).reshape(shape, order="F" if fortran else "C")


def _from_array(array: np.ndarray, names: list[str]) -> Channels:
    """Leads are the short side, or the side that has as many entries as there are names."""
    if array.dtype.kind not in "iuf":
        raise UnreadableFile("the array holds no numbers: save the signal as numbers")
    array = np.squeeze(array) if array.ndim > 2 else array
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.size:
        raise UnreadableFile("the array is not (leads, samples): save one recording with two dimensions")
    if len(names) == array.shape[1] != array.shape[0] or (
        len(names) != array.shape[0] and array.shape[0] > array.shape[1]
    ):
        array = array.T
    check_count(*array.shape)
    if len(names) != len(array):
        names = [""] * len(array)
    count = len(array)
    return Channels(list(array), names, [None] * count, [None] * count, [None] * count)
