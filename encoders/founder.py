"""ECGFounder, a published foundation model of 150 labels (Li et al. 2024, arXiv 2410.04133; weights under MIT).

    model = load("ecgfounder-12")                            # raises MissingModel until it is pulled
    probabilities, features = model.read(signal_mv, fs_hz)   # (12, samples) -> (150,), (1024,)
    labels()[probabilities.argmax()]

`fetch` gets a published file from the Hugging Face hub, `convert` takes one that is here already. Either is
unpickled without running anything it brings, checked key by key, and kept as safetensors in the cache folder.

The authors' sources contradict each other on how a signal is prepared, so each way has a name in `RECIPES`:
"published" (their data set code, which their README asks for), "zscore" (their PTB-XL evaluation), "paper".
"""

from __future__ import annotations

import codecs
import re
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from scipy import signal as dsp

from encoders.weights import MissingModel, cache_folder, sha256

if TYPE_CHECKING:
    from torch import Tensor

    from encoders.net1d import Net1D

FS_HZ = 500
SAMPLES = 5000
REPOSITORY = "PKUDigitalHealth/ECGFounder"


@dataclass(frozen=True)
class Published:
    """A file of the authors; `sha256` where more than one source names it."""

    leads: tuple[str, ...]
    file: str
    sha256: str | None


MODELS = {
    "ecgfounder-12": Published(
        ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"),
        "12_lead_ECGFounder.pth",
        "ee199f3781f4ae1f732973267f003da0a759ea12bddb0dd28a77faa60aca7997",
    ),
    "ecgfounder-1": Published(("I",), "1_lead_ECGFounder.pth", None),
}


class BadCheckpoint(ValueError):
    """A file that is not a checkpoint of this model; `str(error)` is one line."""


@cache
def labels() -> tuple[str, ...]:
    """The 150 labels, in the order of the outputs."""
    return tuple(Path(__file__).with_name("founder_labels.txt").read_text().splitlines())


# --- the model ---


@dataclass(frozen=True)
class Founder:
    """A loaded model; `leads` says which leads, in which order, it reads."""

    name: str
    leads: tuple[str, ...]
    net: Net1D

    def read(self, signal_mv: np.ndarray, fs_hz: float, recipe: str = "published") -> tuple[np.ndarray, np.ndarray]:
        """(leads, samples) mV -> probabilities (150,) and features (1024,), of the first ten seconds."""
        import torch

        if len(signal_mv) != len(self.leads):
            raise ValueError(f"{self.name} reads {len(self.leads)} leads, not {len(signal_mv)}")
        with torch.inference_mode():
            logits, vector = self.net(torch.from_numpy(RECIPES[recipe](signal_mv, fs_hz))[None], features=True)
        return logits.sigmoid()[0].numpy(), vector[0].numpy()


def where(name: str) -> Path:
    """Where the converted model lies, or will lie."""
    return cache_folder() / f"{name}.safetensors"


def load(name: str) -> Founder:
    """The model `ecgfounder-12` or `ecgfounder-1`, ready to read.

    Raises
    ------
    MissingModel : it was not pulled.  BadCheckpoint : its file is damaged.
    """
    if not where(name).exists():
        raise MissingModel(f"{name} is not on this machine; run: einthoven weights pull {name}")
    from encoders.net1d import Net1D

    net = Net1D(len(MODELS[name].leads))
    net.load_state_dict(tensors(where(name), name))
    return Founder(name, MODELS[name].leads, net.eval())


# --- from the authors' file to safetensors ---


@dataclass(frozen=True)
class Conversion:
    """The converted file, and what is known of the one it came from."""

    file: Path
    sha256: str
    origin: str


def convert(checkpoint: Path, name: str) -> Conversion:
    """Read a published `.pth` (or a safetensors file of the same weights) safely and keep it in the cache folder.

    A file whose hash is not the published one is taken if every key and shape is right; `origin` then says so.

    Raises
    ------
    BadCheckpoint : with what is wrong, in one line.
    """
    from safetensors.torch import save_file

    weights = tensors(checkpoint, name)
    digest, known = sha256(checkpoint), MODELS[name].sha256
    origin = "the published file" if digest == known else "not the published file: its sha256 is another one"
    if known is None:
        origin = "its published sha256 is not known, so this is not checked"
    where(name).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=where(name).parent) as temporary:  # half a model is never seen
        made = Path(temporary) / "model.safetensors"
        save_file(weights, made, metadata={"name": name, "source_sha256": digest, "origin": origin})
        made.replace(where(name))
    return Conversion(where(name), digest, origin)


def fetch(name: str) -> Conversion:
    """Download the published file from the hub and convert it.

    Raises
    ------
    MissingModel : where there is no network, with what to do instead.
    """
    import httpx
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()
    file, folder = MODELS[name].file, cache_folder() / "downloads"
    try:
        httpx.head(constants.ENDPOINT, timeout=10)  # no network is known at once, and not after five retries
        got = hf_hub_download(REPOSITORY, file, local_dir=folder)
    except (OSError, httpx.HTTPError) as error:  # the hub's errors are one or the other
        raise MissingModel(
            f"{name} could not be downloaded ({type(error).__name__}); get {file} from huggingface.co/{REPOSITORY} "
            f"on another machine, then run: einthoven weights pull {name} --file {file}"
        ) from None
    done = convert(Path(got), name)
    shutil.rmtree(folder)  # two thirds of it are the optimiser's
    return done


def tensors(file: Path, name: str, classes: int | None = None) -> dict[str, Tensor]:
    """The weights in `file` under Net1D's names, each of the right shape; `classes` other than 150 for a tuned one."""
    import torch

    from encoders.net1d import CLASSES, Net1D

    found = _opened(file)
    with torch.device("meta"):
        wanted = Net1D(len(MODELS[name].leads), classes or CLASSES).state_dict()
    for wrong, keys in (("lacks", wanted.keys() - found.keys()), ("has an unknown", found.keys() - wanted.keys())):
        if keys:
            raise BadCheckpoint(f"{file} is not {name}: it {wrong} {min(keys)!r} ({len(keys)} such keys)")
    weights = {}
    for key, like in wanted.items():
        value = found[key]
        if value.shape != like.shape:
            raise BadCheckpoint(f"{file} is not {name}: {key} is {tuple(value.shape)}, not {tuple(like.shape)}")
        weights[key] = value.detach().to(like.dtype).contiguous()
        if not weights[key].isfinite().all():
            raise BadCheckpoint(f"{file}: {key} has values that are no numbers")
    return weights


def _opened(file: Path) -> dict[str, Tensor]:
    """Names and tensors of a safetensors file or of a pickled checkpoint, running nothing that it brings."""
    import torch
    from safetensors.torch import load_file

    if not file.is_file():
        raise BadCheckpoint(f"{file}: no such file")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with torch.serialization.safe_globals(_allowed()):
            held = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken or hostile file may raise anything
        refused = re.search(r"GLOBAL (\S+)", str(error))
        why = f"it asks for {refused[1]}, which weights do not need" if refused else "it is not a whole file of weights"
        raise BadCheckpoint(f"{file} is refused: {why}") from None
    state = held.get("state_dict", held) if isinstance(held, dict) else {}
    found = {str(key).removeprefix("module."): v for key, v in state.items() if isinstance(v, torch.Tensor)}
    # a sparse tensor, or one without values, is none of the published ones
    return {key: v for key, v in found.items() if v.layout == torch.strided and v.device.type == "cpu"}


def _allowed() -> list[Any]:
    """What the authors' files hold beside tensors: a numpy scalar (a validation figure), by either of its names."""
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    named = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [codecs.encode, OrderedDict, np.dtype, np.dtypes.Float64DType, *named]


# --- how a signal is prepared: (leads, samples) mV at any rate -> (leads, 5000) at 500 Hz ---


def published(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """As the authors' data set code: notch 50 Hz, 0.67-40 Hz, less a running median of 0.4 s, then one z-score."""
    x = _at_500_hz(signal_mv, fs_hz)
    x = dsp.filtfilt(*dsp.iirnotch(50, 30, fs=FS_HZ), x)
    x = dsp.filtfilt(*dsp.butter(4, [0.67, 40], "bandpass", fs=FS_HZ), x)
    x -= np.array([ndimage.median_filter(lead, 201, mode="constant") for lead in x])
    return _whole(_zscore(x))


def zscore(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """As the authors' evaluation on PTB-XL: linear resampling and one z-score, no filter."""
    x = _checked(signal_mv, fs_hz)
    times = np.arange(min(SAMPLES, round(x.shape[1] * FS_HZ / fs_hz))) / FS_HZ
    return _whole(_zscore(np.array([np.interp(times, np.arange(len(lead)) / fs_hz, lead) for lead in x])))


def paper(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """As the paper is quoted: above 0.5 Hz, below 50 Hz (second order), notches at 50 and 60 Hz, one z-score.

    The order of the high-pass is not told and taken to be that of the low-pass.
    """
    x = _at_500_hz(signal_mv, fs_hz)
    x = dsp.filtfilt(*dsp.butter(2, 0.5, "highpass", fs=FS_HZ), x)
    x = dsp.filtfilt(*dsp.butter(2, 50, "lowpass", fs=FS_HZ), x)
    for mains_hz in (50, 60):
        x = dsp.filtfilt(*dsp.iirnotch(mains_hz, 30, fs=FS_HZ), x)
    return _whole(_zscore(x))


RECIPES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "published": published,
    "zscore": zscore,
    "paper": paper,
}


def _checked(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """float64, at most ten seconds of it, a gap as zero."""
    if signal_mv.ndim != 2 or not fs_hz > 0 or signal_mv.shape[1] < 2 * fs_hz:
        raise ValueError(f"wanted (leads, samples) of 2 s or more, not {signal_mv.shape} at {fs_hz:g} Hz")
    x = np.asarray(signal_mv[:, : round(10 * fs_hz)], float)
    return np.nan_to_num(x, nan=0, posinf=0, neginf=0)


def _at_500_hz(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """Resampled with a filter against aliases; the authors' own resampling for this case does not run."""
    x = _checked(signal_mv, fs_hz)
    ratio = Fraction(FS_HZ / fs_hz).limit_denominator(1000)
    if ratio != 1:
        x = dsp.resample_poly(x, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    return x[:, :SAMPLES]


def _zscore(x: np.ndarray) -> np.ndarray:
    """Of all leads together, so that their relative size stays."""
    return (x - x.mean()) / (x.std() + 1e-8)


def _whole(x: np.ndarray) -> np.ndarray:
    """float32 of 5000 samples: what is short gets zeros, its mean, at the end."""
    return np.pad(x, ((0, 0), (0, SAMPLES - x.shape[1]))).astype(np.float32)
