"""Contexts altered, pairs made and a tiny random Llama tuned on them: what flips, what is preferred, what is kept."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from agent.copying import DENIED
from agent.copypaste import begun, compose
from tools.errors import UsageError
from training import copypaste, copypaste_data, evaluate, evaluate_faithful
from training.counterfactual import altered, opposite, other_number
from training.generation import Writer, option_of, together


@pytest.mark.parametrize(
    ("sentence", "turned"),
    [
        ("Statins were not associated with falls.", "Statins were associated with falls."),
        ("Statins are associated with falls.", "Statins are not associated with falls."),
        ("There was no significant difference in survival.", "There was a significant difference in survival."),
        ("We conclude that the score is useful.", "We conclude that the score is not useful."),
        ("Early surgery may improve survival.", "Early surgery cannot improve survival."),
        ("The score correlates with outcome.", "The score does not correlate with outcome."),
        ("Current guidelines appear insufficient.", "Current guidelines appear sufficient."),
        ("The drug failed to lower mortality.", "The drug did lower mortality."),
        ("Neither age nor sex is not relevant.", None),
        ("Blue walls.", None),
    ],
)
def test_a_claim_is_turned_by_one_change(sentence, turned):
    assert opposite(sentence) == turned


def test_a_turned_claim_denies_where_it_did_not_and_the_reverse():
    for sentence in ("The test is reliable.", "The test is not reliable.", "No benefit was seen.", "It has an effect."):
        if turned := opposite(sentence):
            assert bool(DENIED.search(turned)) != bool(DENIED.search(sentence))


QUESTION = "Is the new score useful in heart failure?"
BODY = (
    "Scores are common in heart failure. The score was lower in survivors (p<0.01). Patients came from two hospitals."
)
CONCLUSION = "The new score is useful in heart failure. Costs were covered."


def test_a_context_is_altered_in_the_sentence_that_answers_alone():
    as_is, turned, answer = altered(QUESTION, "yes", BODY, CONCLUSION)
    assert answer == "no"
    assert turned == as_is.replace("score is useful", "score is not useful")
    assert "p<0.01" not in as_is  # a result that would contradict
    assert "two hospitals" in as_is


@pytest.mark.parametrize(
    ("question", "answer", "conclusion"),
    [
        (QUESTION, "maybe", CONCLUSION),
        (QUESTION, "no", CONCLUSION),  # its sentence denies nothing
        (QUESTION, "yes", "Further studies of the new score in heart failure are needed."),
        (QUESTION, "yes", "The new score is useful in heart failure, but costs are high."),
        (QUESTION, "yes", "Costs were covered."),  # does not answer
        ("Is the new score not useful in heart failure?", "yes", CONCLUSION),
    ],
)
def test_what_is_not_plain_is_left_alone(question, answer, conclusion):
    assert altered(question, answer, BODY, conclusion) is None


def test_a_number_is_changed_with_its_unit():
    sentence, before, after = other_number("A QTc above 460 ms is long.")
    assert before == "460 ms"
    assert after != before
    assert sentence == f"A QTc above {after} is long."
    assert other_number("Between 40 ms and 60 ms.") is None
    assert other_number("No number here.") is None


def test_questions_of_the_parts_are_apart_and_answers_even(pubmedqa):
    of = {part: copypaste_data.items(pubmedqa, part) for part in ("train", "validation", "test")}
    asked = {part: {item["question"] for item in found if len(item["options"]) == 3} for part, found in of.items()}
    assert all(asked.values())
    assert len(asked["train"] | asked["validation"] | asked["test"]) == sum(map(len, asked.values()))
    for part in of:
        answers = [item["answer"] for item in of[part] if len(item["options"]) == 3]
        assert answers.count("yes") == answers.count("no")
    test = of["test"]
    assert len({item["id"].removesuffix("-altered") for item in test}) * 2 == len(test)  # both contexts of each
    assert len(asked["train"]) == sum(len(item["options"]) == 3 for item in of["train"])  # one of each


def test_a_folder_without_pubmedqa_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"ori_pqal\.json"):
        copypaste_data.items(tmp_path, "train")


def test_in_handbook_questions_the_right_number_stands_in_the_context_and_the_other_does_not(tmp_path, monkeypatch):
    some = copypaste_data.ASKED_WELL.read_text().splitlines()[:60]
    (tmp_path / "asked.jsonl").write_text("\n".join(some))
    monkeypatch.setattr(copypaste_data, "ASKED_WELL", tmp_path / "asked.jsonl")
    numbered = [item for item in copypaste_data.from_handbook() if item["answer"]]
    assert len(numbered) >= 4
    assert {item["altered"] for item in numbered} == {True, False}
    for item in numbered:
        wrong = next(one for one in item["options"] if one != item["answer"])
        assert item["answer"] in item["context"]
        assert wrong not in item["context"]


def test_a_cut_context_keeps_order_and_what_answers():
    text = "One thing is here. " * 40 + "The QTc is long. " + "Another thing is there. " * 40
    short = copypaste_data.cut(text, "Is the QTc long?", words=30)
    assert "The QTc is long." in short
    assert len(short.split()) <= 30


ANSWERS = {
    "base": "It helps everybody a lot.",
    "attributed": "It helps some people.",
    "citations": "It helps [1].",
    "order": "The drug is not useful against fever.",
    "link": "The drug is not useful against fever. Fever is common in spring and in winter.",
    "refine": "The drug is not useful against fever.",
}
ITEM = {
    "id": "1-altered", "question": "Is the drug useful against fever?", "answer": "no",
    "options": ["yes", "no", "maybe"],
    "context": "Fever is common in spring and in winter. The drug is not useful against fever.", "altered": True,
}  # fmt: skip


@pytest.fixture
def writer(tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    return Writer(model, AutoTokenizer.from_pretrained(tiny_model), quiet=True)


@pytest.fixture
def of(writer, monkeypatch):
    monkeypatch.setattr(copypaste_data, "FLUENT", 1e5)  # to a random model nothing is fluent
    return copypaste_data.judged(writer, ITEM, ANSWERS)


def test_copies_pass_and_rank_above_what_is_made_up(of):
    assert of["order"]["passes"]
    assert not of["base"]["passes"]
    assert of["base"]["supported"] == 0
    assert min(of[way]["elo"] for way in ("order", "link", "refine")) > max(
        of[way]["elo"] for way in ("base", "attributed")
    )


def test_the_sum_of_ratings_stays(of):
    assert sum(one["elo"] for one in of.values()) == pytest.approx(len(of) * copypaste_data.ELO)


def test_a_judge_decides_where_one_is_given(writer):
    ranked = copypaste_data.judged(writer, ITEM, ANSWERS, lambda question, context, a, b: float(len(a) > len(b)))
    assert max(ranked, key=lambda way: ranked[way]["elo"]) == "link"


def test_pairs_stamp_what_each_arm_stamps(of):
    both = copypaste_data.pairs(ITEM, of, "copypaste", 5)
    assert len(both) == 5
    for pair in both:
        good, bad = pair["chosen"][0]["content"], pair["rejected"][0]["content"]
        assert good.startswith("The drug is not useful against fever.")
        assert good.endswith("\nAnswer: no")
        assert bad.endswith("\nAnswer: yes") == bad.startswith(("The drug", "Fever"))
    for pair in copypaste_data.pairs(ITEM, of, "stamping", 5):
        good, bad = pair["chosen"][0]["content"], pair["rejected"][0]["content"]
        assert good.removesuffix("no") == bad.removesuffix("yes")
        assert good.startswith("It helps")
    for pair in copypaste_data.pairs(ITEM, of, "copying", 5):
        assert "Answer:" not in pair["chosen"][0]["content"] + pair["rejected"][0]["content"]
    unstamped = copypaste_data.pairs({**ITEM, "answer": "", "options": []}, of, "copypaste", 5)
    assert unstamped
    assert not any("Answer:" in pair["chosen"][0]["content"] for pair in unstamped)


def test_no_pair_is_made_where_nothing_passes(of):
    assert copypaste_data.pairs(ITEM, {way: {**one, "passes": False} for way, one in of.items()}) == []


def test_a_twin_says_the_contrary_in_the_same_words(of):
    here, there = "The drug is not useful against fever.", "The drug is useful against fever."
    item, answers = copypaste_data.twin({**ITEM, "swap": [here, there]}, of)
    assert (item["answer"], item["altered"]) == ("yes", False)
    assert item["context"] == "Fever is common in spring and in winter. The drug is useful against fever."
    assert answers["order"]["text"] == there
    assert answers["base"] == of["base"]
    made = copypaste_data.pairs(item, answers, "copypaste", 5)
    assert made
    assert all(pair["chosen"][0]["content"].endswith("Answer: yes") for pair in made)
    assert copypaste_data.twin(ITEM, of) is None


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("It is so.\nAnswer: no", "no"),
        ("The answer is: Yes.", "yes"),
        ("Yes, it is.", "yes"),
        ("No.", "no"),
        ("Nothing is known.", None),
        ("Answer: perhaps", None),
        ("", None),
    ],
)
def test_the_option_is_read_at_its_place(text, option):
    assert option_of(text, ["yes", "no", "maybe"]) == option


def test_a_batch_writes_what_single_prompts_write(writer):
    prompts = [[{"role": "user", "content": text}] for text in ("QT?", "a much longer question about it all", "x")]
    single = [writer._batch([writer._encode(prompt)], 12, None)[0][0] for prompt in prompts]
    assert writer.texts(prompts, 12) == single
    chosen = writer.answered(prompts, 3, [["yes", "no"]] * 3)
    assert all(option in ("yes", "no") for _, option in chosen)
    alone = [writer.answered([prompt], 3, [["yes", "no"]])[0] for prompt in prompts]
    assert chosen == alone


def test_composers_side_by_side_give_what_each_gives_alone(writer):
    cases = [
        (way, question, ITEM["context"])
        for way in ("order", "link", "refine")
        for question in ("fever?", ITEM["question"])
    ]
    beside = together(writer, [begun(*case) for case in cases])
    assert beside == [compose(way, lambda m, n: writer.texts([m], n)[0], q, c) for way, q, c in cases]


def test_training_stops_goes_on_and_its_adapter_loads(tiny_model, tmp_path, pubmedqa, monkeypatch):
    from peft import PeftModel
    from safetensors.torch import load_file

    monkeypatch.setattr(copypaste_data, "FLUENT", float("inf"))
    out = tmp_path / "out"
    words = ["--data", str(pubmedqa), "--out", str(out), "--base", str(tiny_model), "--items", "8", "--pairs", "8",
             "--batch", "2", "--lr", "1e-2", "--rank", "4", "--save-every", "2", "--epochs", "1",
             "--each", "2"]  # fmt: skip
    args = copypaste.arguments().parse_args(words)
    from trl import DPOTrainer

    real, count = DPOTrainer.training_step, 0

    def interrupted(*given, **named):
        nonlocal count
        count += 1
        if count > 3:
            raise KeyboardInterrupt
        return real(*given, **named)

    monkeypatch.setattr(DPOTrainer, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        copypaste.train(args)
    assert [file.name for file in (out / "checkpoints-copypaste").glob("check*")] == ["checkpoint-2"]
    kept = (out / "pairs-copypaste.jsonl").read_text()
    monkeypatch.setattr(DPOTrainer, "training_step", real)
    figures = copypaste.train(args)
    assert figures["pairs"] == len(kept.splitlines()) == 8
    assert figures["steps"] == 4
    assert (out / "pairs-copypaste.jsonl").read_text() == kept
    saved = load_file(out / "adapter_model.safetensors")
    assert all(value.dtype == torch.float16 for value in saved.values())
    assert {int(name.split("layers.")[1].split(".")[0]) for name in saved} == {2, 3}  # of four: the upper half
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    ids = torch.tensor([[5, 6, 7]])
    plain = base(ids).logits
    tuned = PeftModel.from_pretrained(base, out)
    assert not torch.allclose(plain, tuned(ids).logits)


def test_figures_by_hand():
    """The copying row is right with both contexts; the base says what was published whatever the context says."""
    other = {**ITEM, "id": "1", "altered": False, "answer": "yes", "context": ITEM["context"].replace("not ", "")}
    both = [other, ITEM]
    published = ("The drug helps nearly everybody who takes it.\nAnswer: yes", "yes")
    copied = [("The drug is useful against fever.\nAnswer: yes", "yes"), (f"{ANSWERS['order']}\nAnswer: no", "no")]
    found = evaluate_faithful.figures(both, {"base": [published] * 2, "copypaste": copied})
    base, ours = found["arms"]["base"], found["arms"]["copypaste"]
    assert (base["accuracy"][0], base["accuracy_altered"][0]) == (1, 0)
    assert (ours["accuracy"][0], ours["accuracy_altered"][0]) == (1, 1)
    assert (base["unsupported"][0], ours["unsupported"][0]) == (1, 0)
    assert ours["kappa"][0] == 1
    assert ours["delta"][0] == pytest.approx(6.5)  # runs of six and of seven words
    assert found["tuned_minus_base"]["accuracy_altered"][0] == 1
    assert found["tuned_minus_base"]["accuracy"][0] == 0
    shown = evaluate_faithful.table(found)
    assert "CopyPaste-tuned" in shown
    assert "1 questions" in shown


def test_the_table_is_made_by_one_command(tiny_model, pubmedqa, tmp_path, capsys):
    words = ["faithful", "--data", str(pubmedqa), "--base", str(tiny_model), "--limit", "2"]
    assert evaluate.main([*words, "--weights", str(tmp_path / "none"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["arms"]) == {"base", "attributed", "order", "link", "refine"}
    assert found["questions"] == 2
    assert found["arms"]["order"]["kappa"][0] == 1
