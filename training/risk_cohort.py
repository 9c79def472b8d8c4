"""A cohort for `training.risk`: its table checked, its features computed once.

    table = load(Path("cohort.csv"))                    # UsageError with the reason where it cannot be used
    found = computed(table, Path("features.jsonl"), "strip")  # goes on where it stopped

The CSV has `path` (of a recording, beside the table or absolute), `patient_id`, `event` (0 or 1); `date` (or `start_s`
within a recording) where a patient has both classes; `start_s` and `stop_s` for a part of a recording. A table without
`path` brings its features itself. Every other column of numbers is a covariate, save those of `OWN_COLUMNS`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from tools.errors import EinthovenError, UsageError
from tools.recording import Recording, read
from tools.risk_features import MINUTE_S, NAMES, at_125_hz
from tools.risk_inputs import ecg_values, number, strip_of, strip_values
from tools.risk_running import running

OWN_COLUMNS = ("path", "patient_id", "event", "date", "start_s", "stop_s", "database", "whole")
FEWEST_EVENTS = 10
MOST_LISTED = 10


@dataclass(frozen=True)
class Features:
    """Names, (rows, names) values with NaN where absent, (rows,) whether a row can be used, and why some cannot."""

    names: list[str]
    values: np.ndarray
    usable: np.ndarray
    said: list[str]


def load(file: Path) -> pd.DataFrame:
    """The table, with absolute paths; UsageError with what is wrong, where, and what to do."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            head = stream.readline()
        separator = max(",;\t", key=head.count)  # spreadsheets of some countries write semicolons
        table = pd.read_csv(file, sep=separator, dtype={"patient_id": str, "path": str}, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(f"{file.name} cannot be read as a table: {str(error).splitlines()[0][:120]}") from None
    if missing := [name for name in ("patient_id", "event") if name not in table]:
        raise UsageError(
            f"{file.name} lacks the column{'s' * (len(missing) > 1)} {' and '.join(missing)}: add what is missing"
        )
    if table.empty:
        raise UsageError(f"{file.name} has no rows below its header: a row is a recording")
    if "path" in table:
        paths = [Path(str(path)).expanduser() for path in table.path]
        table["path"] = [str(path if path.is_absolute() else file.parent / path) for path in paths]
    check(table)
    return table


def check(table: pd.DataFrame) -> None:
    """Refuse what nothing can be concluded from."""
    if table.patient_id.isna().any():
        raise UsageError(f"{int(table.patient_id.isna().sum())} rows have no patient_id: fill it in")
    if not set(table.event.unique()) <= {0, 1}:
        raise UsageError("the column event holds something else than 0 and 1: recode it")
    if table.event.nunique() < 2:
        only = "an event" if table.event.iloc[0] == 1 else "no event"
        raise UsageError(f"every row has {only}: a model needs patients with and without")
    _check_times(table)
    if "path" in table:
        gone = [path for path in dict.fromkeys(table.path) if not _there(Path(path))]
        if gone:
            more = f" and {len(gone) - MOST_LISTED} more" if len(gone) > MOST_LISTED else ""
            raise UsageError(f"{len(gone)} files are missing: {', '.join(gone[:MOST_LISTED])}{more}")
    events, others = (table.patient_id[table.event == one].nunique() for one in (1, 0))
    if events < FEWEST_EVENTS:
        raise UsageError(
            f"{events} patients with an event are too few: with fewer than {FEWEST_EVENTS} no risk can be calibrated "
            "and no AUC told from chance; collect more, or report the cases one by one"
        )
    if others < FEWEST_EVENTS:
        raise UsageError(f"{others} patients without an event are too few: at least {FEWEST_EVENTS} are needed")


def _check_times(table: pd.DataFrame) -> None:
    """A patient may be in both classes only where it is known which recording came first."""
    both = table.groupby("patient_id").event.nunique()
    both = both[both > 1].index
    if not len(both):
        return
    when = next((name for name in ("date", "start_s") if name in table), None)
    if when is None:
        raise UsageError(
            f"{len(both)} patients have rows with and without an event ({', '.join(map(str, both[:5]))}): add a column "
            "date, so that what was recorded before the event can be told from what came after"
        )
    if when == "start_s":  # parts of one recording; several recordings of a patient need dates
        return
    for patient, rows in table[table.patient_id.isin(both)].groupby("patient_id"):
        dates = pd.to_datetime(rows.date, errors="coerce")
        if dates.isna().any():
            raise UsageError(f"patient {patient} has rows of both classes and a date is missing or not a date")
        if (dates[rows.event == 0] > dates[rows.event == 1].min()).any():
            raise UsageError(f"patient {patient} has a row without event after one with it: leave such rows out")


def _there(path: Path) -> bool:
    return path.is_file() or path.with_name(path.name + ".hea").is_file()


def covariates(table: pd.DataFrame) -> list[str]:
    """Columns of numbers (or of F and M) beside those of `OWN_COLUMNS`."""
    rest = [name for name in table.columns if name not in OWN_COLUMNS]
    wrong = [name for name in rest if not _is_numeric(table[name])]
    if wrong:
        raise UsageError(f"columns that are no numbers: {', '.join(wrong)}; recode or remove them")
    return rest


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) or set(column.dropna().unique()) <= {"F", "M"}


def computed(table: pd.DataFrame, file: Path, kind: str, encoder: str = "reading") -> Features:
    """Features of every row: of kind "strip" or "ecg" (tools/risk_inputs.py), then covariates; kept in `file`."""
    extra = covariates(table)
    of_table = (
        np.array([[number(value) for value in table[name]] for name in extra], float).reshape(len(extra), len(table)).T
    )
    if "path" not in table:
        return Features(extra, of_table, np.ones(len(table), bool), ["features were in the table"])
    known = _kept(file, kind, encoder)
    keys = [f"{row.get('path')}|{row.get('start_s', '')}|{row.get('stop_s', '')}" for _, row in table.iterrows()]
    todo = [row for row, key in enumerate(keys) if key not in known]
    with file.open("a", encoding="utf-8") as kept:
        for row in tqdm(todo, desc="features", disable=not todo):
            known[keys[row]] = _of_row(table.iloc[row], kind, encoder)
            kept.write(json.dumps([keys[row], known[keys[row]]]) + "\n")
    found = [known[key] for key in keys]
    names = list(dict.fromkeys(name for one in found for name in one if name != "why"))
    values = np.array([[one.get(name, np.nan) for name in names] for one in found], float).reshape(
        len(found), len(names)
    )
    usable = np.array(["why" not in one for one in found])
    said = [f"{sum(one.get('why') == why for one in found)} rows left out: {why}" for why in _reasons(found)]
    return Features([*names, *extra], np.concatenate([values, of_table], axis=1), usable, said)


def _reasons(found: list[dict]) -> list[str]:
    return sorted({one["why"] for one in found if "why" in one})


def _of_row(row: pd.Series, kind: str, encoder: str) -> dict:
    """Features of one row, or {"why": the reason it cannot be used}."""
    try:
        recording = part(_read(row.path), row.get("start_s"), row.get("stop_s"))
    except EinthovenError as error:
        return {"why": f"cannot be read ({str(error)[:80]})"}
    if kind == "ecg":
        return ecg_values(recording, encoder)
    if recording.duration_s < MINUTE_S - 0.5:
        return {"why": "shorter than a minute"}
    strip = strip_of(recording)
    if running(at_125_hz(strip.signal, strip.fs_hz)[0]):
        return {"why": "VT or VF seems to run in it"}
    return strip_values(recording, encoder) or {"why": "no minute of it shows beats"}


@lru_cache(maxsize=2)
def _read(path: str) -> Recording:
    return read(path)[0]


def part(recording: Recording, start_s: float | None, stop_s: float | None) -> Recording:
    """From `start_s` to `stop_s`; all where they are absent."""
    first = 0 if start_s is None or pd.isna(start_s) else round(start_s * recording.fs_hz)
    last = None if stop_s is None or pd.isna(stop_s) else round(stop_s * recording.fs_hz)
    return replace(recording, signal=recording.signal[:, first:last])


def kind_of(table: pd.DataFrame) -> str:
    """ "strip" where the first recording that opens is of a minute or more and of few leads, else "ecg"."""
    if "path" not in table:
        return "ecg"
    for _, row in table.iterrows():
        try:
            recording = part(_read(row.path), row.get("start_s"), row.get("stop_s"))
        except EinthovenError:  # counted among the rows that are left out
            continue
        return "strip" if recording.duration_s >= MINUTE_S - 0.5 and len(recording.leads) <= 3 else "ecg"
    raise UsageError(f"none of the {len(table)} recordings can be read: try einthoven call measure_ecg FILE")


def _kept(file: Path, kind: str, encoder: str) -> dict[str, dict]:
    """Rows of an earlier run, a line each; the file is begun anew where it was of other features."""
    head = json.dumps({"input": kind, "encoder": encoder, "features": NAMES if kind == "strip" else "ecg"})
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    if not lines or lines[0] != head:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(head + "\n", encoding="utf-8")
        return {}
    whole = [line for line in lines[1:] if line.endswith("]")]  # the last may have been cut off
    if len(whole) < len(lines) - 1:
        file.write_text("\n".join([head, *whole]) + "\n", encoding="utf-8")
    return dict(json.loads(line) for line in whole)
