"""The one list of tools: the agent, the command line and MCP all read it.

A tool is a pure function of a recording and its arguments that returns a plain dict (its JSON result):

    run(recording, arguments, out) -> dict        out: folder for figures and recordings it writes

and a `sentences(result)` that says the result in words, one fact a sentence; these are the only facts
an answer may contain. The modules are imported when a tool is first called, so `--help` stays quick.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from encoders.weights import MissingModel
from tools.errors import MissingWeights, UsageError
from tools.recording import Recording

PATHS = ("figure", "record", "figures", "records")  # of files, in a result
BY_HAND: Any = {"by_hand": True}  # a person gives it, never a language model


class Arguments(BaseModel):
    """What a tool takes beside its recording. Unknown arguments are refused."""

    model_config = ConfigDict(extra="forbid")


class OfRecording(Arguments):
    """Nothing to choose beside the recording."""


class PlotRecording(Arguments):
    layout: Literal["3x4", "6x2", "12x1"] | None = Field(None, description="default: what suits the leads")
    format: Literal["svg", "png", "pdf"] = "svg"


class GenerateEcg(Arguments):
    prompt: str = Field(max_length=2000, description="the ECG in words")
    seed: int = Field(0, ge=0, lt=2**31)
    count: int = Field(1, ge=1, le=32)


class PredictRisk(Arguments):
    risk_model: str | None = Field(
        None, description="a file of training.risk; default: the shipped model", json_schema_extra=BY_HAND
    )
    covariates: str | None = Field(
        None, description='what it takes beside, as "age=67 lvef=35"', json_schema_extra=BY_HAND
    )


class ReadSpirogram(Arguments):
    age: float | None = Field(None, description="years")
    sex: Literal["F", "M"] | None = None
    height_cm: float | None = None
    equations: Literal["GLI-2022", "GLI-2012"] | None = Field(
        None, description="default: GLI-2022", json_schema_extra=BY_HAND
    )
    group: str | None = Field(None, description="of GLI-2012; default: other or mixed", json_schema_extra=BY_HAND)


class EstimateFetalAge(Arguments):
    gestational_age_days: float | None = Field(None, description="stated gestational age, days")
    weeks: float | None = Field(None, description="stated gestational age, weeks (40 is 40+0)")
    speed_cm_min: Literal[1, 3] = Field(1, description="paper speed")
    format: Literal["svg", "png", "pdf"] = "svg"


class SearchGuidelines(Arguments):
    query: str = Field(max_length=2000)
    top: int = Field(3, ge=1, le=20)


@dataclass(frozen=True)
class Tool:
    name: str
    purpose: str  # one line, shown to people and models
    arguments: type[Arguments]
    module: str = ""  # holds a function of the tool's name, and `sentences`
    kinds: tuple[str, ...] = ("ecg",)  # kinds of recording it takes; () if it needs none
    recording_optional: bool = False

    @property
    def reads(self) -> str | None:
        """Which kind of signal to take from a file that holds several; None for what `tools.recording.read` prefers."""
        return None if not self.kinds or "ecg" in self.kinds else self.kinds[0]

    def schema(self, by_hand: bool = True) -> dict[str, Any]:
        """JSON schema of the arguments; what may be left out is left out rather than null. Without `by_hand`: of those
        that a language model may give."""
        schema = self.arguments.model_json_schema()
        schema.pop("title", None), schema.pop("description", None)
        for name, field in list(schema["properties"].items()):
            field.pop("title", None)
            if field.pop("by_hand", False) and not by_hand:
                del schema["properties"][name]
            given = [option for option in field.pop("anyOf", []) if option.get("type") != "null"]
            field.update(*given)
            if field.get("default", 0) is None:
                del field["default"]
        return schema

    def run(
        self, recording: Recording | None, arguments: dict[str, Any], out: Path | None = None, **more: Any
    ) -> dict[str, Any]:
        """Validate `arguments`, call the tool, return its JSON result; `more` is what the agent alone can give."""
        try:
            checked = self.arguments(**arguments)
        except ValidationError as error:
            first = error.errors()[0]
            where = "--" + "-".join(str(part) for part in first["loc"]).replace("_", "-")
            raise UsageError(f"{self.name}: {where}: {first['msg']}") from None
        if self.kinds and recording is None and not self.recording_optional:
            raise UsageError(f"{self.name} needs a recording: name a file")
        if recording is not None and self.kinds and recording.kind not in self.kinds:
            raise UsageError(f"{self.name} takes {' or '.join(self.kinds)}, this recording is {recording.kind}")
        function = getattr(importlib.import_module(self.module), self.name)
        try:
            return function(recording, checked, out, **more)
        except MissingModel as error:
            raise MissingWeights(str(error)) from None

    def sentences(self, result: dict[str, Any]) -> list[str]:
        """The result in words, one fact a sentence."""
        return importlib.import_module(self.module).sentences(result)


def files(result: dict[str, Any]) -> list[str]:
    """Paths that a result names."""
    figures, records = (result.get(f"{key}s") or [result.get(key)] for key in ("figure", "record"))
    return [path for path in (*figures, *records) if path]


TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool(
            "measure_ecg",
            "Heart rate, intervals, axes, amplitudes, ST levels, rhythm regularity and signal quality of an ECG.",
            OfRecording,
            "tools.measure",
        ),
        Tool(
            "interpret_ecg",
            "What an ECG shows, how sure that is, and why.",
            OfRecording,
            "tools.interpret",
        ),
        Tool(
            "plot_recording",
            "Draw the recording on ECG paper, 25 mm/s and 10 mm/mV.",
            PlotRecording,
            "tools.paper",
            kinds=("ecg", "ppg", "spirogram", "ctg"),
        ),
        Tool(
            "reconstruct_leads",
            "Rebuild the twelve leads from fewer.",
            OfRecording,
            "tools.reconstruct",
        ),
        Tool(
            "generate_ecg",
            "Draw an ECG from a description, or a person's under another condition.",
            GenerateEcg,
            "tools.generate",
            recording_optional=True,
        ),
        Tool(
            "predict_vtvf_risk",
            "Risk of ventricular tachycardia or fibrillation, explained.",
            PredictRisk,
            "tools.risk",
        ),
        Tool(
            "ppg_to_ecg",
            "Turn a pulse wave into an ECG; pulse rate and regularity.",
            OfRecording,
            "tools.ppg",
            kinds=("ppg",),
        ),
        Tool(
            "read_spirogram",
            "Read a spirogram against GLI.",
            ReadSpirogram,
            "tools.spirogram",
            kinds=("spirogram",),
        ),
        Tool(
            "estimate_fetal_age",
            "Gestational age from a fetal heart trace, with baseline, variability, accelerations and decelerations.",
            EstimateFetalAge,
            "tools.fetal_age",
            kinds=("ctg",),
        ),
        Tool(
            "search_guidelines",
            "Search the handbook and the user's documents.",
            SearchGuidelines,
            "tools.guidelines",
            kinds=(),
        ),
    )
}

WORDED = frozenset({"measure_ecg", "interpret_ecg", "plot_recording"})  # the language model has learnt to word these
MAKERS = frozenset({"generate_ecg", "reconstruct_leads", "ppg_to_ecg"})  # their result is a recording


def find(name: str) -> Tool:
    """The tool of that name, or a UsageError that says what there is."""
    if name in TOOLS:
        return TOOLS[name]
    raise UsageError(f"there is no tool {name!r}; available: {', '.join(TOOLS)}")
