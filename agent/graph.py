"""The agent: plan -> act -> answer, as a LangGraph state machine.

    plan     the language model chooses tools for the question
    act      each call runs; what goes wrong becomes a sentence, never a traceback
    answer   the model writes from the results; agent/faithful.py lets it pass, or the evidence speaks for itself;
             what a guideline says is quoted after it, untouched by the model (agent/citations.py)

The state is plain data and is kept per session in SQLite, so a conversation goes on where it stopped.
Recordings are files of the session, known to the model by opaque ids (`ecg-1`); it never sees a path. What a tool makes
becomes one of them, so that it can be measured, read and drawn like any other.
While it runs, nodes report through LangGraph's custom stream: see `Event` in agent/session.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cache, lru_cache
from itertools import count
from pathlib import Path
from typing import Any, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph

from agent import citations, findings, looking
from agent.compose import compose, set_out
from agent.evidence import narrowed
from agent.llm import ABSENT
from agent.prompts import Call, kind_of
from agent.stated import INTO_ECG
from tools import interpret_words
from tools import recording as recordings
from tools.errors import EinthovenError, UsageError
from tools.recording import Recording
from tools.registry import PATHS, TOOLS, WORDED, files, find
from tools.scp import statement

ABOUT = {"ppg": "PPG", "spirogram": "spirogram", "ctg": "CTG"}
LONGEST = 10_000  # characters of one value of a result that a language model is shown
REPORTS = {"read_spirogram", "estimate_fetal_age"}  # these tell so much that an answer keeps to what was asked
STEP_LIMIT = 4  # rounds of plan and act in one turn
DISCLAIMER = "Research software, not a medical device."


Known = dict[str, dict[str, str]]  # id -> {"file": name in the folder, "about": "12-lead ECG"}


class State(TypedDict, total=False):
    folder: str  # of the session: its recordings, and the files that tools write
    recordings: Known
    turns: list[dict[str, Any]]  # earlier {"user", "calls", "answer"}
    question: str
    notes: list[str]  # on how the question was read, said at the end of the answer
    steps: int
    calls: list[Call]  # chosen now
    results: list[dict[str, Any]]  # of this turn: {"name", "arguments", "result", "seconds"}
    answer: dict[str, Any]


def build(llm: Any, checkpointer: Any = None, stop: Callable[[], bool] = lambda: False):
    """Compile the graph for a language model; `stop` is asked between words and between tools."""

    def plan(state: State) -> State:
        known = [f"{name} ({entry['about']})" for name, entry in state["recordings"].items()]
        calls = llm.choose(
            known, state["turns"], state["question"], [brief(citations.hidden(r)) for r in state["results"]]
        )
        done = [{"name": result["name"], "arguments": result["arguments"]} for result in state["results"]]
        return {"calls": [call for i, call in enumerate(calls) if call not in done + calls[:i]]}

    def act(state: State) -> State:
        emit = get_stream_writer()
        results, known, made = list(state["results"]), state["recordings"], ""
        for call in state["calls"]:
            if stop():
                break
            if call["arguments"].get("recording") == ABSENT and made:  # "turn the PPG into an ECG and measure it"
                call = {**call, "arguments": {**call["arguments"], "recording": made}}
            emit({"kind": "tool", **call})
            began = time.perf_counter()
            result = run(call, {**state, "recordings": known}, getattr(llm, "hear", None))
            for record in result.get("records") or [one for one in (result.get("record"),) if one]:
                made, known = keep(recordings.read(record)[0], Path(state["folder"]), known)
                result["recordings"] = [*result.get("recordings", []), made]
                emit({"kind": "kept", "recordings": known})
            results.append({**call, "result": result, "seconds": round(time.perf_counter() - began, 3)})
            emit({"kind": "result", **results[-1]})
        return {"results": results, "recordings": known, "steps": state["steps"] + 1}

    def answer(state: State) -> State:
        emit = get_stream_writer()
        searches = [result for result in state["results"] if citations.is_search(result)]
        spoken = [result for result in state["results"] if speaks_for_itself(result)]
        looked = [result for result in state["results"] if looking.is_look(result)]
        others = [result for result in state["results"] if result not in searches + spoken + looked]
        text, by = "", "evidence"
        if others or not (searches or spoken or looked):
            kinds = {kind_of(name) for name in state["recordings"]}
            told = [*sentences(others), *unfound(others, state["question"])]
            before = state["turns"][-1]["user"] if state["turns"] else ""
            text, by = compose(llm, told, state["question"], emit, stop, kinds, before)
        quoted, cited = citations.quoted(searches)
        own = " ".join(by_eye(llm, state, looked, text, stop)) if by != "stopped" else ""
        for untouched in (own, set_out(as_asked(spoken, state["question"])), quoted, " ".join(state.get("notes", []))):
            if untouched and by != "stopped":
                part = f"\n\n{untouched}" if text else untouched
                emit({"kind": "word", "text": part})
                text += part
        if any("recording" in result["arguments"] for result in state["results"]):
            text = f"{text}\n\n{DISCLAIMER}"
        calls: list[dict[str, Any]] = [
            {"name": one["name"], "arguments": one["arguments"], "made": one["result"].get("recordings", [])}
            for one in state["results"]
        ]
        end = {
            "answer": text,
            "written_by": by,
            "tools": [{key: result[key] for key in ("name", "arguments", "result")} for result in state["results"]],
            "citations": cited if by != "stopped" else [],
            "files": [path for result in state["results"] for path in files(result["result"])],
        }
        shown = citations.kept_from_models(text, quoted if cited else "")
        turn = {"user": state["question"], "calls": calls, "answer": shown}
        return {"answer": end, "turns": [*state["turns"], turn]}

    def after_plan(state: State) -> str:
        return "act" if state["calls"] and state["steps"] < STEP_LIMIT else "answer"

    def after_act(state: State) -> str:
        return "plan" if llm.many_steps and not stop() else "answer"

    graph = StateGraph(State)
    graph.add_node("plan", plan)
    graph.add_node("act", act)
    graph.add_node("answer", answer)
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", after_plan, ["act", "answer"])
    graph.add_conditional_edges("act", after_act, ["plan", "answer"])
    graph.add_edge("answer", END)
    return graph.compile(checkpointer=checkpointer)


def run(call: Call, state: State, hear: Any = None) -> dict[str, Any]:
    """The JSON result of one call, or {"error": one line}; `hear` is the language model's way to ask for a drawing."""
    arguments = dict(call["arguments"])
    name = arguments.pop("recording", None)
    try:
        if name == ABSENT:
            raise UsageError(f"{call['name']} needs a recording, and none was made")
        if name is not None and name not in state["recordings"]:
            raise UsageError(f"there is no recording {name}; loaded: {', '.join(state['recordings']) or 'none'}")
        if call["name"] == looking.ACTION:
            return looking.look_result(load(Path(state["folder"]) / state["recordings"][name]["file"]))
        tool = find(call["name"])
        if by_hand := arguments.keys() & tool.schema()["properties"].keys() - tool.schema(by_hand=False)["properties"]:
            raise UsageError(f"{tool.name} takes {', '.join(sorted(by_hand))} from a person only, on the command line")
        folder = Path(state["folder"])
        entry = state["recordings"][name] if name is not None else None
        more = {"hear": hear} if hear and tool.name == "generate_ecg" else {}
        return tool.run(load(folder / entry["file"]) if entry else None, arguments, folder, **more)
    except EinthovenError as error:
        return {"error": str(error)}
    except Exception as error:  # a defect of a tool must not end the conversation; its kind helps to report it
        return {"error": f"{call['name']} failed on this recording ({type(error).__name__}); please report it"}


@lru_cache(maxsize=8)
def load(file: Path) -> recordings.Recording:
    return recordings.read(file)[0]


def keep(recording: Recording, folder: Path, known: Known) -> tuple[str, Known]:
    """Keep a recording under the next free id of its kind; the id, and what is known then.

    An id is taken by making its file: an upload and a tool, or two programs with one session, never get the same.
    """
    for number in count(1 + sum(name.startswith(f"{recording.kind}-") for name in known)):
        name = f"{recording.kind}-{number}"
        file = folder / f"{name}.npz"
        try:
            file.touch(exist_ok=False)
        except FileExistsError:
            continue
        break
    try:
        recordings.write(recording, file, format="npz")
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    return name, {**known, name: {"file": file.name, "about": about(recording)}}


def about(recording: Recording) -> str:
    """What the model is told of a recording: its kind and how many leads, nothing that the file says."""
    if recording.kind != "ecg":
        return ABOUT[recording.kind]
    return f"{len(recording.leads)}-lead ECG"


def brief(result: dict[str, Any]) -> dict[str, Any]:
    """A result as a language model may read it: without values for every sample and without paths."""
    hidden = [key for key, value in result["result"].items() if key in PATHS or len(json.dumps(value)) > LONGEST]
    return {**result, "result": {key: value for key, value in result["result"].items() if key not in hidden}}


def sentences(results: list[dict[str, Any]]) -> list[str]:
    """Everything the tools returned, one fact a sentence; with the recording's id in front where there are several."""
    ids = {result["arguments"].get("recording") for result in results} - {None}
    said = []
    for result in results:
        name, value = result["name"], result["result"]
        if "error" in value:
            facts = [f"Could not be done: {value['error'].rstrip('.')}."]
        else:
            facts = find(name).sentences(value)
        where = (
            f"{result['arguments'].get('recording')}: " if len(ids) > 1 and "recording" in result["arguments"] else ""
        )
        if made := value.get("recordings"):
            facts = [*facts, f"It is kept as {', '.join(made)}."]
        said += [where + fact for fact in facts]
    return list(dict.fromkeys(said))


def unfound(results: list[dict[str, Any]], question: str) -> list[str]:
    """What is to be told of the findings that a question names and no result tells of."""
    read = [one for one in results if one["name"] == "interpret_ecg" and "error" not in one["result"]]
    said = []
    for result in read:
        where = f"{result['arguments']['recording']}: " if len(results) > 1 else ""
        codes = [code for code, _, _ in findings.named(question)]
        said += [where + sentence for sentence in interpret_words.unfound(result["result"], codes)]
    if read and any(statement(code).superclass == "MI" for code, _, _ in findings.named(question)):
        said.append(interpret_words.NOT_EXCLUDED)
    return said


def by_eye(llm: Any, state: State, looked: list[dict[str, Any]], text: str, stop: Callable[[], bool]) -> list[str]:
    """What the language model itself sees in what it looked at, and where the tool that reads it finds otherwise of
    what the answer's `text` is about."""
    if not (kinds := getattr(llm, "projectors", {})):
        return []

    @cache
    def look(name: str) -> Any:
        return looking.look(load(Path(state["folder"]) / state["recordings"][name]["file"]))

    def read(names: list[str], turns: list[tuple[str, str]]) -> str:
        return "".join(llm.read({name: look(name) for name in names}, turns, stop))

    said: list[str] = []
    if names := [result["arguments"]["recording"] for result in looked]:
        first, rest = names[: looking.MOST], names[looking.MOST :]
        own = read(first, [*looking.before(state["turns"], first), (state["question"], "")])
        if not looking.says_something(own):
            own = read(first, [(looking.WHOLE.format(name=first[0]), "")])
        said.append(looking.without_numbers(own))
        said += [f"I look at {looking.MOST} recordings at a time; left out: {', '.join(rest)}."] if rest else []
        if len(names) == 1:
            said += looking.differs(own, looked[0]["result"], whole="Groups:" in own)
    for result in state["results"]:
        found, name = result["result"], result["arguments"].get("recording", "")
        kind = kind_of(name)
        beside = kind in kinds and result["name"] == looking.BESIDE[kind]
        if beside and name not in names and looking.comparable(found):
            asked = looking.asked_beside(state["question"], kind)
            own = read([name], [(asked.format(name=name), "")])
            told = looking.differs(own, found, whole=asked != looking.RHYTHM_OF)
            said += [sentence for sentence in told if looking.concerns(sentence, text)]
    return list(dict.fromkeys(said))


def speaks_for_itself(result: dict[str, Any]) -> bool:
    """Whether a result is said in its own sentences, because the language model has not learnt to word it."""
    return result["name"] in TOOLS.keys() - WORDED - {citations.SEARCH} and "error" not in result["result"]


def as_asked(spoken: list[dict[str, Any]], question: str) -> list[str]:
    """Their own sentences; of a long report those that the question is about, and its warnings."""
    said = sentences(spoken)
    names = {result["name"] for result in spoken}
    cautions = [one for result in spoken for one in result["result"].get("warnings", [])]
    if names <= REPORTS:
        return narrowed(question, said, cautions)
    if names == {"ppg_to_ecg"} and not INTO_ECG.search(question):  # of a rate, what is said of the drawing says nothing
        return narrowed(question, said, [one for one in cautions if one.startswith(("Motion", "No pulse"))])
    return said
