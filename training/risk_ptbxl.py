"""A cohort from PTB-XL that shows `training.risk` end to end, and one of noise that shows that nothing leaks.

    python -m training.risk_ptbxl --data DIR --out cohort.csv [--event PVC] [--most 600] [--noise]
    python -m training.risk --cohort cohort.csv --out OUT --leave-out p_PVC,ectopic_v,ectopic_s

An event is a statement of the official table; the features that are the statement itself are to be left out. Of a
patient only recordings up to the first event are kept. `--noise` draws events at random, as many. The default encoder
learnt from PTB-XL itself, so the AUC of this cohort shows that the pipeline runs, not how good it is.
"""

from __future__ import annotations

import argparse
import ast
from pathlib import Path

import numpy as np
import pandas as pd

from tools.errors import UnreadableFile
from training import recipe

OLDEST = 90.0  # over 89 is written as 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of PTB-XL, with ptbxl_database.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--event", default="PVC", help="an SCP code")
    parser.add_argument("--most", type=int, default=600, help="recordings, the first of the table")
    parser.add_argument("--noise", action="store_true", help="events drawn at random")
    args = parser.parse_args()
    table = cohort(args.data, args.event, args.most, args.noise)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out, index=False)
    print(f"{len(table)} recordings of {table.patient_id.nunique()} patients, {int(table.event.sum())} events")


def cohort(data: Path, event: str = "PVC", most: int = 600, noise: bool = False) -> pd.DataFrame:
    """path, patient_id, event, date, age, sex."""
    folder = data / "ptb-xl" if (data / "ptb-xl").exists() else data
    if not (folder / "ptbxl_database.csv").exists():
        raise UnreadableFile(f"no ptbxl_database.csv in {folder}: name the folder of PTB-XL with --data")
    listed = pd.read_csv(folder / "ptbxl_database.csv").head(most)
    table = pd.DataFrame({
        "path": [str((folder / name).absolute()) + ".hea" for name in listed.filename_lr],
        "patient_id": listed.patient_id.astype(int).astype(str),
        "event": [int(event in ast.literal_eval(codes)) for codes in listed.scp_codes],
        "date": listed.recording_date,
        "age": listed.age.clip(upper=OLDEST),
        "sex": listed.sex.map({0: "M", 1: "F"}),
    })  # fmt: skip
    first = table[table.event == 1].groupby("patient_id").date.min()
    table = table[~(table.date > table.patient_id.map(first).fillna("9"))].reset_index(drop=True)
    if noise:
        share = table.event.mean()
        table["event"] = (np.random.default_rng(0).random(len(table)) < share).astype(int)
        table["patient_id"] = [f"row-{row}" for row in range(len(table))]  # drawn without regard to persons
    return table


if __name__ == "__main__":
    recipe.run(main)
