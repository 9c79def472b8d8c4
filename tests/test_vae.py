"""The autoencoder of ECGs: algebra, what it may see, that it learns, that a run goes on where it stopped."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic
import torch

from encoders.vae import INDEPENDENT, MOVED, SAMPLES, STEPS, Shape, Vae, completed, twelve_of_eight
from tools.recording import LEADS
from training import vae, vae_data

SMALL = Shape(latent=4, widths=(16, 16, 32), layers=1, heads=2)


@pytest.fixture(scope="module")
def net() -> Vae:
    torch.manual_seed(0)
    return Vae(SMALL).eval()


@pytest.fixture(scope="module")
def hearts() -> np.ndarray:
    """(8, 12, SAMPLES) analytic ECGs of different rates and widths."""
    made = [synthetic.ecg(fs_hz=100, rate_bpm=rate, qrs_ms=width) for rate in (52, 64, 77, 95) for width in (80, 120)]
    return vae_data.levelled(np.stack([one.recording.signal[:, :SAMPLES] for one in made]))


def known_of(*leads: str, records: int = 1) -> torch.Tensor:
    return torch.from_numpy(vae.only(leads, records, SAMPLES))


def holds_algebra(ecg: np.ndarray) -> bool:
    i, ii, iii, avr, avl, avf = ecg[:6]
    pairs = ((iii, ii - i), (avr, -(i + ii) / 2), (avl, i - ii / 2), (avf, ii - i / 2))
    return all(np.allclose(one, other, atol=1e-5) for one, other in pairs)


def test_twelve_leads_hold_einthovens_and_goldbergers_algebra(net):
    for seed in range(3):
        torch.manual_seed(seed)
        leads, _ = net.decode(3 * torch.randn(1, 4, STEPS))
        assert holds_algebra(leads[0].detach().numpy())


@pytest.mark.parametrize("pair", [("I", "II"), ("III", "aVR"), ("aVL", "aVF"), ("II", "aVL"), ("I", "aVF")])
def test_two_limb_leads_give_all_six_exactly(hearts, pair):
    signal = torch.from_numpy(hearts)
    filled, known = completed(signal, known_of(*pair, records=len(hearts)))
    assert known[:, :6].all()
    assert not known[:, 6:].any()
    assert torch.allclose(filled[:, :6], signal[:, :6], atol=1e-5)
    assert not filled[:, 6:].any()


def test_one_limb_lead_completes_nothing(hearts):
    filled, known = completed(torch.from_numpy(hearts), known_of("II", records=len(hearts)))
    assert known.sum() == len(hearts) * SAMPLES
    assert torch.equal(filled[:, 1], torch.from_numpy(hearts[:, 1]))


def test_what_is_hidden_is_never_read(net, hearts):
    signal = torch.from_numpy(hearts[:1])
    known = known_of("II", "V1", "V5")
    other = torch.where(known, signal, torch.full_like(signal, 7.0))
    one, two = net.rebuild(signal, known, draws=2), net.rebuild(other, known, draws=2)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


def test_a_decoder_without_measured_leads_hears_the_latent_alone(net, hearts):
    signal, nothing = torch.from_numpy(hearts[:1]), torch.zeros(1, 12, SAMPLES, dtype=torch.bool)
    z = net.encode(signal, known_of(*LEADS))[0]
    assert torch.allclose(net.decode(z)[0], net.decode(z, signal, nothing)[0], atol=1e-6)


def test_the_same_seed_gives_the_same_error_and_another_another(net, hearts):
    signal, known = torch.from_numpy(hearts[:1]), known_of("I")
    one, again, other = (net.rebuild(signal, known, seed=seed)[1] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert (one > 0).all()


def test_what_is_rebuilt_is_the_mean_of_moved_versions_without_what_was_moved_round_the_end(net, hearts):
    signal, known = torch.from_numpy(hearts[:1]), known_of("II", "V1", "V5")
    leads, _ = net.rebuild(signal, known, draws=0)

    def once(by):
        moved, seen = torch.roll(signal, by, 2), torch.roll(known, by, 2)
        seen[..., : max(by, 0)] = False
        seen[..., SAMPLES + min(by, 0) :] = False
        return torch.roll(net.decode(net.encode(moved, seen)[0], moved, seen)[0], -by, 2)

    with torch.inference_mode():
        still, late, early = once(0), once(MOVED), once(-MOVED)
    inside = slice(MOVED, SAMPLES - MOVED)
    assert torch.allclose(leads[..., inside], ((still + late + early) / 3)[..., inside], atol=1e-6)
    assert torch.allclose(leads[..., :MOVED], ((still + late) / 2)[..., :MOVED], atol=1e-6)


def test_it_learns_to_fill_hidden_leads(hearts):
    torch.manual_seed(0)
    net = Vae(SMALL)
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    clean, known = torch.from_numpy(hearts), known_of("II", "V1", "V5", records=len(hearts))
    shown = torch.ones(len(hearts), dtype=torch.bool)
    before = vae.judged(net.eval(), hearts, known.numpy())["mse"]
    for _ in range(150):
        optimiser.zero_grad()
        vae.loss_of(net.train(), clean, clean, known, shown, shown, 1e-4).backward()
        optimiser.step()
    after = vae.judged(net.eval(), hearts, known.numpy())
    assert after["mse"] < before / 4
    assert after["pcc"] > 0.8


def test_lost_amplitudes_do_not_teach_amplitudes(hearts):
    clean, known = torch.from_numpy(hearts), known_of("II", "V1", "V5", records=len(hearts))
    all_, none = torch.ones(len(hearts), dtype=torch.bool), torch.zeros(len(hearts), dtype=torch.bool)

    def loss(target, raw):
        torch.manual_seed(0)
        net = Vae(SMALL).eval()
        return float(vae.loss_of(net, target, clean, known, all_, raw, 0.0).detach())

    assert loss(clean, none) == pytest.approx(loss(3 * clean, none), abs=1e-5)
    assert loss(clean, all_) != pytest.approx(loss(3 * clean, all_), abs=1e-3)


def test_what_goes_on_from_other_weights_keeps_whole_ecgs_where_they_were(hearts):
    """And says nothing of where an ECG lies of which leads are missing."""
    clean, everyone = torch.from_numpy(hearts), torch.ones(len(hearts), dtype=torch.bool)
    whole, few = torch.ones(clean.shape, dtype=torch.bool), known_of("II", "V1", "V5", records=len(hearts))
    torch.manual_seed(1)
    other = Vae(SMALL).eval()

    def loss(known, before):
        torch.manual_seed(0)
        net = Vae(SMALL).eval()
        before = net if before == "itself" else before
        return float(vae.loss_of(net, clean, clean, known, everyone, everyone, 0.0, before=before).detach())

    assert loss(whole, "itself") == pytest.approx(loss(whole, None), abs=1e-6)
    assert loss(whole, other) > loss(whole, None) + 1e-3
    assert loss(few, other) == pytest.approx(loss(few, None), abs=1e-6)


def test_variations_keep_the_algebra_and_differ(hearts):
    rng = np.random.default_rng(0)
    one, two = vae_data.varied(rng, hearts), vae_data.varied(rng, hearts)
    assert all(holds_algebra(ecg) for ecg in one)
    assert not np.allclose(one, two)
    assert np.isfinite(one).all()


def test_training_hides_leads_and_stretches():
    known = vae_data.hidden(np.random.default_rng(0), 200)
    leads = known.any(axis=2).sum(axis=1)
    assert set(leads) >= {1, 2, 3, 4, 12}
    assert (known.all(axis=(1, 2))).any()
    assert (known.any(axis=2).all(axis=1) & ~known.all(axis=(1, 2))).any()
    assert known.any(axis=(1, 2)).all()


def test_a_run_goes_on_where_it_stopped(tmp_path, hearts, monkeypatch):
    monkeypatch.setattr(vae, "Shape", lambda: SMALL)
    train = np.concatenate([hearts] * 4)

    def trained(folder, *stops):
        folder.mkdir()
        for minutes in stops:
            words = ["--data", ".", "--out", str(folder), "--epochs", "3", "--batch", "8"]
            args = vae.arguments().parse_args(words + (["--minutes", str(minutes)] if minutes else []))
            net, figures = vae.fit(train, np.ones(len(train), bool), hearts, args)
        return net, figures

    whole, figures = trained(tmp_path / "whole", None)
    parts, figures_of_parts = trained(tmp_path / "parts", 1e-9, None)
    assert figures == figures_of_parts
    for name, value in whole.state_dict().items():
        assert torch.allclose(value, parts.state_dict()[name], atol=1e-6), name


def test_the_matrix_of_twelve_leads_is_its_own_inverse_on_the_independent_ones():
    assert torch.equal(twelve_of_eight()[list(INDEPENDENT)], torch.eye(8))
