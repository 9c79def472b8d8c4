"""A language model behind an OpenAI-style endpoint: vLLM, Ollama, llama.cpp, or a remote one that the user names.

    einthoven ask "…" FILE --llm http://127.0.0.1:11434/v1#qwen3

The model chooses by its own tool calls and may go on after it has seen results. What is sent: the question,
ids and kinds of recordings, tool results. Never a file, a path or a name. A key, where one is needed, comes
from the environment: OPENAI_API_KEY.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from agent import prompts
from agent.prompts import Call
from tools.errors import MissingWeights, UsageError
from tools.registry import TOOLS, Tool

SYSTEM = (
    "You help clinicians with heart recordings. Call tools for everything about a recording; "
    "call none if no tool can help. Loaded recordings: {recordings}."
)


class Endpoint:
    """A model that speaks the chat completions protocol."""

    many_steps = True  # it may call again once it has seen results

    def __init__(self, address: str):
        from openai import OpenAI

        url, _, self.name = address.partition("#")
        if not self.name:
            raise UsageError(f"--llm {address}: say which model after a #, like {url}#qwen3")
        self.client = OpenAI(base_url=url, api_key=os.environ.get("OPENAI_API_KEY", "none"), timeout=120, max_retries=1)

    def choose(
        self, recordings: list[str], history: list[dict[str, Any]], question: str, done: list[dict[str, Any]]
    ) -> list[Call]:
        """Tool calls for the question, or the next ones after the results in `done`; [] when there is enough."""
        ids = [recording.split(" ")[0] for recording in recordings]
        said: list[dict[str, Any]] = [
            {"role": "system", "content": SYSTEM.format(recordings=", ".join(recordings) or "none")}
        ]
        for turn in history[-prompts.HISTORY_TURNS :]:
            said += [{"role": "user", "content": turn["user"]}, {"role": "assistant", "content": turn["answer"]}]
        said.append({"role": "user", "content": question})
        for number, result in enumerate(done):
            function = {"name": result["name"], "arguments": json.dumps(result["arguments"])}
            call = {"id": f"call-{number}", "type": "function", "function": function}
            said.append({"role": "assistant", "content": None, "tool_calls": [call]})
            said.append({"role": "tool", "tool_call_id": f"call-{number}", "content": json.dumps(result["result"])})
        reply = self._ask(messages=said, tools=[described(tool, ids) for tool in TOOLS.values()], temperature=0)
        if not reply.choices:
            raise self._silent(str(getattr(reply, "error", None) or "an empty reply"))
        return [_call(one.function) for one in reply.choices[0].message.tool_calls or []]

    def write(self, evidence: list[str], question: str, stop: Callable[[], bool] = lambda: False) -> Iterator[str]:
        """Stream an answer in the words of the evidence."""
        with self._one_line():
            for piece in self._ask(messages=prompts.answer(evidence, question), temperature=0, stream=True):
                if stop():
                    return
                if piece.choices and piece.choices[0].delta.content:
                    yield piece.choices[0].delta.content

    def _ask(self, **request: Any) -> Any:
        with self._one_line():
            return self.client.chat.completions.create(model=self.name, **request)

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        """What goes wrong on the way, before or amid a stream, in one line."""
        from openai import OpenAIError

        try:
            yield
        except OpenAIError as error:
            raise self._silent(str(error)) from None

    def _silent(self, reason: str) -> MissingWeights:
        short = " ".join(reason.split())[:200]
        return MissingWeights(f"no answer from {self.client.base_url} ({self.name}): {short}")


def described(tool: Tool, ids: list[str]) -> dict[str, Any]:
    """A tool in the protocol's form, with the recordings it may be called on."""
    schema = tool.schema(by_hand=False)
    if tool.kinds and ids:
        schema["properties"] = {"recording": {"type": "string", "enum": ids}, **schema["properties"]}
        if not tool.recording_optional:
            schema["required"] = ["recording", *schema.get("required", [])]
    return {"type": "function", "function": {"name": tool.name, "description": tool.purpose, "parameters": schema}}


def _call(function: Any) -> Call:
    """A call as the graph takes it; arguments that are no JSON object are left out, and the tool says what it lacks."""
    try:
        arguments = json.loads(function.arguments or "{}")
    except ValueError:
        arguments = {}
    return {"name": function.name, "arguments": arguments if isinstance(arguments, dict) else {}}
