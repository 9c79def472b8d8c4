"""Criteria of hypertrophy, atrial enlargement and QRS voltage.

Left ventricle: Sokolow & Lyon 1949, Cornell (Casale 1985), Peguero-Lo Presti 2017. Right ventricle and atria:
AHA/ACCF/HRS recommendations, part V (Hancock et al. 2009, doi 10.1016/j.jacc.2008.12.015). Voltages are positive mV.
"""

from __future__ import annotations

from tools.criteria_view import AHA, Evidence, View, highest, say, total
from tools.recording import CHEST_LEADS, LIMB_LEADS


def lvh_voltage(view: View) -> Evidence:
    """VCLVH: Sokolow-Lyon, R in aVL, Cornell, Peguero-Lo Presti."""
    found = Evidence()
    sokolow = total(view.s("V1"), highest([view.r("V5"), view.r("V6")]))
    found.reaches("Sokolow-Lyon voltage", sokolow, 3.5, "mV", "Sokolow 1949")
    _by_sex(found, view, "Cornell voltage", total(view.r("aVL"), view.s("V3")), 2.8, 2.0, "Casale 1985")
    found.reaches("R amplitude in aVL", view.r("aVL"), 1.1, "mV", "Sokolow 1949", silent=True, beyond=True)
    if all(view.s(lead) is not None for lead in CHEST_LEADS):
        deepest = highest(view.s(lead) for lead in view.rows)
        _by_sex(found, view, "Peguero-Lo Presti voltage", total(deepest, view.s("V4")), 2.8, 2.3, "Peguero 2017")
    return found


def _by_sex(
    found: Evidence, view: View, title: str, value: float | None, men: float, women: float, source: str
) -> None:
    """A limit that differs by sex; where the sex is not known, only what holds for both is said."""
    if value is None:
        return
    if view.sex is not None:
        limit, who = (men, "men") if view.sex == "M" else (women, "women")
        found.reaches(title, value, limit, "mV", source, f" for {who}")
    elif value >= men:
        found.say(True, f"{title} {say(value)} mV, at or above the limit of {say(men)} mV for men ({source}).")
    elif value < women:
        found.say(False, f"{title} {say(value)} mV, below the limit of {say(women)} mV for women ({source}).")


def lvh(view: View) -> Evidence:
    """LVH: the voltages, and the strain pattern beside them."""
    found = lvh_voltage(view)
    for lead in ("V5", "V6"):
        st, t = view.of(lead, "st60_mv"), view.of(lead, "t_mv")
        if st is not None and t is not None and st <= -0.05 and t <= -0.1:
            found.say(
                True,
                f"ST level in {lead} {say(st)} mV with a T amplitude of {say(t)} mV, as in strain ({AHA}).",
            )
    return found


def rvh(view: View) -> Evidence:
    """RVH: tall R in V1, deep S in V5 and V6, axis to the right."""
    found = Evidence()
    r1, s1 = view.r("V1"), view.s("V1")
    found.reaches("R amplitude in V1", r1, 0.6, "mV", AHA, beyond=True)
    if r1 is not None and s1:
        found.reaches("R/S ratio in V1", round(r1 / s1, 2), 1, "times", AHA, beyond=True)
    found.reaches("R in V1 plus S in V5", total(r1, view.s("V5")), 1.05, "mV", AHA, silent=True, beyond=True)
    found.reaches("S depth in V6", view.s("V6"), 0.3, "mV", AHA, silent=True, beyond=True)
    found.reaches("QRS axis", view["qrs_axis_deg"], 90, "°", AHA, beyond=True)
    return found


def septal(view: View) -> Evidence:
    """SEHYP: deep and narrow Q waves on the left, as of a thick septum."""
    found = Evidence()
    for lead in ("I", "aVL", "V5", "V6"):
        q = view.of(lead, "q_mv")
        if q is not None and not view.qs(lead):
            found.reaches(
                f"Q depth in {lead}", abs(q), 0.3, "mV", "ESC 2014 on hypertrophic cardiomyopathy", silent=True
            )
    return found


def left_atrium(view: View) -> Evidence:
    """LAO/LAE."""
    found = Evidence()
    found.reaches("P duration", view["p_ms"], 120, "ms", AHA)
    p = view.of("V1", "p_mv")
    if p is not None and p <= -0.1:
        found.say(True, f"P amplitude in V1 {say(p)} mV, at or below the limit of -0.1 mV ({AHA}).")
    return found


def right_atrium(view: View) -> Evidence:
    """RAO/RAE."""
    found = Evidence()
    found.reaches("P amplitude in II", view.of("II", "p_mv"), 0.25, "mV", AHA, beyond=True)
    found.reaches("P amplitude in V1", view.of("V1", "p_mv"), 0.15, "mV", AHA, silent=True, beyond=True)
    return found


def low_voltage(view: View) -> Evidence:
    """LVOLT: R plus S under 0.5 mV in every limb lead, or under 1.0 mV in every chest lead."""
    found = Evidence()
    for leads, words, limit in ((LIMB_LEADS, "limb", 0.5), (CHEST_LEADS, "chest", 1.0)):
        sizes = [total(view.r(lead), view.s(lead)) for lead in leads]
        if all(size is not None for size in sizes):
            found.under(f"Largest QRS of the {words} leads", highest(sizes), limit, "mV", AHA)
    return found


def hypertrophy(view: View) -> Evidence:
    """HYP: what speaks for any of its kinds; against only if nothing does."""
    found = Evidence()
    for one in (lvh, rvh, left_atrium, right_atrium):
        found.add(one(view))
    if found.speaks_for:
        found.speaks_against.clear()
    return found
