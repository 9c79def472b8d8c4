"""What the recipes share: a stop amid saving leaves the state before, and mistakes are one line."""

import sys

import pytest
import torch

from tools.errors import UnreadableFile
from training import reading, recipe


def test_a_stop_amid_saving_leaves_the_state_before(tmp_path, monkeypatch):
    file = tmp_path / "state.pt"
    recipe.save({"epoch": 1, "net": {"w": torch.ones(3)}}, file)

    def cut(state, where):
        where.write_bytes(b"PK half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", cut)
    with pytest.raises(KeyboardInterrupt):
        recipe.save({"epoch": 2}, file)
    assert recipe.load(file)["epoch"] == 1


def test_a_mistake_is_one_line_and_an_exit_status(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["reading.py", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        recipe.run(reading.main)
    assert ended.value.code == UnreadableFile.exit_code
    said = capsys.readouterr().err.strip()
    assert said.startswith("reading: no ptbxl_database.csv")
    assert "\n" not in said
