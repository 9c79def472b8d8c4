"""The shipped model of VT/VF risk: its cohort, what cross-validation cannot tell of it, and what is said of it.

    gathered = cohort(data, folder)                     # the cohort of training/risk_data.py with its features
    figures |= further(gathered, data, folder, seed)    # databases left out, probes (training/risk_across.py)
    said(figures)                                       # the sentences that the model carries with it

Used by `python -m training.risk --data DIR` and `python -m training.evaluate risk --data DIR`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from training import risk, risk_across, risk_cohort, risk_data
from training.risk_models import Data

HORIZON = "VT or VF within five minutes"
LICENCE = "CUDB, VFDB, MIT-BIH Arrhythmia and Normal Sinus Rhythm Database of PhysioNet (ODC-By 1.0)"


def table(data: Path, folder: Path) -> Path:
    """Write the cohort's table into `folder`; its path."""
    file = folder / "cohort.csv"
    risk_data.cohort(data.absolute()).to_csv(file, index=False)
    return file


def cohort(data: Path, folder: Path, no_networks: bool = False) -> risk.Cohort:
    """The public cohort with its features, kept in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = argparse.Namespace(input="strip", encoder="reading", out=folder, leave_out="", no_networks=no_networks)
    return risk.cohort(risk_data.cohort(data), settings)


def further(gathered: risk.Cohort, data: Path, folder: Path, seed: int, networks: bool) -> dict[str, Any]:
    """What cross-validation inside the cohort cannot tell."""
    database = gathered.table.database.to_numpy(str)
    of_far = risk_data.far_from_attacks(data)
    features = risk_cohort.computed(of_far, folder / "far.jsonl", "strip")
    at = [features.names.index(name) for name in gathered.data.names]
    far = Data(
        features.values[features.usable][:, at],
        gathered.data.names,
        of_far.event.to_numpy(int)[features.usable],
        of_far.patient_id.to_numpy(str)[features.usable],
    )
    return {
        "databases": {f"{name}, {('control', 'attack')[event]}": int(n) for (name, event), n in
                      gathered.table.groupby(["database", "event"]).patient_id.nunique().items()},
        "across": risk_across.across(gathered.data, database, seed, networks),
        "which_database": risk_across.which_database(gathered.data, database, seed),
        "same_people": risk_across.same_people(gathered.data, gathered.table, far, seed),
        "running": risk_across.alarms(data),
    }  # fmt: skip


def said(figures: dict[str, Any]) -> dict[str, Any]:
    """What the model says of itself: `cohort_said`, `warnings_said`, `data_said`, `limits_said`."""
    auc = figures["models"][risk.OURS]["auc"]
    unseen = [row[risk.OURS]["auc"]["value"] for pair, row in figures["across"].items() if pair != "mean AUC"]
    same = figures["same_people"]["auc"]
    others = figures["patients"] - figures["patients_with_event"]
    cohort_said = (
        f"Learnt from strips of {figures['patients_with_event']} patients within five minutes before VT, VF or "
        f"ventricular flutter (CUDB, VFDB) and of {others} others (MIT-BIH, NSRDB): AUC {auc['value']:.2f} in "
        f"cross-validation, {min(unseen):.2f} to {max(unseen):.2f} on pairs of databases that it had not seen."
    )
    warnings = [
        "The shipped model is a demonstration: its risk ranks strips among those it learnt from and is no probability "
        "for a patient on a ward, where attacks are far rarer."
    ]
    if same["interval"][0] <= 0.5:
        warnings.append(
            "It does not tell when: strips just before an attack and earlier ones of the same people look alike to it "
            f"(AUC {same['value']:.2f}, 95 % interval {same['interval'][0]:.2f} to {same['interval'][1]:.2f})."
        )
    return {
        "cohort_said": cohort_said,
        "warnings_said": warnings,
        "data_said": LICENCE,
        "limits_said": [
            *warnings,
            *(
                f"Its features tell {what} at an AUC of {one['value']:.2f}: attacks and controls come from different "
                "recorders, so the cross-validated figure flatters."
                for what, one in figures["which_database"].items()
                if one["interval"][0] > 0.5
            ),
            "Which VFDB records share a patient is not published; neighbours in number are kept together.",
        ],
    }
