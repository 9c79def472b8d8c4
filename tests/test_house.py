"""The shape of the house: imports point down, every shipped model has a true card, `--help` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from encoders.weights import cards, verify
from training.cards import REQUIRED

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "encoders": set(),
    "tools": {"encoders"},
    "agent": {"tools", "encoders"},
    "training": {"tools", "encoders", "agent"},  # it trains and judges the agent's model; nothing imports training
}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_down(room):
    for file in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            rooms = {name.split(".")[0] for name in names} & set(MAY_IMPORT)
            assert rooms <= MAY_IMPORT[room] | {room}, f"{file.relative_to(ROOT)} imports {rooms}"


def test_every_model_is_what_its_card_says():
    found = cards()
    assert found
    for name, card in found.items():
        assert verify(card), f"{name}: the file is not the one its card was written for"
        assert all(key in card for key in REQUIRED), name
        assert card["bytes"] <= 20e6


def test_help_imports_nothing_heavy():
    code = "import sys; from agent.__main__ import parser; parser().format_help(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    heavy = {"torch", "transformers", "gradio", "langgraph", "numpy", "wfdb", "pydantic"}
    assert not heavy & set(done.stdout.split())
