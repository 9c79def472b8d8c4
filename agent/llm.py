"""The language model: chooses tools and puts their results into words.

Three kinds behind one interface, chosen by `--llm`:

    (default)                          SmolLM2-135M-Instruct with the project's adapter, in this process
    ID or FOLDER                       any Hugging Face causal language model (4-bit where there is a GPU)
    http://HOST:PORT/v1#MODEL          any OpenAI-style endpoint, by its own tool calls (agent/endpoint.py)

`choose` gives tool calls that are valid by construction: they are decoded under a grammar made from the
tools' argument schemas. `write` streams an answer; agent/faithful.py judges it afterwards.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from agent import looking, prompts, smollm2, stated
from agent.prompts import Call, kind_of
from encoders.lora import adapted
from encoders.weights import WEIGHTS, MissingModel
from tools.errors import MissingWeights
from tools.registry import MAKERS, TOOLS

DEFAULT = "smollm2"
MAX_CALLS = 4
QUERY = 2000  # characters of a question that are searched for
ADAPTER = WEIGHTS / "tool_use"
ABSENT = "none"  # in place of a recording where none of the kind is loaded, or one that a call before is to make
NOTHING: list[dict[str, Any]] = []


def load(name: str | None = None):
    """The language model of that name (see the module's docstring)."""
    if name and name.startswith(("http://", "https://")):
        from agent.endpoint import Endpoint

        return Endpoint(name)
    return LocalModel(name or DEFAULT)


class LocalModel:
    """A causal language model in this process."""

    many_steps = False  # it names all calls of a turn at once

    def __init__(self, name: str = DEFAULT, adapter: Path | None = ADAPTER):
        import torch
        from llguidance.hf import from_tokenizer
        from transformers import AutoTokenizer, logging

        from agent.decode import Decoder

        logging.disable_progress_bar()
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # peft's use of it
        warnings.filterwarnings(
            "ignore", "`past_key_values` is deprecated", FutureWarning
        )  # older releases know no other name
        if name == DEFAULT and not smollm2.is_there():
            raise MissingWeights("the default language model is not there yet; run: einthoven weights pull smollm2")
        source = smollm2.folder() if name == DEFAULT else name
        try:
            self.tokenizer = cast(Any, AutoTokenizer.from_pretrained(source))
            model: Any = _open(source, torch.cuda.is_available() and name != DEFAULT)
        except (OSError, ValueError):
            raise MissingWeights(
                f"no language model at {name!r}; give a Hugging Face id or folder, or an URL#model"
            ) from None
        self.tuned = name == DEFAULT and adapter is not None and (adapter / "adapter_model.safetensors").exists()
        if self.tuned and adapter:
            adapted(model, adapter)
        self.opinion = _opinion() if self.tuned else None
        self.projectors: dict[str, Any] = _projectors() if self.tuned else {}  # by kind of recording
        self._drawing: Any = None
        self.hear = self._heard if self.tuned and _can_draw() else None
        self.name = name
        added = self.tokenizer.get_added_vocab()  # some vocabularies add plain words and spaces, too
        self.control = tuple(word for word in added if word.strip(prompts.BRACKETS) not in ("", word))  # what steers it
        self._grammar_tokens = from_tokenizer(self.tokenizer, n_vocab=model.config.vocab_size)
        eos = model.generation_config.eos_token_id
        self.decoder = Decoder(model, {self.tokenizer.eos_token_id, *(eos if isinstance(eos, list) else [eos])})

    def choose(
        self, recordings: list[str], history: list[dict[str, Any]], question: str, done: list[dict[str, Any]] = NOTHING
    ) -> list[Call]:
        """Tool calls for the question; [] where none is needed, or none of the recordings is of the kind."""
        ids = [recording.split(" ")[0] for recording in recordings]
        messages = prompts.choose(recordings, history, question, describe=not self.tuned)
        can = [kind for kind in self.projectors if kind in map(kind_of, ids)]
        calls = self._calls(messages, calls_schema(ids, looks=can if looking.asked_for(question, history) else ()))
        named = {call["name"] for call in calls}
        if self.opinion is not None and looking.ACTION not in named:  # that it looks itself is the model's own choice
            settled = self.opinion.settled(named, recordings, history, question) - (set() if can else {looking.ACTION})
            calls = [call for call in calls if call["name"] in settled]
            if more := sorted(settled - named):
                calls += self._calls(messages, calls_schema(ids, more, looks=can))
            calls.sort(key=lambda call: call["name"] not in MAKERS)  # what they make may be asked about
        if can == ["spirogram"] and looking.ASKED.search(question) and {c["name"] for c in calls} <= looking.OF_BLOWS:
            # The adapter has learnt to look at ECGs only: of blows the words decide.
            blows = next(name for name in ids if kind_of(name) == "spirogram")
            calls = [{"name": looking.ACTION, "arguments": {"recording": blows}}]
        searches = [call for call in calls if call["name"] == "search_guidelines"]
        alone = not (history and stated.GOES_ON.search(question))
        if len(searches) == 1 and len(calls) == 1 and alone:  # the person's words find more than a small model's
            searches[0]["arguments"]["query"] = question[:QUERY]
        calls = [
            stated.checked(stated.of_what_was_made(call, question, history, ids), question, history) for call in calls
        ]
        calls = [call for i, call in enumerate(calls) if call not in calls[:i]]  # two quantities of one tool: one call
        calls = stated.of_before(question, history) or calls
        if all(call["name"] == "measure_ecg" and call["arguments"].get("recording") == ABSENT for call in calls):
            calls = stated.of_a_pulse(question, ids)
        made = [i for i, call in enumerate(calls) if call["name"] in MAKERS]
        first = made[0] if made else len(calls)  # what follows may be about what it makes
        return [call for i, call in enumerate(calls) if i > first or call["arguments"].get("recording") != ABSENT]

    def _calls(self, messages: list[prompts.Message], schema: dict[str, Any]) -> list[Call]:
        try:
            return prompts.calls_from_json("".join(self._text(messages, 160, self._matcher(schema), lambda: False)))
        except (ValueError, KeyError):  # cut by the token limit inside a long text argument
            return []

    def _heard(self, prompt: str, statements: Sequence[str]) -> Any:
        """Vectors of a request to draw; see `agent.drawing.Drawing.vectors`."""
        from agent.drawing import Drawing
        from encoders.flow import opened

        if self._drawing is None:  # not before somebody draws: it reads the flow and the sentence encoder
            self._drawing = Drawing(self.decoder.reader, self.tokenizer, opened()[1])
        return self._drawing.vectors(prompt, statements)

    def write(self, evidence: list[str], question: str, stop: Callable[[], bool] = lambda: False) -> Iterator[str]:
        """Stream an answer in the words of the evidence."""
        yield from self._text(prompts.answer(evidence, question), 200, None, stop)

    def read(
        self, seen: dict[str, Any], turns: list[tuple[str, str]], stop: Callable[[], bool] = lambda: False
    ) -> Iterator[str]:
        """Stream what the model itself sees: `seen` of agent/looking.py by id; the last of `turns` asks."""
        import torch

        given, vectors = {}, []
        with torch.inference_mode():
            for name, features in seen.items():
                soft, there = self.projectors[kind_of(name)](features)
                vectors.append(soft[there])
                given[name] = len(vectors[-1])
        word, place = prompts.soft_word(self.tokenizer)
        yield from self._text(
            prompts.read(given, [], turns, word), 160, None, stop, (place, torch.cat(vectors)), looking.USUAL
        )

    def _text(
        self, messages: list[prompts.Message], limit: int, matcher, stop: Callable[[], bool], soft: Any = None,
        usual: str = "",
    ) -> Iterator[str]:  # fmt: skip
        likely = self.tokenizer(usual, add_special_tokens=False)["input_ids"] if usual else ()
        prompt = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        written: list[int] = []
        sent = ""
        for token in self.decoder.tokens(prompt, limit, matcher, stop, soft, likely):
            written.append(token)
            text = self.tokenizer.decode(written, skip_special_tokens=True)
            if not text.endswith("�"):  # an unfinished multi-byte character
                yield text[len(sent) :]
                sent = text

    def _matcher(self, schema: dict[str, Any]):
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_json_schema(
            json.dumps(schema), overrides={"item_separator": ",", "key_separator": ":", "whitespace_flexible": False}
        )
        return LLMatcher(self._grammar_tokens, grammar)


def calls_schema(ids: list[str], exactly: list[str] | None = None, looks: Collection[str] = ()) -> dict[str, Any]:
    """JSON schema of a list of flat calls over every tool of the contract, on the recordings `ids`; or of one call of
    each tool of `exactly`, in that order. At recordings of the kinds `looks` the model may also look itself.

    A tool can be called on recordings of its kind only. Where there is none, its only recording is `ABSENT`: the
    model can still say what is meant, rather than be pushed to another tool, and the call is dropped unless one
    before it makes a recording ("turn the PPG into an ECG and measure it").
    """
    options: list[dict[str, Any]] = []
    for tool in TOOLS.values():
        own = tool.schema(by_hand=False)
        fitting = [name for name in ids if kind_of(name) in tool.kinds]
        properties: dict[str, Any] = {"name": {"const": tool.name}}
        required = ["name", *own.get("required", [])]
        if tool.kinds and not tool.recording_optional:
            properties["recording"] = {"enum": fitting or [ABSENT]}
            required.insert(1, "recording")
        elif fitting:
            properties["recording"] = {"enum": fitting}
        properties |= own["properties"]
        options.append(
            {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        )
    if seen := [name for name in ids if kind_of(name) in looks]:
        properties = {"name": {"const": looking.ACTION}, "recording": {"enum": seen}}
        options.append(
            {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
        )
    if exactly is not None:
        of = {option["properties"]["name"]["const"]: option for option in options}
        count = len(exactly)
        return {"type": "array", "prefixItems": [of[name] for name in exactly], "minItems": count, "maxItems": count}
    return {"type": "array", "items": {"anyOf": options}, "maxItems": MAX_CALLS}


def _opinion() -> Any:
    """The second opinion on what a request is about, or None where it is not on this machine."""
    from agent.intent import FILE, Intent

    try:
        return Intent() if FILE.exists() else None
    except MissingModel:
        return None


def _can_draw() -> bool:
    """Whether the weights by which a request to draw is heard are on this machine."""
    from encoders import drawing, flow

    return drawing.FILE.exists() and flow.FILE.exists()


def _projectors() -> dict[str, Any]:
    """What turns recordings into soft tokens, by their kind, as far as it is on this machine."""
    from encoders import projector, spiro_projector

    there: dict[str, Any] = {"ecg": projector.opened()} if projector.FILE.exists() else {}
    return there | ({"spirogram": spiro_projector.opened()[0]} if spiro_projector.FILE.exists() else {})


def _open(source: Path | str, quantise: bool):
    """Load a causal language model: float32 on a CPU, 4-bit on a GPU."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if not quantise:
        return AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, trust_remote_code=False)
    four_bit = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16)
    return AutoModelForCausalLM.from_pretrained(source, quantization_config=four_bit, device_map="auto")
