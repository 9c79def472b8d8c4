"""Criteria of infarction, ischaemia and ST-T changes.

Q waves, ST elevation by lead, sex and age, ST depression and T inversion: Fourth Universal Definition of Myocardial
Infarction (Thygesen et al. 2018, doi 10.1161/CIR.0000000000000617). T amplitudes and QTc: AHA/ACCF/HRS part IV
(Rautaharju et al. 2009). A criterion counts in two neighbouring leads.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from tools.criteria_view import AHA, UDMI, Evidence, View, say
from tools.limits import qtc as qtc_beside

SEPTAL, ANTERIOR, LATERAL = ("V1", "V2"), ("V3", "V4"), ("I", "aVL", "V5", "V6")
INFERIOR, POSTERIOR = ("II", "III", "aVF"), ("V1", "V2")
CHAINS = (("aVL", "I"), ("II", "aVF", "III"), ("V1", "V2", "V3", "V4", "V5", "V6"))
EVERY = tuple(lead for chain in CHAINS for lead in chain)


def neighbours(leads: Sequence[str], meets: Callable[[str], bool]) -> list[str]:
    """Those of the leads that meet a criterion together with a neighbour."""
    kept: set[str] = set()
    for chain in CHAINS:
        inside = [lead for lead in chain if lead in leads]
        for one, two in itertools.pairwise(inside):
            if chain.index(two) - chain.index(one) == 1 and meets(one) and meets(two):
                kept |= {one, two}
    if {"aVF", "III", "II"} <= set(leads) and meets("II") and meets("III"):
        kept |= {"II", "III"}
    return [lead for lead in leads if lead in kept]


def q_wave(view: View, lead: str) -> bool:
    """Whether a lead has a Q wave of infarction, or a QS complex (V1 alone may have one)."""
    depth, width = view.of(lead, "q_mv"), view.of(lead, "q_ms")
    if not depth or not width:
        return False
    if view.qs(lead):
        return lead not in ("V1", "III", "aVL", "aVR") or width >= 30
    return width > 20 if lead in ("V2", "V3") else width >= 30 and abs(depth) >= 0.1


def q_waves(view: View, leads: Sequence[str] = EVERY) -> Evidence:
    """Q waves of infarction in neighbouring leads."""
    found = Evidence()
    seen = [lead for lead in leads if view.of(lead, "q_ms") is not None]
    alike = neighbours(seen, lambda lead: q_wave(view, lead))
    for lead in alike:
        depth, width = view.of(lead, "q_mv"), view.of(lead, "q_ms")
        what = "QS complex" if view.qs(lead) else "Q wave"
        limit = "longer than 20 ms" if lead in ("V2", "V3") else "at least 30 ms and 0.1 mV"
        found.say(
            True, f"{what} in {lead} {say(width)} ms and {say(depth)} mV, {limit} with a neighbouring lead ({UDMI})."
        )
    if not alike and len(seen) == len(leads):
        longest = max(seen, key=lambda lead: view.of(lead, "q_ms"))
        width = view.of(longest, "q_ms")
        if width == 0:
            found.say(False, f"Q waves are absent in {', '.join(leads)} ({UDMI}).")
        elif not view.qs(longest) and width < 30:
            found.say(False, f"Longest Q wave {say(width)} ms in {longest}, below the limit of 30 ms ({UDMI}).")
    return found


def st_limit(lead: str, sex: str | None, age: float | None) -> tuple[float, str]:
    """J-point elevation in mV from which a lead counts, and for whom; the stricter one where sex or age is unknown."""
    if lead not in ("V2", "V3"):
        return 0.1, ""
    if sex == "F":
        return 0.15, " for women"
    if sex == "M" and age is not None and age >= 40:
        return 0.2, " for men from 40 years"
    return 0.25, " for men below 40 years"


def st_elevation(view: View, leads: Sequence[str] = EVERY) -> Evidence:
    """ST elevation at J in neighbouring leads, by lead, sex and age."""
    found = Evidence()
    level = {lead: view.of(lead, "j_mv") for lead in leads if view.of(lead, "j_mv") is not None}
    raised = neighbours(list(level), lambda lead: level[lead] >= st_limit(lead, view.sex, view.age)[0])
    for lead in raised:
        limit, who = st_limit(lead, view.sex, view.age)
        found.say(
            True,
            f"ST elevation in {lead} {say(level[lead])} mV, at or above the limit of {say(limit)} mV{who} ({UDMI}).",
        )
    if not raised and len(level) == len(leads):
        top = max(level, key=lambda lead: level[lead] / st_limit(lead, view.sex, view.age)[0])
        limit, who = st_limit(top, view.sex, view.age)
        if level[top] < limit:
            found.say(
                False,
                f"J level in {top} {say(level[top])} mV, below the limit of {say(limit)} mV{who} ({UDMI}).",
            )
    return found


def st_depression(view: View, leads: Sequence[str] = EVERY) -> Evidence:
    """ST depression of 0.05 mV or more in neighbouring leads."""
    found = Evidence()
    level = {lead: view.of(lead, "st60_mv") for lead in leads if view.of(lead, "st60_mv") is not None}
    low = neighbours(list(level), lambda lead: level[lead] <= -0.05)
    for lead in low:
        found.say(True, f"ST level in {lead} {say(level[lead])} mV, at or below the limit of -0.05 mV ({UDMI}).")
    if not low and len(level) == len(leads):
        lowest = min(level, key=lambda lead: level[lead])
        if level[lowest] > -0.05:
            found.say(
                False, f"Lowest ST level {say(level[lowest])} mV in {lowest}, above the limit of -0.05 mV ({UDMI})."
            )
    return found


def t_inversion(view: View, leads: Sequence[str] = EVERY) -> Evidence:
    """T inversion beyond 0.1 mV in neighbouring leads that have a prominent R wave."""
    found = Evidence()
    height = {lead: view.of(lead, "t_mv") for lead in leads if view.of(lead, "t_mv") is not None}
    turned = neighbours(list(height), lambda lead: height[lead] <= -0.1 and (view.r(lead) or 0) > (view.s(lead) or 0))
    for lead in turned:
        found.say(True, f"T amplitude in {lead} {say(height[lead])} mV, at or below the limit of -0.1 mV ({UDMI}).")
    if not turned and len(height) == len(leads):
        lowest = min(height, key=lambda lead: height[lead])
        if height[lowest] > -0.1:
            found.say(
                False, f"Lowest T amplitude {say(height[lowest])} mV in {lowest}, above the limit of -0.1 mV ({UDMI})."
            )
    return found


def infarction(*regions: Sequence[str]) -> Callable[[View], Evidence]:
    """Criteria of an infarction of these leads: Q waves, ST elevation, and in posterior leads the tall R."""
    leads = tuple(dict.fromkeys(lead for region in regions for lead in region))

    def criteria(view: View) -> Evidence:
        found, raised = q_waves(view, leads), st_elevation(view, leads)
        if raised.speaks_for or found.speaks_against:  # an old infarct has Q waves and no elevation
            found.add(raised)
        return found

    return criteria


def posterior(view: View) -> Evidence:
    """PMI: the mirror image in V1 and V2: a broad R taller than the S, with an upright T."""
    found = Evidence()
    for lead in POSTERIOR:
        r, s, t, width = view.r(lead), view.s(lead), view.of(lead, "t_mv"), view.of(lead, "r_ms")
        if r is None or s is None or t is None or width is None:
            continue
        if width > 40 and r > s and t > 0:
            found.say(
                True,
                f"R wave in {lead} {say(width)} ms, above 40 ms, taller than the S, with an upright T ({UDMI}).",
            )
        elif r <= s:
            found.say(False, f"R amplitude in {lead} {say(r)} mV, not above its S depth of {say(s)} mV ({UDMI}).")
    return found


def with_posterior(*regions: Sequence[str]) -> Callable[[View], Evidence]:
    """An infarction of these leads that reaches the posterior wall."""

    def criteria(view: View) -> Evidence:
        found = infarction(*regions)(view)
        found.add(posterior(view))
        return found

    return criteria


def ischaemia(*regions: Sequence[str]) -> Callable[[View], Evidence]:
    """Criteria of ischaemia in these leads: ST depression and T inversion."""
    leads = tuple(dict.fromkeys(lead for region in regions for lead in region)) or EVERY

    def criteria(view: View) -> Evidence:
        found = Evidence()
        for one in (st_depression, t_inversion):
            found.add(one(view, leads))
        return found

    return criteria


def low_t(view: View) -> Evidence:
    """LOWT, and the flat T waves of unspecific changes: below a tenth of the R in the same lead."""
    found = Evidence()
    for lead in ("I", "II", "V4", "V5", "V6"):
        t, r = view.of(lead, "t_mv"), view.r(lead)
        if t is not None and r is not None and r >= 0.3 and abs(t) < 0.1 * r:
            found.say(
                True, f"T amplitude in {lead} {say(t)} mV, below a tenth of the R amplitude of {say(r)} mV ({AHA})."
            )
    return found


def unspecific(view: View) -> Evidence:
    """NST_, NT_, NDT, TAB_, STTC: any ST depression, T inversion or low T."""
    found = ischaemia()(view)
    found.add(low_t(view))
    return found


def long_qt(view: View) -> Evidence:
    """LNGQT: QTc by Bazett against the limit of the sex."""
    found = Evidence()
    value = view["qtc_ms"]
    if value is None:
        return found
    limit = 460 if view.sex != "M" else 450
    who = {"F": " for women", "M": " for men"}.get(view.sex or "", " for women")
    if view.sex is None and 450 <= value < 460:
        found.say(None, qtc_beside(value))
        return found
    found.reaches("QTc by Bazett", value, limit, "ms", AHA, who)
    return found


def digitalis(view: View) -> Evidence:
    """DIG: sagging ST and a short QTc."""
    found = st_depression(view)
    if view["qtc_ms"] is not None and view["qtc_ms"] <= 390:
        found.say(
            True, f"QTc by Bazett {say(view['qtc_ms'])} ms, at or below the limit of 390 ms for a short QT ({AHA})."
        )
    return found


def electrolytes(view: View) -> Evidence:
    """EL: tall T of hyperkalaemia, low T and long QT of hypokalaemia."""
    found = Evidence()
    for lead in ("V2", "V3", "V4"):
        found.reaches(f"T amplitude in {lead}", view.of(lead, "t_mv"), 1.0, "mV", AHA, silent=True, beyond=True)
    found.speaks_for += low_t(view).speaks_for + long_qt(view).speaks_for
    return found


def aneurysm(view: View) -> Evidence:
    """ANEUR: ST elevation over leads with Q waves."""
    found = q_waves(view)
    found.add(st_elevation(view))
    return found


def reciprocal(view: View) -> bool:
    """Whether ST is depressed somewhere while it is raised elsewhere, as in an infarction rather than in pericarditis,
    early repolarisation or a young man's chest leads."""
    raised = st_elevation(view).speaks_for
    levels = [view.of(lead, "j_mv") for lead in EVERY]
    return bool(raised) and any(level is not None and level <= -0.05 for level in levels)
