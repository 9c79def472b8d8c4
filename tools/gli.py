"""Reference values of spirometry: GLI Global 2022 and GLI-2012, predicted, lower limit of normal and z-score.

The LMS method: M is what is predicted, S the coefficient of variation, L the skewness, each of ln(height), ln(age)
and a spline of age; z = ((value / M)^L - 1) / (L S), and the lower limit of normal is the value at z = -1.645.

- GLI Global 2022 (Bowerman et al. 2023, doi 10.1164/rccm.202205-0963OC): FEV1, FVC and their ratio, for everyone.
- GLI-2012 (Quanjer et al. 2012, doi 10.1183/09031936.00080312): FEF25-75 and FEF75 too, by one of `GROUPS`.
- PEF is in neither; NHANES III (Hankinson et al. 1999, doi 10.1164/ajrccm.159.1.9712108) has it.

    of = references(Person(45, "F", 165))          # GLI Global 2022
    of["fev1_l"].predicted, of["fev1_l"].lln, of["fev1_l"].z(2.1)

The coefficients are the published ones, copied by `python -m training.gli`.
"""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tools.errors import UsageError

EQUATIONS = ("GLI-2022", "GLI-2012")
GROUPS = ("Caucasian", "African American", "North East Asian", "South East Asian", "Other")  # GLI-2012's own names
LLN_Z = -1.645  # the 5th percentile
AGES = (3.0, 95.0)
HEIGHTS_CM = (50.0, 230.0)
PEF_AGES = (8.0, 80.0)
FILE = Path(__file__).with_name("gli.json.gz")
_OF_NHANES_3 = {None: "white", "Caucasian": "white", "African American": "black", "Mexican American": "mexican"}


@dataclass(frozen=True)
class Person:
    """Whom the values are for. `group` is one of `GROUPS` and is used by GLI-2012 only."""

    age: float
    sex: str  # "F" or "M"
    height_cm: float
    group: str | None = None


@dataclass(frozen=True)
class Reference:
    """L, M and S of one measurement for one person."""

    skewness: float
    predicted: float
    variation: float

    @property
    def lln(self) -> float:
        return self.at(LLN_Z)

    def at(self, z: float) -> float:
        """The value with this z-score."""
        return float(value_at(z, self.skewness, self.predicted, self.variation))

    def z(self, value: float) -> float:
        return float(z_score(value, self.skewness, self.predicted, self.variation))

    def percentile(self, value: float) -> float:
        """Share of healthy people below `value`, in %."""
        return 50 * math.erfc(-self.z(value) / math.sqrt(2))


def references(person: Person, equations: str = "GLI-2022") -> dict[str, Reference]:
    """{fev1_l, fvc_l, fev1_fvc and, by GLI-2012, fef2575_lps, fef75_lps: Reference}; those whose ages include theirs.

    Raises
    ------
    UsageError : an age, sex, height or group that GLI does not know.
    """
    check(person, equations)
    group = GROUPS.index(person.group or "Other") if equations == "GLI-2012" else 0
    out = {}
    for measure, table in _tables()[equations][person.sex].items():
        if table["ages"][0] <= person.age <= table["ages"][1]:
            of = lms(measure, person.age, person.sex, person.height_cm, equations, group)
            out[measure] = Reference(*(float(part) for part in of))
    return out


def check(person: Person, equations: str = "GLI-2022") -> None:
    """UsageError in one line for what is outside GLI."""
    if equations not in EQUATIONS:
        raise UsageError(f"--equations: {' or '.join(EQUATIONS)}")
    if person.sex not in ("F", "M"):
        raise UsageError("--sex: GLI has equations for F and M")
    if not AGES[0] <= person.age <= AGES[1]:  # NaN is outside too
        raise UsageError(f"--age: GLI reaches from {AGES[0]:g} to {AGES[1]:g} years, {person.age:g} is outside")
    if not HEIGHTS_CM[0] <= person.height_cm <= HEIGHTS_CM[1]:
        hint = "; give centimetres" if 0.5 <= person.height_cm <= 2.3 else ""
        raise UsageError(
            f"--height-cm: {person.height_cm:g} is outside {HEIGHTS_CM[0]:g} to {HEIGHTS_CM[1]:g} cm{hint}"
        )
    if person.group is not None and person.group not in GROUPS:
        raise UsageError(f"--group: one of {', '.join(GROUPS)}")


def lms(
    measure: str,
    age: float | np.ndarray,
    sex: str,
    height_cm: float | np.ndarray,
    equations: str = "GLI-2022",
    group: int | np.ndarray = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """L, M and S for many people of one sex; `group` counts in `GROUPS`. Nothing is checked; see `references`."""
    table = _tables()[equations][sex][measure]
    of_l, of_m, of_s = (np.interp(age, table["grid"], table["splines"][key]) for key in "lms")
    years, height = np.log(age), np.log(height_cm)
    a, p, q = table["m"], table["s"], table["l"]
    m = np.exp(a[0] + a[1] * height + a[2] * years + np.array([0, *a[3:]])[group] + of_m)
    s = np.exp(p[0] + p[1] * years + np.array([0, *p[2:]])[group] + of_s)
    return q[0] + q[1] * years + of_l, m, s


def z_score(value: Any, skewness: Any, predicted: Any, variation: Any) -> Any:
    """z of `value`; NaN for what is not positive."""
    with np.errstate(invalid="ignore", divide="ignore"):
        logarithm = np.log(np.asarray(value, float) / predicted)
        return np.where(
            np.abs(skewness) < 1e-9,
            logarithm / variation,
            np.expm1(skewness * logarithm) / (np.where(skewness == 0, 1, skewness) * variation),
        )


def value_at(z: Any, skewness: Any, predicted: Any, variation: Any) -> Any:
    """The value whose z-score is `z`: M (1 + z L S)^(1/L)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        power = np.log1p(np.asarray(z, float) * skewness * variation) / np.where(skewness == 0, 1, skewness)
        return predicted * np.exp(np.where(np.abs(skewness) < 1e-9, z * variation, power))


def peak_flow_lps(person: Person) -> tuple[float, float] | None:
    """Predicted PEF and its LLN in L/s by NHANES III, None outside its ages of 8 to 80 years.

    GLI has no equation for PEF. White, Black and Mexican Americans were studied; everyone else gets the equation of the
    first, as a mark on a drawing and not as a limit.
    """
    if not PEF_AGES[0] <= person.age <= PEF_AGES[1]:
        return None
    of = _tables()["NHANES-III"][person.sex][_OF_NHANES_3.get(person.group, "white")]
    young = person.age < (20 if person.sex == "M" else 18)
    a, b, c, predicted, lln = of["young" if young else "adult"]
    base, square = a + b * person.age + c * person.age**2, person.height_cm**2
    return base + predicted * square, base + lln * square


@cache
def _tables() -> dict[str, Any]:
    tables = json.loads(gzip.decompress(FILE.read_bytes()))
    for table in (of for equations in EQUATIONS for sex in "FM" for of in tables[equations][sex].values()):
        table["splines"] = {key: np.array(values) for key, values in table["splines"].items()}
        first, last = table["ages"]
        table["grid"] = np.linspace(first, last, len(table["splines"]["m"]))
    return tables
