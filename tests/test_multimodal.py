"""Reading by the language model: what is said can be read back, and the recipe runs on a tiny random Llama."""

import shutil
from random import Random

import numpy as np
import ptbxl_files
import pytest
import torch
from safetensors.torch import load_file

from encoders.projector import TOKENS, WHOLE, Features
from encoders.reading import FILE, GROUPS, Reader
from training import evaluate_multimodal, multimodal, multimodal_data, ptbxl, reading
from training.multimodal_text import CANNOT, FAMILIES, Facts, category, interpretation, question, said

NUMBERS = {"heart_rate_bpm": 52.0, "pr_ms": 230.0, "qrs_ms": 144.0, "qtc_ms": 470.0, "qrs_axis_deg": -48.0}


@pytest.fixture(scope="module")
def codes():
    return Reader(FILE).codes


@pytest.fixture
def facts():
    held = {"superclass": ["MI", "CD"], "subclass": ["AMI", "CLBBB"], "statement": ["ASMI", "CLBBB", "SBRAD"]}
    return Facts(held, dict(NUMBERS), {"inverted T waves": ["I", "V6"], "Q waves": []})


@pytest.mark.parametrize("measured", [True, False])
def test_every_code_that_is_said_is_read_back(codes, measured):
    for subclass in codes["subclass"]:
        one = Facts({"superclass": ["HYP"], "subclass": [subclass], "statement": ["AFIB"]}, dict(NUMBERS))
        assert said(interpretation(one, measured)) == {
            "superclass": {"HYP"}, "subclass": {subclass}, "rhythm": {"AFIB"},
        }  # fmt: skip
    for superclass in codes["superclass"]:
        one = Facts({"superclass": [superclass], "subclass": [], "statement": []})
        assert said(interpretation(one, measured))["superclass"] == {superclass}


def test_numbers_are_said_only_where_they_were_given(facts):
    assert not any(sign.isdigit() for sign in interpretation(facts, False))
    assert "QRS 144 ms: wide." in interpretation(facts, True)


def test_categories_follow_the_published_limits():
    assert [category("heart_rate_bpm", v) for v in (59, 60, 100, 101)] == ["slow", "normal", "normal", "fast"]
    assert [category("qrs_ms", v) for v in (110, 111, 120)] == ["narrow", "borderline", "wide"]
    assert [category("pr_ms", v) for v in (119, 120, 200, 201)] == ["short", "normal", "normal", "long"]
    axes = [category("qrs_axis_deg", v) for v in (-31, -30, 90, 91, -91)]
    assert axes == ["left", "normal", "normal", "right", "extreme"]


def test_answers_of_every_family_follow_from_the_facts(facts):
    other = Facts({"superclass": ["NORM"], "subclass": ["NORM"], "statement": ["NORM", "SR"]}, name="ecg-2")
    rng = Random(0)
    seen = {family: {question(rng, family, facts, other) for _ in range(60)} - {None} for family in FAMILIES}
    assert all(seen.values())
    for asked, answer in seen["verify"]:
        for name, there in (
            ("left bundle", "Yes."),
            ("bradycardia", "Yes."),
            ("fibrillation", "No."),
            ("inferior", "No."),
        ):
            assert name not in asked.lower() or answer == there, asked
    assert {answer for _, answer in seen["compare"]} <= {"ecg-1.", "ecg-2.", "both.", "neither."}
    assert {answer for asked, answer in seen["number"] if "fast" in asked} == {"About 50 bpm."}
    assert {answer for asked, answer in seen["leads"] if "T waves" in asked} == {"I, V6."}
    assert {answer for asked, answer in seen["leads"] if "Q waves" in asked} == {"none."}
    assert question(rng, "cannot", facts)[1] == CANNOT


def test_how_frequent_a_code_is_tells_nothing(facts):
    """What is right of one ECG and wrong of the other is the other way round when they change places."""
    other = Facts({"superclass": ["NORM"], "subclass": ["NORM"], "statement": ["NORM", "AFIB", "IMI"]}, name="ecg-1")
    rng = Random(0)
    for family, opposite in (("verify", {"Yes.": "No.", "No.": "Yes."}), ("choose", None)):
        one, two = ({question(rng, family, a, b) for _ in range(900)} for a, b in ((facts, other), (other, facts)))
        if opposite:
            assert one == {(asked, opposite[answer]) for asked, answer in two}
        else:
            assert {asked for asked, _ in one} == {asked for asked, _ in two}
            assert not one & two
    assert question(rng, "verify", facts, facts) is None  # nothing tells an ECG from itself


def test_decisions_do_not_contradict_each_other():
    reader = Reader(FILE)
    high = {group: np.full(len(reader.codes[group]), 0.99) for group in GROUPS}
    found = multimodal_data.decisions(reader, high)
    assert len([code for code in found["statement"] if code in ("SR", "AFIB", "STACH", "SBRAD", "SARRH", "SVARR")]) == 1
    assert ("NORM" in found["superclass"]) == (found["superclass"] == ["NORM"])
    nothing = multimodal_data.decisions(reader, {group: np.zeros(len(reader.codes[group])) for group in GROUPS})
    assert nothing == {group: [] for group in GROUPS}


def arguments(records, tiny_model, out, *more):
    words = ["--data", str(records), "--out", str(out), "--base", str(tiny_model), "--talks", "12", "--alone", "1"]
    words += ["--adapter", str(out / "none"), "--tokens", "9000", "--save-every", "1", "--replay", "0.2", *more]
    return multimodal.arguments().parse_args(words)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return ptbxl_files.small(tmp_path_factory.mktemp("ptb-xl"))


@pytest.fixture(scope="module")
def measures(records, tmp_path_factory):
    """The measurements of those recordings, made in this process: the recipe takes them as known."""
    table = ptbxl.load(records)
    file = tmp_path_factory.mktemp("measures") / "measures.npz"
    vectors = np.stack([reading._measure(signal) for signal in table.signal])
    np.savez(file, record=[reading._key(record) for record in table.record], vector=vectors)
    return file


@pytest.fixture(scope="module")
def trained(records, measures, tiny_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("multimodal")
    shutil.copy(measures, out)
    real, held, count = multimodal.loss_of, multimodal.HELD, 0
    multimodal.HELD = 4

    def interrupted(*given):
        nonlocal count
        count += 1
        if count > 8:
            raise KeyboardInterrupt
        return real(*given)

    multimodal.loss_of = interrupted
    try:
        with pytest.raises(KeyboardInterrupt):
            multimodal.train(arguments(records, tiny_model, out))
    finally:
        multimodal.loss_of = real
    assert (out / "state.pt").exists()
    multimodal.train(arguments(records, tiny_model, out))
    multimodal.HELD = held
    return out


def test_train_stop_go_on_and_answer(trained, tiny_model):
    from agent.llm import LocalModel
    from encoders.projector import opened

    assert not (trained / "state.pt").exists()
    adapter = load_file(trained / "adapter_model.safetensors")
    assert any("lora_B" in name and value.abs().sum() > 0 for name, value in adapter.items())
    model = LocalModel(str(tiny_model))
    model.projectors = {"ecg": opened(trained / "projector.safetensors")}
    seen = Features(
        torch.randn(1, 480), torch.randn(1, 12, 96), torch.randn(1, 5, 96),
        torch.ones(1, 12, dtype=torch.bool), torch.ones(1, 5, dtype=torch.bool),
    )  # fmt: skip
    pieces = model.read({"ecg-1": seen, "ecg-2": seen}, [("Which is faster?", "")], lambda: False)
    assert isinstance("".join(pieces), str)


def test_soft_tokens_stand_where_their_word_stands(trained, tiny_model):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from agent.prompts import soft_word
    from encoders.projector import opened

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    word, soft = soft_word(AutoTokenizer.from_pretrained(tiny_model))
    assert word == "<empty_output>"
    seen = Features(
        torch.randn(2, 480), torch.randn(2, 12, 96), torch.randn(2, 5, 96),
        torch.tensor([[True] * 12, [True] * 3 + [False] * 9]), torch.ones(2, 5, dtype=torch.bool),
    )  # fmt: skip
    first, second = TOKENS, TOKENS - 9
    ids = torch.tensor([[7, *[soft] * first, 9], [8, *[soft] * second, *[9] * (first - second + 1)]])
    projector = opened(trained / "projector.safetensors")
    inside = multimodal.embedded(model, projector, ids, seen, soft)
    vectors, there = projector(seen)
    assert torch.equal(inside[0, 1 : 1 + first], vectors[0])
    assert torch.equal(inside[1, 1 : 1 + second], vectors[1][there[1]])
    words = model.get_input_embeddings()(ids)
    assert torch.equal(inside[ids != soft], words[ids != soft])


def test_the_projector_begins_where_the_words_are(records, measures, tiny_model, tmp_path):
    """Ridge regression: of recordings that are said alike, the first tokens are nearer to their own words."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shutil.copy(measures, tmp_path)
    known = multimodal_data.prepared(records, tmp_path, (1, 2, 3, 4, 5, 6, 7), views=1)
    embeddings = AutoModelForCausalLM.from_pretrained(tiny_model).get_input_embeddings().weight.detach()
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    projector = multimodal.begun(known, embeddings, tokenizer)

    def mean(text):
        return embeddings[tokenizer(text, add_special_tokens=False)["input_ids"]].mean(0)

    wanted = multimodal_data.words_of(known, mean)
    made = projector(known.features)[0][:, :WHOLE].detach()
    off, spread = (made - wanted).square().mean(), (wanted - wanted.mean(0)).square().mean()
    assert off < spread or spread < 1e-8


def test_the_evaluation_runs_and_knows_its_controls(records, measures, trained, tiny_model, tmp_path):
    from agent.llm import LocalModel
    from encoders.projector import opened

    shutil.copy(measures, tmp_path)
    known = multimodal_data.prepared(records, tmp_path, (8,), views=1)
    model, projector = LocalModel(str(tiny_model)), opened(trained / "projector.safetensors")
    rows = np.arange(4)
    found, texts = evaluate_multimodal.interpretations(model, projector, known, rows)
    assert set(found) == {
        "encoder's heads", "reader with trees", "own tokens", "another patient's tokens", "no tokens",
        "own tokens, measurements given",
    }  # fmt: skip
    assert len(texts) == 4
    assert 0 <= evaluate_multimodal.valid(texts)["valid"] <= 1
    assert evaluate_multimodal.valid(["Rate fast. Rhythm: none. Findings: none. Groups: none."])["valid"] == 1
    assert evaluate_multimodal.valid(["Rate 80 bpm. Rhythm: none. Findings: none. Groups: none."])["valid"] == 0
    families = evaluate_multimodal.families(model, projector, known, rows, 3)
    assert set(families) <= set(FAMILIES)
    assert all(0 < of["constant"] <= 1 for of in families.values())


def test_f1_counts_what_it_should():
    ours = np.array([[1, 0, 1], [0, 0, 1]], bool)
    labels = np.array([[1, 1, 0], [0, 0, 1]], bool)
    assert evaluate_multimodal.micro_f1(ours, labels) == pytest.approx(2 * 2 / (3 + 3))
    assert evaluate_multimodal.micro_f1(np.zeros((2, 3), bool), labels) == 0
