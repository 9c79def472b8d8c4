"""ECGFounder: files taken safely and strictly, recipes on signals with known answers, the published numbers."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from founder_files import tone
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from agent.__main__ import main
from encoders import founder
from encoders.weights import MissingModel

pytestmark = pytest.mark.usefixtures("own_cache")

GOLDEN = [8.3751173, -4.1527028, -6.7856750, -2.8647900, 4.4135675, -2.2547250, -5.3009405, -6.1225495, -1.0395477,
          -1.8894272]  # fmt: skip


class Payload:
    """A pickle that writes a file where it is loaded carelessly."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (str(self.target),))


# --- files ---


def test_a_published_checkpoint_becomes_the_same_model(founder_net, founder_checkpoint, capsys):
    made = founder.convert(founder_checkpoint, "ecgfounder-1")
    assert made.file == founder.where("ecgfounder-1")
    assert "not checked" in made.origin
    with safe_open(made.file, "pt") as held:
        assert held.metadata()["source_sha256"] == made.sha256
    kept = load_file(made.file)
    assert kept.keys() == founder_net.state_dict().keys()
    assert all(torch.equal(kept[key], value) for key, value in founder_net.state_dict().items())

    model = founder.load("ecgfounder-1")
    signal = np.random.default_rng(0).normal(size=(1, 2500))
    probabilities, features = model.read(signal, 250)
    with torch.inference_mode():
        logits, vector = founder_net(torch.from_numpy(founder.published(signal, 250))[None], features=True)
    np.testing.assert_array_equal(probabilities, logits.sigmoid()[0])
    np.testing.assert_array_equal(features, vector[0])
    assert list(made.file.parent.iterdir()) == [made.file]  # nothing half-written stays


@pytest.mark.parametrize("core", [b"core", b"_core"])
def test_a_numpy_scalar_loads_by_both_names(tmp_path, core):
    """numpy 2 renamed its inner package; the published files are older."""
    new, old = tmp_path / "new.pth", tmp_path / "old.pth"
    torch.save({"state_dict": {"weight": torch.ones(2)}, "val_auroc": np.float64(0.5)}, new)
    with zipfile.ZipFile(new) as source, zipfile.ZipFile(old, "w") as renamed:
        for name in source.namelist():
            content = source.read(name)
            assert not name.endswith("data.pkl") or b"cnumpy._core.multiarray\nscalar\n" in content
            renamed.writestr(name, content.replace(b"numpy._core.", b"numpy." + core + b"."))
    assert torch.equal(founder._opened(old)["weight"], torch.ones(2))


def test_a_pickle_that_would_run_something_is_refused(founder_net, tmp_path, capsys):
    file, target = tmp_path / "evil.pth", tmp_path / "owned"
    torch.save({"state_dict": founder_net.state_dict(), "more": Payload(target)}, file)
    assert main(["weights", "pull", "ecgfounder-1", "--file", str(file)]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "mkdir" in err
    assert not target.exists()
    assert not founder.where("ecgfounder-1").exists()


def test_a_known_hash_says_whether_the_file_is_the_published_one(founder_checkpoint, monkeypatch):
    one = founder.MODELS["ecgfounder-1"]
    digest = founder.sha256(founder_checkpoint)
    for known, said in (
        (digest, "the published file"),
        ("0" * 64, "not the published file: its sha256 is another one"),
    ):
        monkeypatch.setitem(founder.MODELS, "ecgfounder-1", founder.Published(one.leads, one.file, known))
        made = founder.convert(founder_checkpoint, "ecgfounder-1")
        assert (made.origin, made.sha256) == (said, digest)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("dense.bias"), "lacks 'dense.bias'"),
        (lambda state: state.update(extra=torch.zeros(1)), "unknown 'extra'"),
        (lambda state: state.update({"dense.bias": torch.zeros(149)}), "(149,), not (150,)"),
        (lambda state: state.update({"dense.bias": torch.full((150,), float("nan"))}), "no numbers"),
    ],
)
def test_weights_are_taken_strictly(founder_net, tmp_path, change, said):
    state = dict(founder_net.state_dict())
    change(state)
    file = tmp_path / "other.safetensors"
    save_file(state, file)
    with pytest.raises(founder.BadCheckpoint) as error:
        founder.convert(file, "ecgfounder-1")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not founder.where("ecgfounder-1").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_other_files_are_refused_in_a_line(tmp_path, content, capsys):
    file = tmp_path / "bad.pth"
    file.write_bytes(content)
    assert main(["weights", "pull", "ecgfounder-12", "--file", str(file)]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("odd", [torch.eye(150).to_sparse(), torch.empty(150, device="meta"), "text"])
def test_odd_values_do_not_pass_as_weights(founder_net, tmp_path, odd):
    file = tmp_path / "odd.pth"
    torch.save({"state_dict": {**founder_net.state_dict(), "dense.bias": odd}}, file)
    with pytest.raises(founder.BadCheckpoint, match=r"lacks 'dense\.bias'"):
        founder.convert(file, "ecgfounder-1")


def test_twelve_leads_are_not_one(founder_checkpoint):
    with pytest.raises(founder.BadCheckpoint, match=r"first_conv.conv.weight is \(64, 1, 16\), not \(64, 12, 16\)"):
        founder.convert(founder_checkpoint, "ecgfounder-12")


# --- the command line ---


def test_pull_takes_a_file_and_list_then_names_it(founder_checkpoint, capsys):
    assert main(["weights", "list"]) == 0
    before = capsys.readouterr().out
    assert "ecgfounder-1  published foundation model of 150 labels, not there" in before
    assert main(["weights", "pull", "ecgfounder-1", "--file", str(founder_checkpoint)]) == 0
    assert str(founder.where("ecgfounder-1")) in capsys.readouterr().out
    assert main(["weights", "list"]) == 0
    after = capsys.readouterr().out
    assert "ecgfounder-1  published foundation model of 150 labels, converted" in after
    assert "ecgfounder-12  published foundation model of 150 labels, not there" in after
    assert main(["weights", "pull", "ecgfounder-1"]) == 0  # it is there: no network is asked


def test_without_a_network_pull_says_what_to_do(tmp_path):
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:1", "EINTHOVEN_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "agent", "weights", "pull", "ecgfounder-12"],
        capture_output=True, text=True, env=environment, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (4, "")
    assert len(done.stderr.splitlines()) == 1
    assert "--file 12_lead_ECGFounder.pth" in done.stderr


def test_what_is_missing_is_said(founder_net):
    with pytest.raises(MissingModel, match="einthoven weights pull ecgfounder-12"):
        founder.load("ecgfounder-12")
    with pytest.raises(ValueError, match="reads 1 leads, not 12"):
        founder.Founder("ecgfounder-1", ("I",), founder_net).read(np.zeros((12, 5000)), 500)


def test_labels_are_in_the_published_order():
    labels = founder.labels()
    assert len(labels) == len(set(labels)) == 150
    assert [labels[i] for i in (0, 1, 5, 54, 149)] == [
        "ABNORMAL ECG", "NORMAL SINUS RHYTHM", "ATRIAL FIBRILLATION", "ANTEROLATERAL INFARCT",
        "MULTIFOCAL ATRIAL TACHYCARDIA",
    ]  # fmt: skip


# --- recipes ---


def left(recipe, hz):
    """How much of a tone a recipe leaves beside one of 10 Hz, which all of them pass; edges aside."""
    both = founder.RECIPES[recipe](np.vstack([tone(10), tone(hz)]), 500)[:, 1000:4000]
    return both[1].std() / both[0].std()


@pytest.mark.parametrize("recipe", founder.RECIPES)
@pytest.mark.parametrize("fs_hz", [100, 128, 360, 500, 1000])
def test_any_rate_becomes_ten_seconds_at_500_hz(recipe, fs_hz):
    x = founder.RECIPES[recipe](tone(8, fs_hz, leads=3), fs_hz)
    assert (x.shape, x.dtype) == ((3, 5000), np.float32)
    middle = x[0, 1000:4000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(3000)))
    assert spectrum.argmax() * 500 / 3000 == pytest.approx(8, abs=0.2)
    reference = founder.RECIPES[recipe](tone(8, leads=3), 500)[0, 1000:4000]
    assert np.corrcoef(middle, reference)[0, 1] > 0.999


@pytest.mark.parametrize("recipe", founder.RECIPES)
def test_one_z_score_spans_all_leads(recipe):
    x = founder.RECIPES[recipe](np.vstack([tone(10), 3 * tone(10), tone(7)]), 500)
    assert x.mean() == pytest.approx(0, abs=1e-4)
    assert x.std() == pytest.approx(1, abs=1e-4)
    assert x[1].std() / x[0].std() == pytest.approx(3, rel=1e-3)  # leads keep their relative size
    np.testing.assert_allclose(founder.RECIPES[recipe](0.001 * tone(10), 500),
                               founder.RECIPES[recipe](tone(10), 500), atol=0.01)  # fmt: skip


def test_what_the_filters_of_a_recipe_leave():
    assert left("zscore", 50) == pytest.approx(1, abs=0.02)
    assert left("published", 50) < 0.01
    assert left("paper", 50) < 0.01
    assert left("paper", 60) < 0.01
    assert left("published", 0.2) < 0.02
    assert left("paper", 0.1) < 0.05
    assert left("published", 100) < 0.01
    assert 0.9 < left("paper", 20) < 1.1


def test_zscore_is_arithmetic():
    signal = np.random.default_rng(3).normal(2, 5, (12, 5000))
    expected = (signal - signal.mean()) / signal.std()
    np.testing.assert_allclose(founder.zscore(signal, 500), expected, atol=1e-5)


@pytest.mark.parametrize("recipe", founder.RECIPES)
def test_gaps_short_long_and_flat_signals(recipe):
    prepare = founder.RECIPES[recipe]
    gaps, zeros = tone(10, leads=2), tone(10, leads=2)
    gaps[1, 500:900], zeros[1, 500:900] = np.nan, 0
    np.testing.assert_array_equal(prepare(gaps, 500), prepare(zeros, 500))
    short = prepare(tone(10, seconds=4), 500)
    assert short[0, :2000].std() == pytest.approx(1, abs=1e-3)
    assert not short[0, 2000:].any()
    long = tone(10, seconds=30)
    np.testing.assert_array_equal(prepare(long, 500), prepare(long[:, :5000], 500))
    assert np.isfinite(prepare(np.full((12, 5000), 0.3), 500)).all()
    for wrong, fs_hz in ((tone(10, seconds=1), 500), (tone(10)[0], 500), (tone(10), 0)):
        with pytest.raises(ValueError, match="wanted"):
            prepare(wrong, fs_hz)


# --- the published numbers ---


def test_golden_logits_of_the_published_file():
    file = founder.where("ecgfounder-12")
    if not file.exists():
        pytest.skip("ecgfounder-12 is not on this machine (einthoven weights pull ecgfounder-12)")
    with safe_open(file, "pt") as held:
        if held.metadata()["source_sha256"] != founder.MODELS["ecgfounder-12"].sha256:
            pytest.skip("the ecgfounder-12 on this machine is not the published file")
    signal = torch.linspace(-1, 1, 60000).reshape(1, 12, 5000)
    with torch.inference_mode():
        logits = founder.load("ecgfounder-12").net(signal)
    torch.testing.assert_close(logits[0, :10], torch.tensor(GOLDEN), rtol=0, atol=1e-5)
