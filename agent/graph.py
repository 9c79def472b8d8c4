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
import re
import time
from collections.abc import Callable, Collection
from functools import cache, lru_cache
from itertools import count
from pathlib import Path
from typing import Any, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph

from agent import citations, faithful, findings, looking
from agent.evidence import complete, going_on, narrowed, relevant, spoken_of
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
FEW = 3  # sentences in a line
REPORTS = {"read_spirogram", "estimate_fetal_age"}  # these tell so much that an answer keeps to what was asked
ABILITIES = re.compile(
    r"\bwhat (?:else )?(?:can|could|do) you (?:do|help)|\bhow can you help|\bwhat are you (?:able|good)|^\W*help\W*$"
    r"|\bwhat tools\b|\bwas kannst du|\bque (?:peux|puedes)",
    re.IGNORECASE,
)
EMERGENCY = re.compile(
    r"\bchest (?:pain|hurts|tight\w*|pressure)|\bpain in (?:my|the) chest|\bpalpitations?\b|\bfaint\w*"
    r"|\bpass(?:ed|ing)? out|\bcollaps\w+|\bunconscious|\b(?:can't|cannot|hard to) breathe|\bshort of breath"
    r"|\bbreathless|\bemergency\b|\bmy (?:pulse|heart rate) is \d+|\bheart is racing",
    re.IGNORECASE,
)
CALL = (
    "I cannot judge symptoms. With chest pain, fainting, breathlessness or a collapse, call the emergency services now."
)
EVERYTHING = re.compile(
    r"\b(?:everything|all (?:of )?(?:the |your )?(?:measurements?|values|numbers|results))\b", re.IGNORECASE
)
STEP_LIMIT = 4  # rounds of plan and act in one turn
DISCLAIMER = "Research software, not a medical device."
SPEECHLESS = "I can answer only from what the tools return. Load a recording and ask about it, or ask what I can do."
UNFIT = "I can answer only from what the tools return, and for that I have none. What they do with what is loaded:"


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
    names, cautions = (
        {result["name"] for result in spoken},
        [one for r in spoken for one in r["result"].get("warnings", [])],
    )
    if names <= REPORTS:
        return narrowed(question, said, cautions)
    if names == {"ppg_to_ecg"} and not INTO_ECG.search(question):  # of a rate, what is said of the drawing says nothing
        return narrowed(question, said, [one for one in cautions if one.startswith(("Motion", "No pulse"))])
    return said


def compose(
    llm: Any, evidence: list[str], question: str, emit: Callable[[dict[str, Any]], None], stop: Callable[[], bool],
    kinds: Collection[str] = (), before: str = "",
) -> tuple[str, str]:  # fmt: skip
    """An answer and who wrote it: the "model", the model on a "retry" with less before it, or the "evidence".

    A question that goes on is about what the one `before` it was about. Words are streamed as they are written; when a
    try does not hold, the listener is told to drop it.
    """
    about = going_on(question, before)
    chosen = relevant(about, evidence)
    if not evidence and EMERGENCY.search(question):
        emit({"kind": "word", "text": CALL})
        return CALL, "evidence"
    if not evidence and ABILITIES.search(question):
        text = "\n• ".join(["I can:", *(tool.purpose for tool in TOOLS.values())])
        emit({"kind": "word", "text": text})
        return text, "evidence"
    if evidence and EVERYTHING.search(question):
        text = set_out(evidence)
        emit({"kind": "word", "text": text})
        return text, "evidence"
    fewer = chosen[:3] if spoken_of(chosen[:3]) == spoken_of(chosen) else chosen
    for by, facts in (("model", chosen), ("retry", fewer)):
        text = ""
        for word in llm.write(facts, question, stop):
            text += word
            emit({"kind": "word", "text": word})
        text = text.strip()
        if stop():
            return text or "Stopped.", "stopped"
        wrong = faithful.problems(text, facts) + faithful.wrong_about_loaded(text, kinds)
        wrong += [] if facts else faithful.wrong_subject(text, question)
        if text and not wrong and complete(text, about, facts):
            return text, by
        emit({"kind": "drop"})
    text = set_out(chosen) or speechless(kinds)
    emit({"kind": "word", "text": text})
    return text, "evidence"


def speechless(kinds: Collection[str]) -> str:
    """What is said where nothing can be: what the tools do with the kinds that are loaded."""
    can = [tool.purpose for tool in TOOLS.values() if set(tool.kinds) & set(kinds) and not tool.recording_optional]
    return "\n• ".join([UNFIT, *can]) if can else SPEECHLESS


def set_out(facts: list[str]) -> str:
    """Sentences as a person reads them: a few in a line, more as a list under the first."""
    return " ".join(facts) if len(facts) <= FEW else "\n• ".join(facts)
