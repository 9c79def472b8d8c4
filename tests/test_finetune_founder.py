"""Fine-tuning ECGFounder, on a few made-up records in PTB-XL's layout."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb
from founder_files import tone

from encoders import founder
from training import finetune_founder, ptbxl

pytestmark = pytest.mark.usefixtures("own_cache")

LEADS = ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]
FOLDS = [1, 2, 3, 4, 8, 8, 8, 9]
CODES = ["NORM", "IMI", "NORM", "AFIB", "NORM", "IMI", "NORM", "IMI"]  # AFIB is a rhythm: no superclass is stated


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Eight records: NORM of 1 Hz, the others of 2 Hz; that of fold 9 is larger than any other."""
    folder = tmp_path_factory.mktemp("ptb-xl")
    rows = []
    for number, (fold, code) in enumerate(zip(FOLDS, CODES, strict=True), 1):
        size = 9 if fold == 9 else 1 + number / 10
        for fs_hz, end in ((100, "lr"), (500, "hr")):
            if end == "hr" and number > 2:  # two records have the finer file too
                continue
            (folder / f"records{fs_hz}").mkdir(exist_ok=True)
            signal = size * np.tile(tone(1 if code == "NORM" else 2, fs_hz), (12, 1)).T
            wfdb.wrsamp(f"{number:05d}_{end}", fs_hz, ["mV"] * 12, LEADS, signal, fmt=["16"] * 12, adc_gain=[1000] * 12,
                        baseline=[0] * 12, write_dir=str(folder / f"records{fs_hz}"))  # fmt: skip
        names = {f"filename_{end}": f"records{hz}/{number:05d}_{end}" for hz, end in ((100, "lr"), (500, "hr"))}
        row = {"ecg_id": number, "patient_id": number, "scp_codes": str({code: 100.0}), "strat_fold": fold}
        rows.append({**row, **names})
    pd.DataFrame(rows).to_csv(folder / "ptbxl_database.csv", index=False)
    kinds = [("NORM", 1, "NORM", "NORM"), ("IMI", 1, "MI", "IMI"), ("AFIB", None, None, None)]
    statements = pd.DataFrame(kinds, columns=["code", "diagnostic", "diagnostic_class", "diagnostic_subclass"])
    statements.to_csv(folder / "scp_statements.csv", index=False)
    return folder


@pytest.fixture
def tune(records, founder_checkpoint, tmp_path):
    def run(mode, out="out", *more, start=("--checkpoint", str(founder_checkpoint))):
        words = ["--data", str(records), "--out", str(tmp_path / out), "--mode", mode, "--model", "ecgfounder-1"]
        status = finetune_founder.main([*words, "--batch", "2", "--epochs", "2", *start, *more])
        tuned = tmp_path / out / "founder_tuned.safetensors"
        return status, founder.tensors(tuned, "ecgfounder-1", classes=155) if tuned.exists() else None

    return run


def test_targets_are_unknown_where_nothing_is_said(records):
    wanted = finetune_founder.targets(ptbxl.load(records))
    normal, fibrillation = (founder.labels().index(name) for name in ("NORMAL ECG", "ATRIAL FIBRILLATION"))
    assert wanted[:4, normal].tolist() == [1, 0, 1, 0]
    assert wanted[:4, fibrillation].tolist() == [0, 0, 0, 1]
    assert wanted[1, 150:].tolist() == [0, 1, 0, 0, 0]
    assert np.isnan(wanted[3, 150:]).all()
    rest = np.setdiff1d(np.arange(150), [normal, fibrillation])
    assert np.isnan(wanted[:, rest]).all()


def test_what_is_unknown_teaches_nothing():
    logits = torch.randn(3, 4, requires_grad=True)
    wanted = torch.tensor([[1, torch.nan, 0, torch.nan]] * 3)
    loss = finetune_founder.masked_loss(logits, wanted)
    known = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, ::2], wanted[:, ::2])
    assert loss.item() == pytest.approx(known.item(), rel=1e-6)
    loss.backward()
    assert not logits.grad[:, 1::2].any()
    assert logits.grad[:, ::2].all()
    assert finetune_founder.masked_loss(logits, torch.full((3, 4), torch.nan)).item() == 0


def test_frozen_moves_the_taught_outputs_alone_and_leaves_fold_9(founder_net, tune, tmp_path, monkeypatch, capsys):
    seen, prepare = [], founder.published

    def watched(signal, fs_hz):
        seen.append((float(np.abs(signal).max()), fs_hz))
        return prepare(signal, fs_hz)

    monkeypatch.setitem(founder.RECIPES, "published", watched)
    status, tuned = tune("frozen")
    assert status == 0, capsys.readouterr().err
    assert len(seen) == 7
    assert max(size for size, _ in seen) < 2
    assert [fs_hz for _, fs_hz in seen].count(500) == 2
    before = founder_net.state_dict()
    assert all(torch.equal(tuned[key], before[key]) for key in before if not key.startswith("dense"))
    moved = (tuned["dense.weight"][:150] != before["dense.weight"]).any(1).nonzero().ravel().tolist()
    assert moved == [founder.labels().index(name) for name in ("NORMAL ECG", "ATRIAL FIBRILLATION")]
    made = json.loads((tmp_path / "out" / "founder_tuned.json").read_text())
    assert 0 <= made["figures"]["auroc_of_fold_8_which_chose_the_epoch"]["macro"] <= 1
    assert made["outputs"][150:] == ["NORM", "MI", "STTC", "CD", "HYP"]
    assert sorted(file.suffix for file in (tmp_path / "out").iterdir()) == [".json", ".safetensors"]


def test_lora_moves_pointwise_convolutions_and_is_merged(founder_net, tune, capsys):
    status, tuned = tune("lora")
    assert status == 0, capsys.readouterr().err
    before = founder_net.state_dict()
    moved = {key for key in before if not key.startswith("dense") and not torch.equal(tuned[key], before[key])}
    assert moved
    assert all("conv1.conv.weight" in key or "conv3.conv.weight" in key or "se_fc" in key for key in moved)


def test_a_merged_network_reads_as_the_adapted_one(founder_net):
    from copy import deepcopy

    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, target_modules=finetune_founder.POINTWISE, modules_to_save=["dense"])
    adapted = get_peft_model(deepcopy(founder_net), config).eval()
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    merged = deepcopy(adapted).merge_and_unload()
    assert merged.state_dict().keys() == founder_net.state_dict().keys()
    signal = torch.randn(2, 1, 1000)
    with torch.inference_mode():
        torch.testing.assert_close(merged(signal), adapted(signal), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(merged(signal), founder_net(signal), atol=1e-3)


def test_a_run_that_was_stopped_goes_on_to_the_same_end(tune, tmp_path, monkeypatch):
    calls = []

    def better_each_time(*_):
        calls.append(len(calls))
        if calls == [0, 1]:
            raise KeyboardInterrupt
        return {"macro": 0.1 * len(calls)}

    monkeypatch.setattr(finetune_founder, "validate", better_each_time)
    with pytest.raises(KeyboardInterrupt):
        tune("frozen", "stopped")
    assert tune("frozen", "stopped", "--seed", "1")[0] == 2  # other arguments would be another run
    _, resumed = tune("frozen", "stopped")
    assert calls == [0, 1, 2]
    _, straight = tune("frozen", "straight")
    assert all(torch.equal(resumed[key], straight[key]) for key in straight)


def test_full_trains_from_random_weights(tune, capsys):
    status, tuned = tune("full", "out", "--epochs", "1", start=("--random",))
    assert status == 0, capsys.readouterr().err
    assert tuned["dense.weight"].shape == (155, 1024)


def test_what_is_missing_for_fine_tuning_is_a_line(tune, capsys):
    assert tune("frozen", start=())[0] == 4
    assert "einthoven weights pull ecgfounder-1" in capsys.readouterr().err.splitlines()[-1]
