"""Is it the heart or the recorder? Databases left out, the database as a question, and the same people at another time.

    across(cohort, seed)         # trained without a database of attacks and one of controls, tried on those two
    which_database(cohort, seed) # AUC of telling MIT-BIH from NSRDB (controls) and CUDB from VFDB (attacks)
    same_people(cohort, far)     # attacks of VFDB against the same patients ten minutes or more before their first

In the public cohort every attack comes from other recorders than most controls, so an AUC inside it flatters. The
first figure is the one to believe; the second says how much the features know of the recorder; the third, whether the
model sees that an attack is near or only that a heart is ill.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tools.recording import read
from tools.risk_running import ongoing
from training import risk_data, risk_figures, risk_models
from training.risk_cohort import part
from training.risk_models import Data

PAIRS = (("cudb", "nsrdb"), ("cudb", "mitdb"), ("vfdb", "nsrdb"), ("vfdb", "mitdb"))
SEEN_S = 60.0  # of an attack, in which it should be noticed


def across(data: Data, database: np.ndarray, seed: int, networks: bool = True) -> dict[str, Any]:
    """{"cudb against nsrdb": {model: figures}, …, "mean AUC": {model: value}}: nothing of these two was learnt from."""
    out: dict[str, Any] = {}
    for pair in PAIRS:
        held = np.isin(database, pair)
        if len(set(data.event[~held])) < 2 or len(set(data.event[held])) < 2:
            continue
        test = data.rows(held)
        found = {
            name: {"p": p, "threshold": np.full(len(p), threshold)}
            for name, (p, threshold) in risk_models.judged(data.rows(~held), test, seed, networks).items()
        }
        out[f"{pair[0]} against {pair[1]}"] = risk_figures.all_of(found, test.event, test.patient, test.weight, seed)
    names = list(next(iter(out.values()))) if out else []
    out["mean AUC"] = {
        name: round(float(np.mean([row[name]["auc"]["value"] for row in out.values()])), 4) for name in names
    }
    return out


def which_database(data: Data, database: np.ndarray, seed: int) -> dict[str, Any]:
    """Cross-validated AUC of such trees for the question from which database a strip comes; 0.5 is wanted."""
    out = {}
    for one, other, event in (("mitdb", "nsrdb", 0), ("cudb", "vfdb", 1)):
        chosen = np.isin(database, (one, other)) & (data.event == event)
        asked = data.rows(chosen)
        asked = Data(asked.x, asked.names, (database[chosen] == one).astype(int), asked.patient)
        parts = risk_models.outer(asked, seed)
        p = np.zeros(len(asked.event))
        for train, test in parts:
            seen = asked.rows(train)
            columns = risk_models.ranked(seen, seed)[:12]
            p[test] = risk_models.margins(
                risk_models.grown(seen.columns(columns), 2, 80, seed), asked.x[test][:, columns]
            )
        draws = risk_figures.drawn(asked.patient, asked.weight, seed)
        of = risk_figures.figures(risk_models.sigmoid(p), asked.event, p >= 0, draws)
        out[f"{one} or {other}"] = risk_figures.summary(of["auc"])
    return out


def same_people(data: Data, table: pd.DataFrame, far: Data, seed: int) -> dict[str, Any]:
    """AUC of blocks before VFDB's attacks against far blocks of the same records, by a model that never saw VFDB."""
    database, whole = table.database.to_numpy(), table.whole.to_numpy() == 1
    near = data.rows((database == "vfdb") & whole)
    fitted = risk_models.fit(data.rows(database != "vfdb"), seed, members=0)
    x = np.concatenate([near.x, far.x])
    event = np.r_[np.ones(len(near.event), int), np.zeros(len(far.event), int)]
    patient = np.r_[near.patient, far.patient]
    both = Data(x, data.names, event, patient)
    p = risk_models.sigmoid(fitted.log_odds(x))
    of = risk_figures.figures(p, event, p >= fitted.threshold, risk_figures.drawn(patient, both.weight, seed))
    return {"blocks": [int(event.sum()), int((event == 0).sum())], "auc": risk_figures.summary(of["auc"])}


def alarms(data: Path) -> dict[str, Any]:
    """How often VT or VF is said to run: in the first minute of episodes of ten seconds or more, and in controls."""
    noticed: list[float] = []
    silent: list[float] = []
    for database in risk_data.DATABASES:
        for name in (data / database / "RECORDS").read_text().split():
            path = data / database / name
            if name in risk_data.UNMARKED or not path.with_suffix(".hea").exists():
                continue
            [recording] = read(path.with_suffix(".hea"))
            episodes = [] if database == "nsrdb" else risk_data.annotated(path, recording.duration_s)[0]
            for start, stop in episodes:
                if stop - start >= 10:
                    noticed.append(_alarm(recording, start, min(stop, start + SEEN_S)))
            for event, start, stop in risk_data.blocks(episodes, recording.duration_s, database):
                if not event:
                    silent.append(_alarm(recording, start, stop))
    return {
        "attacks": len(noticed),
        "noticed": _share(noticed),
        "control_blocks": len(silent),
        "falsely_alarmed": _share(silent),
    }


def _alarm(recording: Any, start_s: float, stop_s: float) -> float:
    return float(bool(ongoing(part(recording, start_s, stop_s))))


def _share(values: list[float]) -> dict[str, Any]:
    from training.figures import interval

    found = {"value": round(float(np.mean(values)), 4)}
    return found | {"interval": [round(value, 4) for value in interval(np.array(values))]}
