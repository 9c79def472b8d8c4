"""`generate_ecg`: the same seed draws the same ECG, which holds the algebra and says that it is nobody's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import synthetic
import torch

from agent.evidence import relevant
from encoders import flow, identity, novelty, vae
from tools import generate, measure_words
from tools.beats import r_peaks
from tools.errors import UsageError
from tools.generate import generate_ecg, sentences
from tools.interpret import interpret_ecg
from tools.measure import measure_ecg
from tools.recording import LEADS, read
from tools.registry import GenerateEcg
from training import evaluate_generate
from training import novelty as recipe

pytestmark = pytest.mark.skipif(
    not (flow.FILE.exists() and identity.FILE.exists()), reason="the flow's weights are not shipped yet"
)


def drawn(out, prompt, reference=None, **given):
    return generate_ecg(reference, GenerateEcg(prompt=prompt, **given), out)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("three"), "sinus rhythm at 75 bpm, woman aged 60", count=3, seed=5)


def test_the_same_seed_draws_the_same_ecg(tmp_path, three):
    alone = drawn(tmp_path, "sinus rhythm at 75 bpm, woman aged 60", seed=6)
    again = read(alone["record"])[0].signal
    beside = read(three["records"][1])[0].signal
    assert np.abs(again - beside).max() < 2e-3  # two batch sizes round differently
    assert np.abs(again - read(three["records"][0])[0].signal).max() > 0.05


def test_a_drawn_ecg_is_whole_and_holds_the_algebra(three):
    for file in three["records"]:
        ecg = read(file)[0]
        assert ecg.leads == LEADS
        assert ecg.duration_s == 10
        assert np.isfinite(ecg.signal).all()
        assert 0.2 < np.ptp(ecg.lead("II")) < 6
        assert np.allclose(ecg.lead("III"), ecg.lead("II") - ecg.lead("I"), atol=3e-3)
        assert np.allclose(ecg.signal[3:6].sum(axis=0), 0, atol=5e-3)


def test_it_says_that_it_is_nobodys(three):
    for file in three["records"]:
        assert read(file)[0].meta["synthetic"]
        assert "synthetic" in Path(file).read_text().lower()
    assert "SYNTHETIC" in Path(three["figure"]).read_text()
    assert any("synthetic" in line for line in sentences(three))
    assert "synthetic" in str(interpret_ecg(read(three["record"])[0])["warnings"]).lower()
    measured = measure_ecg(read(three["record"])[0])
    assert "This recording is synthetic" in str(relevant("QTc?", measure_words.sentences(measured)))


@pytest.mark.parametrize("rate", [55, 75, 110])
def test_the_heart_beats_as_fast_as_asked(tmp_path, rate):
    made = drawn(tmp_path, f"sinus rhythm at {rate} bpm", count=5)
    off = [abs(one - rate) for one in made["heart_rate_bpm"] if one is not None]
    assert len(off) >= 4
    assert np.median(off) < 6


class Hearts:
    """A flow and an autoencoder in one: what is drawn beats at a rate that its noise alone says."""

    scale = torch.ones(1)

    def draw(self, given, seeds, beats, steps):
        return torch.tensor([[[55.0 + seed % 41]] for seed in seeds])

    def decode(self, latent):
        signals = [synthetic.ecg(fs_hz=100, rate_bpm=float(one[0, 0])).recording.signal for one in latent]
        return [torch.from_numpy(np.stack(signals))]


class Near:
    """Takes the drawings for near to somebody's ECG whose heart beats under `bpm`."""

    def __init__(self, bpm):
        self.bpm = bpm

    def too_near(self, autoencoder, signal):
        return np.array([generate.rate_of(one) < self.bpm for one in signal])


def test_of_some_drawings_of_a_seed_the_nearest_in_rate_is_kept(monkeypatch):
    monkeypatch.setattr(novelty, "opened", lambda: Near(0))
    seeds, wanted = [3, 40], 70.0
    nothing = torch.zeros(2, 1, 1), torch.zeros(2, 1, dtype=torch.bool)
    numbers = torch.tensor([[wanted, 0.0, 0.0, 1.0]] * 2)
    given = flow.Given(*nothing, numbers, torch.tensor([[True, False, False, True]] * 2), nothing[0], nothing[1][:, 0])
    rates = [generate.rate_of(one) for one in generate.as_asked(Hearts(), Hearts(), given, seeds, 1, [(), ()])]
    for seed, rate in zip(seeds, rates, strict=True):
        tries = [55 + (seed + again * generate.STRIDE) % 41 for again in range(generate.TRIES)]
        assert rate == pytest.approx(min(tries, key=lambda one: abs(one - wanted)), abs=1.5)
    free = given._replace(has_numbers=torch.zeros(2, 4, dtype=torch.bool))
    first = [generate.rate_of(one) for one in generate.as_asked(Hearts(), Hearts(), free, seeds, 1, [(), ()])]
    assert first == pytest.approx([58, 95], abs=1.5)  # no rate asked for: the first drawing stands
    monkeypatch.setattr(novelty, "opened", lambda: Near(60))
    first = [generate.rate_of(one) for one in generate.as_asked(Hearts(), Hearts(), free, seeds, 1, [(), ()])]
    again = next(rate for n in range(1, 3) if (rate := 55 + (3 + n * generate.STRIDE) % 41) >= 60)
    assert first == pytest.approx([again, 95], abs=1.5)  # too near to somebody's: the next of its seed


def test_of_some_drawings_of_a_seed_the_one_that_shows_what_was_asked_for_is_kept(monkeypatch):
    monkeypatch.setattr(novelty, "opened", lambda: Near(0))
    seen = []
    monkeypatch.setattr(generate, "unseen", lambda signals, _: seen.append(list(map(fast, signals))) or seen[-1])
    nothing = torch.zeros(1, 1, 1), torch.zeros(1, 1, dtype=torch.bool)
    none = torch.zeros(1, 4), torch.zeros(1, 4, dtype=torch.bool)
    given = flow.Given(*nothing, *none, nothing[0], nothing[1][:, 0])
    [kept] = generate.as_asked(Hearts(), Hearts(), given, [3], 1, [("SBRAD",)])
    assert len(seen) == generate.TRIES
    assert fast(kept) == min(one for [one] in seen)


def fast(signal: np.ndarray) -> float:
    """How far an ECG is from a slow one."""
    return max(generate.rate_of(signal) - 40, 0.0) / 100


def test_what_is_asked_for_and_not_shown_is_seen():
    signals = np.stack([synthetic.ecg(fs_hz=100, rate_bpm=70).recording.signal] * 3)
    sinus, fibrillation, unknown = generate.unseen(signals, [("SR",), ("SR", "AFIB"), ("no such code",)])
    assert sinus == unknown == 0.0
    assert 0.5 < fibrillation <= 1.0


def test_what_was_learnt_is_known_by_its_sketch_and_a_stranger_is_not(tmp_path):
    made = torch.randn(40, 1000, generator=torch.Generator().manual_seed(0))
    true, sketched = (torch.cdist(x, x) for x in (made, novelty.sketch(made)))
    pairs = ~torch.eye(40, dtype=torch.bool)
    assert (sketched / true)[pairs].sub(1).abs().max() < 0.15
    recipe.write(novelty.sketch(made), 10.0, tmp_path / "novelty.safetensors")
    known = novelty.opened(tmp_path / "novelty.safetensors")
    autoencoder, _ = vae.opened()
    signal = np.stack([synthetic.ecg(fs_hz=100, rate_bpm=rate).recording.signal for rate in (60.0, 90.0)])
    own = novelty.sketch(novelty.latents(autoencoder, signal))
    assert known.limit == 10.0
    assert not known.too_near(autoencoder, signal).any()
    assert novelty.Novelty(own[:1], 0.1).too_near(autoencoder, signal).tolist() == [True, False]
    assert recipe.apart(torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]])).tolist() == [5.0, 1.0, 1.0]


def test_what_was_understood_and_what_not_is_said(tmp_path):
    made = drawn(tmp_path, "62-year-old man, AF with rapid ventricular response and LBBB, kyphosis")
    assert set(made["condition"]["statements"]) == {"AFIB", "CLBBB"}
    assert (made["condition"]["age_years"], made["condition"]["sex"]) == (62, "M")
    assert made["condition"]["ignored"] == ("kyphosis",)


@pytest.mark.parametrize(
    "prompt", ["asystole at 90 bpm", "sinus rhythm at 900 bpm", "a nice cup of tea", "x " * 900], ids=lambda p: p[:20]
)
def test_the_impossible_is_one_clear_line_and_leaves_nothing(tmp_path, prompt):
    with pytest.raises(UsageError) as error:
        drawn(tmp_path, prompt)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_reference_changes_whose_heart_it_is(tmp_path, dicom):
    reference = read(dicom)[0]
    own = drawn(tmp_path / "own", "sinus tachycardia at 120 bpm", reference)
    free = drawn(tmp_path / "free", "sinus tachycardia at 120 bpm")
    assert own["reference"]
    assert not free["reference"]
    assert np.abs(read(own["record"])[0].signal - read(free["record"])[0].signal).max() > 0.05
    assert any("reference" in line for line in sentences(own))


def test_a_reference_too_short_is_refused(tmp_path):
    short = synthetic.ecg().recording
    short = replace(short, signal=short.signal[:, : int(3 * short.fs_hz)])
    with pytest.raises(UsageError, match="too short"):
        drawn(tmp_path, "sinus rhythm", short)


def test_beats_that_are_alike_are_told_from_beats_that_are_not():
    steady = synthetic.ecg(fs_hz=100, rate_bpm=70).recording.signal
    odd = steady.copy()
    for n, at in enumerate(r_peaks(steady, 100)[:-1]):
        odd[:, at - 20 : at + 40] *= (-1) ** n * (1 + n)
    assert evaluate_generate.beats_alike(steady[None])["median"] > 0.95
    assert evaluate_generate.beats_alike(odd[None])["median"] < 0.5
