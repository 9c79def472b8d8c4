"""The training dialogues for tool choice: calls the program would take, in the stated mixture."""

import re
from collections import Counter

import pytest

from tools.registry import TOOLS
from training.tool_use_data import dialogues
from training.tool_use_phrases import LEADS

N = 6000
FAMILY = {"ppg_to_ecg": "ppg", "read_spirogram": "spirogram", "estimate_fetal_age": "ctg"}
OPTIONAL = {
    "generate_ecg": {"recording": str, "seed": int, "count": int},
    "read_spirogram": {"age": int, "sex": str, "height_cm": int},
    "plot_recording": {"layout": str, "format": str},
}
CHOICES = {"layout": {"3x4", "6x2", "12x1"}, "format": {"svg", "png", "pdf"}, "sex": {"F", "M"}}


@pytest.fixture(scope="module")
def talks():
    return dialogues(seed=1, n=N)


def all_calls(talk):
    return talk["calls"] + [call for turn in talk["history"] for call in turn["calls"]]


def test_every_call_is_valid(talks):
    for talk in talks:
        loaded = [entry.split(" ")[0] for entry in talk["recordings"]]
        for call in all_calls(talk):
            name, arguments = call["name"], dict(call["arguments"])
            assert name in TOOLS
            need = {"generate_ecg": "prompt", "search_guidelines": "query"}.get(name, "recording")
            value = arguments.pop(need)
            assert value.strip()
            assert "\0" not in value
            target = value if need == "recording" else arguments.get("recording")
            if target:
                assert target in loaded, talk
                assert target.startswith(FAMILY.get(name, "ecg") + "-"), talk
            for key, given in arguments.items():
                assert isinstance(given, OPTIONAL[name][key])
                assert given in CHOICES.get(key, {given})


def test_recordings_are_written_as_the_agent_lists_them(talks):
    kinds = "|".join(["PPG", "spirogram", "CTG", *LEADS])
    for talk in talks:
        ids = [entry.split(" ")[0] for entry in talk["recordings"]]
        assert len(set(ids)) == len(ids)
        assert all(re.fullmatch(rf"(ecg|ppg|spirogram|ctg)-\d \(({kinds})\)", entry) for entry in talk["recordings"])


def test_replies_only_without_calls_and_without_numbers(talks):
    for talk in talks:
        assert (talk["reply"] is None) == bool(talk["calls"])
        if talk["reply"]:
            assert not re.search(r"\d", talk["reply"])
            assert not re.search(r"[{}|\0]", talk["reply"])


def test_words_are_whole(talks):
    for talk in talks:
        for words in [talk["user"], *(turn["user"] for turn in talk["history"])]:
            assert words.strip()
            assert not re.search(r"[{}\0]| => |  ", words), words


def test_prompt_is_in_the_users_words(talks):
    for talk in talks:
        if talk["intent"] == "one:generate_ecg":
            assert talk["calls"][0]["arguments"]["prompt"] in talk["user"]


def test_ids_survive_typing_slips(talks):
    for talk in talks:
        named = set(re.findall(r"\b(?:ecg|ppg|spirogram|ctg)-\d\b", talk["user"].lower()))
        used = {call["arguments"].get("recording") for call in talk["calls"]}
        if talk["calls"] and named and talk["intent"].startswith("one:"):
            assert named == used, talk


def test_first_and_second_are_counted_in_the_order_loaded(talks):
    places = {"the first ecg": 0, "the second ecg": 1, "the third ecg": 2}
    found = 0
    for talk in talks:
        if not talk["intent"].startswith("one:"):
            continue
        ecgs = [entry.split(" ")[0] for entry in talk["recordings"] if entry.startswith("ecg-")]
        for words, place in places.items():
            if words in talk["user"].lower():
                assert talk["calls"][0]["arguments"]["recording"] == ecgs[place]
                found += 1
    assert found > 10


def test_nothing_loaded_means_no_call(talks):
    for talk in talks:
        if not talk["recordings"]:
            assert all(call["name"] in ("generate_ecg", "search_guidelines") for call in talk["calls"])


def test_shares(talks):
    parts = Counter(talk["intent"].split(":")[0] for talk in talks)
    for part, share in {"one": 0.55, "two": 0.15, "follow": 0.10, "none": 0.20}.items():
        assert abs(parts[part] / N - share) < 0.03, parts
    singles = Counter(talk["intent"] for talk in talks if talk["intent"].startswith("one:"))
    assert len(singles) == 10
    assert min(singles.values()) > 0.02 * sum(singles.values())
    assert all(len(talk["calls"]) == 2 for talk in talks if talk["intent"].startswith("two:"))


def test_same_seed_same_dialogues(talks):
    assert dialogues(seed=1, n=200) == talks[:200]
    assert dialogues(seed=3, n=200) != talks[:200]


def test_no_flood_of_the_same_words(talks):
    seen = Counter((talk["user"].lower(), tuple(talk["recordings"])) for talk in talks)
    assert max(seen.values()) <= 12
    assert len(seen) > 0.9 * N
