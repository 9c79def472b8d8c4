"""What the published criteria ask of a measurement, and the sentences they answer with.

`View` reads a `measure_ecg` result: every quantity that was not measured is None, whatever is missing from the result.
`Evidence` gathers the sentences for and against a finding; a comparison with None says nothing.

Numbers stand as `measure_ecg` returns them (whole ms and degrees, mV to three decimals), so that an answer that repeats
them agrees with the measurement to the digit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

AHA = "AHA/ACCF/HRS 2009"
UDMI = "Fourth Universal Definition of MI 2018"
ESC_AF = "ESC 2020"


def say(value: float) -> str:
    """A number as `measure_ecg` returns it."""
    return str(value) if isinstance(value, int) else f"{round(value, 3):g}"


class View:
    """A `measure_ecg` result, read without surprises."""

    def __init__(self, measured: dict[str, Any]):
        self.measured = measured
        self.rows: dict[str, dict[str, Any]] = measured.get("per_lead") or {}
        self.rr: dict[str, Any] = measured.get("rr") or {}
        self.ectopic: dict[str, Any] = measured.get("ectopic") or {}

    def __getitem__(self, key: str) -> Any:
        return self.measured.get(key)

    def of(self, lead: str, key: str) -> Any:
        """A value of the measurement matrix, or None."""
        return (self.rows.get(lead) or {}).get(key)

    @property
    def age(self) -> float | None:
        age = self.measured.get("age")
        return float(age) if isinstance(age, int | float) and not isinstance(age, bool) else None

    @property
    def sex(self) -> str | None:
        sex = self.measured.get("sex")
        return sex if sex in ("F", "M") else None

    def r(self, lead: str) -> float | None:
        """Height of the tallest R of a lead, mV."""
        first, second = self.of(lead, "r_mv"), self.of(lead, "r2_mv")
        return None if first is None else max(first, second or 0.0)

    def s(self, lead: str) -> float | None:
        """Depth of the deepest S of a lead, mV, positive; of a QS complex, its depth."""
        first, second = self.of(lead, "s_mv"), self.of(lead, "s2_mv")
        if first is None:
            return None
        qs = (self.of(lead, "q_mv") or 0.0) if not self.r(lead) else 0.0
        return abs(min(first, second or 0.0, qs))

    def qs(self, lead: str) -> bool:
        """Whether the complex has no R at all."""
        return self.of(lead, "r_mv") == 0 and bool(self.of(lead, "q_mv"))


def total(*values: float | None) -> float | None:
    """The sum to three decimals; None where a part is missing."""
    known = [value for value in values if value is not None]
    return round(sum(known), 3) if len(known) == len(values) else None


def highest(values: Iterable[float | None]) -> float | None:
    """The largest of those that are known."""
    return max((value for value in values if value is not None), default=None)


@dataclass
class Evidence:
    """Sentences for and against a finding."""

    speaks_for: list[str] = field(default_factory=list)
    speaks_against: list[str] = field(default_factory=list)

    def say(self, speaks_for: bool | None, sentence: str) -> None:
        """Keep a sentence on its side; None is neither."""
        if speaks_for is not None:
            (self.speaks_for if speaks_for else self.speaks_against).append(sentence)

    def reaches(
        self,
        title: str,
        value: float | None,
        limit: float,
        unit: str,
        source: str,
        tail: str = "",
        silent: bool = False,
        beyond: bool = False,
    ) -> bool | None:
        """Value at or above a limit (with `beyond`, above it) speaks for; else against, unless `silent`."""
        if value is None:
            return None
        met = value > limit or (value == limit and not beyond)
        side = ("above" if met else "at or below") if beyond else ("at or above" if met else "below")
        if met or not silent:
            self.say(met, f"{title} {say(value)} {unit}, {side} the limit of {say(limit)} {unit}{tail} ({source}).")
        return met

    def under(
        self, title: str, value: float | None, limit: float, unit: str, source: str, tail: str = ""
    ) -> bool | None:
        """Value below a limit speaks for; at or above it against."""
        if value is None:
            return None
        met = value < limit
        side = "below" if met else "at or above"
        self.say(met, f"{title} {say(value)} {unit}, {side} the limit of {say(limit)} {unit}{tail} ({source}).")
        return met

    def add(self, other: Evidence) -> None:
        """Take over another's sentences."""
        self.speaks_for += other.speaks_for
        self.speaks_against += other.speaks_against
