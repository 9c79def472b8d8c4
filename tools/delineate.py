"""Where P, QRS and T of a representative beat begin and end, in all leads together.

A wave that starts isoelectric in one lead has already begun in another, so interval measurements are global: from the
earliest onset to the latest offset in any lead (CSE Working Party, Eur Heart J 1985;6:815). Two sources are joined:

- `library_waves`: openecg, a transformer trained on cardiologists' marks (int8 ONNX from its wheel), says for each
  lead and sample how probable P, QRS and T are. It sees the representative beats tiled into strips, several leads a
  strip, which is quicker and quieter than the raw leads. It says what waves there are, and about where.
- The spatial velocity of the beat over all leads, which rises from the noise at the QRS onset to the sample, and the
  principal component of P and of T, which falls to its baseline at their ends.

    marks = global_marks(beat)      # tools.average.representative_beat

Positions are samples of the beat (R at `average.R`); thresholds are parts of the wave's own height, so gain is free.
A lead that was not recorded there (NaN) does not speak of a wave.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from tools.alignment import velocity
from tools.average import LENGTH, Beat, R
from tools.gaps import bridged

STRIP = 5000  # samples the library takes at once: 10 s
COPIES = 3  # of each lead's beat in a strip; the middle one is read
SHORTEST = 350  # samples from beat to beat that the library is shown
P, QRS, T = 1, 2, 3  # the library's classes
SMALLEST_MV = 0.03  # a wave below this in every lead is not reported (IEC 60601-2-25, Annex GG)


@dataclass(frozen=True)
class Marks:
    """Onsets and offsets over all leads, in samples of the beat; None where there is no such wave.

    `p_reason` and `t_reason` say why a wave is missing.
    """

    qrs_on: int
    qrs_off: int
    p_on: int | None = None
    p_off: int | None = None
    t_peak: int | None = None
    t_off: int | None = None
    p_reason: str = ""
    t_reason: str = ""


def global_marks(beat: Beat, regular: bool = True) -> Marks:
    """Onset and offset of P, QRS and T over all leads of a representative beat.

    `regular` says whether the beats follow at even intervals: where they do not, a P wave must be plainer to be
    believed, for the waves of atrial fibrillation leave something in every average.
    """
    on, off = qrs_marks(beat)
    probability = library_waves(beat)
    t_peak, t_off, t_reason = _t_marks(beat, on, off, probability[:, :, T])
    p_on, p_off, p_reason = _p_marks(beat, on, t_off, probability[:, :, P], regular)
    return Marks(on, off, p_on, p_off, t_peak, t_off, p_reason, t_reason)


def qrs_marks(beat: Beat) -> tuple[int, int]:
    """Samples where the QRS begins and ends.

    From the core of the QRS outwards until the velocity stays within 3 % of its peak above the quiet level for
    12 ms. The slope is taken over 16 ms, so it rises up to 8 ms ahead of a kink; 4 ms of that are taken back.
    """
    v = velocity(beat.wave)
    core = slice(R - 70, R + 90)
    first = last = R - 70 + int(v[core].argmax())
    first, last = _reach(v, first, -1, 0.2 * v[first], 20, R - 90), _reach(v, last, 1, 0.2 * v[last], 20, R + 120)
    height = np.convolve(v, np.ones(8) / 8, "same")[first : last + 1].max()
    ahead, behind = np.percentile(v[first - 75 : first - 8], 20), np.percentile(v[last + 10 : last + 90], 20)
    on = _reach(v, first, -1, ahead + 0.03 * height, 6, R - 110)
    off = _reach(v, last, 1, behind + 0.03 * height, 6, R + 140)
    if beat.spike is not None:  # the heart answers after the stimulus
        on = max(on, beat.spike + 3)
    return on + 2, off - 2


def _reach(curve: np.ndarray, start: int, step: int, level: float, gap: int, end: int) -> int:
    """Walk from `start` until the curve stays under `level` for `gap` samples."""
    at = start
    while at != end:
        ahead = curve[at + 1 : at + 1 + gap] if step > 0 else curve[at - gap : at]
        if not len(ahead) or ahead.max() <= level:
            break
        at += step
    return at


def _t_marks(beat: Beat, qrs_on: int, qrs_off: int, probability: np.ndarray) -> tuple[int | None, int | None, str]:
    """Peak and end of T, or why there is none.

    The library says where T about ends; from its peak the length of the T vector is followed until 3 % of its height.
    """
    start = qrs_off + 20
    stop = int(min(LENGTH - 10, qrs_on + beat.rr - 30))  # the next QRS must stay out
    if stop - start < 30:
        return None, None, "the beats follow each other too closely"
    spans = _spans(_agreement(probability), start, stop)
    usual = qrs_on + round(0.50 * 500 * np.sqrt(min(beat.rr / 500, 1.4)))
    about = max(spans, key=len)[-1] if spans else min(usual, stop)
    end = min(stop, max(about + 10, start + 30))
    wave = np.nan_to_num(beat.wave[:, start:end] - beat.wave[:, end - 20 : end].mean(axis=1, keepdims=True))
    height, noise = np.abs(wave).max(axis=1), beat.noise_mv
    if not (height > np.maximum(SMALLEST_MV, 4 * noise)).any() or (not spans and np.median(height) < 0.1):
        return None, None, "no T wave is seen"
    length = np.sqrt((wave**2).sum(axis=0))
    peak = int(length[: max(5, about - start)].argmax())
    low = _reach(length, peak, 1, 0.03 * length[peak], 1, len(length) - 1)
    return start + peak, start + low + 2, ""


def _p_marks(
    beat: Beat, qrs_on: int, t_off: int | None, probability: np.ndarray, regular: bool
) -> tuple[int | None, int | None, str]:
    """Onset and end of P, or why there is none.

    A P wave is believed where the library sees it in most leads, it is the same in both halves of the beats, and
    it is high enough to be seen.
    """
    first = max(R - 240, 5, 0 if t_off is None else round(t_off - beat.rr) - 5)
    likely = _agreement(probability)
    spans = _spans(likely, first, qrs_on - 2) if qrs_on - 2 - first > 10 else []
    if not spans:
        return None, None, "no P waves are seen"
    span = max(spans, key=len)
    left, right = max(span[0] - 8, 2), min(span[-1] + 9, qrs_on - 1)
    one, two, wave = (_above_line(part, left, right) for part in (*beat.halves, beat.wave))
    same = (one * two).sum() / np.sqrt((one**2).sum() * (two**2).sum() + 1e-12)
    strength = likely[list(span)].max()
    if same < (0.6 if regular else 0.9) or strength < (0.6 if regular else 0.8):
        return None, None, "no P waves are seen" + (" at a constant distance from the QRS" if regular else "")
    if np.abs(wave).max() < 0.8 * SMALLEST_MV:
        return None, None, "the P waves are too flat"
    length = np.sqrt((wave**2).sum(axis=0))
    peak = int(length.argmax())
    low = 0.06 * length[peak]
    on, off = _reach(length, peak, -1, low, 1, 0), _reach(length, peak, 1, low, 1, len(length) - 1)
    return max(left + on - 2, 0), min(left + off + 1, qrs_on), ""


def _agreement(probability: np.ndarray) -> np.ndarray:
    """(samples,) mean probability in the half of the leads that show the wave best at that moment."""
    return np.sort(probability, axis=0)[-max(1, len(probability) // 2) :].mean(axis=0)


def _spans(likely: np.ndarray, first: int, stop: int, least: int = 8) -> list[range]:
    """Stretches of at least `least` samples where a wave is more likely than not."""
    over = np.r_[False, likely[first:stop] > 0.5, False].astype(int)
    edges = np.flatnonzero(np.diff(over)).reshape(-1, 2) + first
    return [range(a, b) for a, b in edges if b - a >= least]


def _above_line(wave: np.ndarray, left: int, right: int) -> np.ndarray:
    """(leads, right - left) height over the line from the level at `left` to that at `right`."""
    ramp = np.linspace(0, 1, right - left)
    from_mv = wave[:, left - 2 : left + 3].mean(axis=1, keepdims=True)
    to_mv = wave[:, right - 3 : right + 1].mean(axis=1, keepdims=True)
    return np.nan_to_num(wave[:, left:right] - from_mv * (1 - ramp) - to_mv * ramp)


def library_waves(beat: Beat) -> np.ndarray:
    """(leads, samples, 4) probability of nothing, P, QRS, T at every sample of the beat, for leads that have one.

    Fast beats are shown slowed down to 86 bpm: the library was raised on resting rates and loses a P close to a T.
    """
    slower = max(1.0, SHORTEST / float(np.clip(beat.rr, 120, 600)))
    period = int(np.clip(round(beat.rr * slower), SHORTEST, 600))
    at = np.arange(LENGTH)
    known = beat.wave[beat.counts > 0]
    wave = np.stack([np.interp(R + (at - R) / slower, at, lead) for lead in bridged(known)])
    seen = _tiled(wave, period)
    back = R + (at - R) * slower
    nothing = np.array([1.0, 0.0, 0.0, 0.0])
    return np.stack(
        [[np.interp(back, at, lead[:, k], nothing[k], nothing[k]) for k in range(4)] for lead in seen]
    ).transpose(0, 2, 1)


def _tiled(wave: np.ndarray, period: int) -> np.ndarray:
    """(leads, LENGTH, 4) probabilities of beats repeated every `period` samples."""
    pre = round(0.4 * period)
    span = slice(R - pre, R - pre + period)
    out = np.zeros((*wave.shape, 4))
    out[:, :, 0] = 1.0
    ramp = np.linspace(0, 1, period)
    segment = wave[:, span] - wave[:, span.start, None] * (1 - ramp) - wave[:, span.stop - 1, None] * ramp
    height = np.ptp(segment, axis=1, keepdims=True)
    segment = segment / np.where(height > 0, height, 1)
    room = STRIP // (COPIES * period)
    for first in range(0, len(segment), room):
        leads = range(first, min(first + room, len(segment)))
        strip = np.concatenate([np.tile(segment[lead], COPIES) for lead in leads])
        probability = _frame(np.resize(strip, STRIP))
        for i, lead in enumerate(leads):
            start = (i * COPIES + COPIES // 2) * period
            out[lead, span] = probability[start : start + period]
    return out


def _frame(strip: np.ndarray) -> np.ndarray:
    """(STRIP, 4) wave probabilities of one strip."""
    from openecg.dsp import rank_normalize

    session = _session()
    signal = rank_normalize(strip).astype(np.float32)[None]
    logits = session.run(["frame_logits"], {"signal": signal})[0][0]
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@functools.cache
def _session():
    import onnxruntime
    from openecg.deploy import bundled_codec_onnx_path

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # strips are small
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(bundled_codec_onnx_path()), options, providers=["CPUExecutionProvider"])
