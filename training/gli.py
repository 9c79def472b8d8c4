"""Turn the published tables of GLI and NHANES III into the one file that tools/gli.py reads.

    python -m training.gli --data DIR/gli --out tools/gli.json.gz

`DIR/gli` holds `gli2012_coeffs_and_splines.csv` (Quanjer et al. 2012), `gli_global_2022_equations.csv` and
`gli_global_2022_splines.csv` (Bowerman et al. 2023), `nhanes3_hankinson1999_coeffs.csv` (Hankinson et al. 1999).
Nothing is fitted here: coefficients are copied, splines kept at their quarters of a year.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from training import recipe

NAMES = {"FEV1": "fev1_l", "FVC": "fvc_l", "FEV1FVC": "fev1_fvc", "FEF2575": "fef2575_lps", "FEF75": "fef75_lps"}
STEP = 0.25  # years between two values of a spline


def gli_2012(folder: Path) -> dict[str, Any]:
    """{sex: {measure: first and last age, coefficients of M, S and L, splines}}; groups as in tools/gli.py."""
    out: dict[str, Any] = {"M": {}, "F": {}}
    table = pd.read_csv(folder / "gli2012_coeffs_and_splines.csv").sort_values(["sex", "f", "agebound"])
    for (sex, name), rows in table.groupby(["sex", "f"]):
        if name in NAMES:
            out["M" if sex == 1 else "F"][NAMES[name]] = {
                "ages": _ages(rows["agebound"]),
                "m": rows[[f"a{n}" for n in range(7)]].iloc[0].tolist(),
                "s": rows[[f"p{n}" for n in range(6)]].iloc[0].tolist(),
                "l": rows[["q0", "q1"]].iloc[0].tolist(),
                "splines": {key: rows[f"{key}0"].tolist() for key in "lms"},
            }
    return out


def gli_2022(folder: Path) -> dict[str, Any]:
    """As `gli_2012`, without groups; the equations are printed as text, "exp(-11.4 + 2.46*ln(height) – …)"."""
    out: dict[str, Any] = {"M": {}, "F": {}}
    equations = pd.read_csv(folder / "gli_global_2022_equations.csv").set_index(["sex", "param", "key"])["equation"]
    splines = pd.read_csv(folder / "gli_global_2022_splines.csv").sort_values("age")
    for (sex, name), rows in splines.groupby(["sex", "param"]):
        m, s, of_l = (_terms(equations[sex, name, key]) for key in "MSL")
        out[sex[0]][NAMES[name.replace("/", "")]] = {
            "ages": _ages(rows["age"]),
            "m": [m["1"], m["height"], m["age"], 0, 0, 0, 0],
            "s": [s["1"], s["age"], 0, 0, 0, 0],
            "l": [of_l["1"], of_l["age"]],
            "splines": {key: rows[f"{key}_spline"].tolist() for key in "lms"},
        }
    return out


def _terms(equation: str) -> dict[str, float]:
    """{"1": constant, "height": of ln(height), "age": of ln(age)} of a printed equation."""
    text = re.sub(r"\s", "", equation.replace("–", "-").replace("exp(", ""))
    terms = {"1": 0.0, "height": 0.0, "age": 0.0}
    for number, of in re.findall(r"([+-]?\d+\.\d+)(?:\*ln\((\w+)\))?", text):
        terms[of or "1"] += float(number)
    return terms


def _ages(ages: pd.Series) -> list[float]:
    grid = ages.to_numpy()
    if not np.array_equal(grid, np.arange(grid[0], grid[-1] + STEP / 2, STEP)):
        raise ValueError("a spline's ages are not quarters of a year")
    return [float(grid[0]), float(grid[-1])]


def nhanes_3(folder: Path) -> dict[str, Any]:
    """{sex: {group: {"young", "adult": intercept, age, age², height² for predicted, for LLN}}} of PEF."""
    groups = {1: "white", 2: "black", 3: "mexican"}
    out: dict[str, Any] = {"M": {}, "F": {}}
    table = pd.read_csv(folder / "nhanes3_hankinson1999_coeffs.csv")
    for row in table[table["param"] == "PEF"].itertuples(index=False):
        of = out["M" if row.sex == 1 else "F"].setdefault(groups[row.ethnicity], {})
        of["young" if row.under20 else "adult"] = [row.intercept, row.age, row.age2, row.HtPRD, row.HtLLN]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    tables = {"GLI-2012": gli_2012(args.data), "GLI-2022": gli_2022(args.data), "NHANES-III": nhanes_3(args.data)}
    args.out.write_bytes(gzip.compress(json.dumps(tables).encode(), mtime=0))


if __name__ == "__main__":
    recipe.run(main)
