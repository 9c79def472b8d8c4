"""Criteria of rhythm, rate, AV and intraventricular conduction.

Conduction: AHA/ACCF/HRS recommendations, part III (Surawicz et al. 2009, doi 10.1016/j.jacc.2008.12.013). Atrial
fibrillation: ESC guidelines 2020 (doi 10.1093/eurheartj/ehaa612). The notches and slurs that these definitions name are
not measured; what is measured of them stands for them: durations, and which of Q, R, S and R' a lead has.
"""

from __future__ import annotations

from collections.abc import Callable

from tools.criteria_view import AHA, ESC_AF, Evidence, View, say


def _rate(view: View, low: int | None, high: int | None) -> Evidence:
    """The rate against the limits that a rhythm has."""
    found, rate = Evidence(), view["heart_rate_bpm"]
    if rate is None:
        return found
    if low is not None and high is not None:
        inside = low <= rate <= high
        side = "within" if inside else "below" if rate < low else "above"
        found.say(inside, f"Heart rate {say(rate)} bpm, {side} {low}–{high} bpm ({AHA}).")
    elif low is not None:
        found.reaches("Heart rate", rate, low, "bpm", AHA, beyond=True)
    elif high is not None:
        found.under("Heart rate", rate, high, "bpm", AHA)
    return found


def _p_waves(view: View, wanted: str) -> Evidence:
    found = Evidence()
    if view["p_waves"] in ("present", "absent"):
        found.say(view["p_waves"] == wanted, f"P waves are {view['p_waves']}.")
    return found


def sinus(low: int | None, high: int | None) -> Callable[[View], Evidence]:
    """SR, SBRAD, STACH: P waves before the QRS, upright in II, at a rate of that range."""

    def criteria(view: View) -> Evidence:
        found = _rate(view, low, high)
        found.add(_p_waves(view, "present"))
        axis = view["p_axis_deg"]
        if axis is not None:
            inside = 0 <= axis <= 75
            found.say(inside or None, f"P axis {say(axis)}°, within the 0° to 75° of sinus rhythm ({AHA}).")
        return found

    return criteria


def sinus_arrhythmia(view: View) -> Evidence:
    """SARRH: sinus P waves with RR intervals that differ by more than 120 ms."""
    found = _p_waves(view, "present")
    shortest, longest = view.rr.get("rr_min_ms"), view.rr.get("rr_max_ms")
    if shortest is not None and longest is not None:
        found.reaches("Longest less shortest RR interval", longest - shortest, 120, "ms", AHA, beyond=True)
    return found


def fibrillation(view: View) -> Evidence:
    """AFIB: irregularly irregular, no P waves."""
    found = Evidence()
    sd, kind, p = view.rr.get("rr_sd_ms"), view.rr.get("regularity"), view["p_waves"]
    if sd is not None and kind is not None:
        irregular = kind == "irregularly irregular"
        if irregular and p == "absent":
            found.say(True, f"RR SD {say(sd)} ms, irregularly irregular, and P waves are absent ({ESC_AF}).")
            return found
        found.say(irregular or (None if kind == "irregular" else False), f"RR SD {say(sd)} ms, {kind} ({ESC_AF}).")
    found.add(_p_waves(view, "absent"))
    return found


def flutter(view: View) -> Evidence:
    """AFLT: no P waves, often at about 150 bpm."""
    found, rate = _p_waves(view, "absent"), view["heart_rate_bpm"]
    if rate is not None and 130 <= rate <= 170:
        found.say(
            True,
            f"Heart rate {say(rate)} bpm, within the 130–170 bpm of atrial flutter conducted 2:1 (ACC/AHA/HRS 2015).",
        )
    return found


def supraventricular_tachycardia(view: View) -> Evidence:
    """SVTAC, PSVT: fast and narrow."""
    found = _rate(view, 100, None)
    found.under("QRS duration", view["qrs_ms"], 120, "ms", "ACC/AHA/HRS 2015")
    return found


def irregular_rhythm(view: View) -> Evidence:
    """SVARR, BIGU, TRIGU: not regular."""
    found, kind, sd = Evidence(), view.rr.get("regularity"), view.rr.get("rr_sd_ms")
    if kind is not None and sd is not None:
        found.say(kind != "regular", f"RR SD {say(sd)} ms, {kind}.")
    return found


def ectopic(*kinds: str) -> Callable[[View], Evidence]:
    """PVC, PAC, PRC(S): beats that the detector calls early or of another shape."""

    def criteria(view: View) -> Evidence:
        found, of = Evidence(), view.ectopic.get("of")
        counts = [count for kind in kinds if (count := view.ectopic.get(kind)) is not None]
        if of and len(counts) == len(kinds):
            words = " and ".join(f"{count} {kind}" for count, kind in zip(counts, kinds, strict=True))
            found.say(sum(counts) > 0, f"Ectopic beats: {words} of {of} beats.")
        return found

    return criteria


def pacing(view: View) -> Evidence:
    """PACE."""
    found = Evidence()
    if view["paced"]:
        found.say(True, "Pacing spikes are seen before the QRS.")
    return found


def long_pr(view: View) -> Evidence:
    """1AVB, LPR."""
    found = Evidence()
    found.reaches("PR interval", view["pr_ms"], 200, "ms", AHA, beyond=True)
    return found


def dropped_beats(view: View) -> Evidence:
    """2AVB: pauses."""
    found = irregular_rhythm(view)
    shortest, longest = view.rr.get("rr_min_ms"), view.rr.get("rr_max_ms")
    if shortest and longest and longest >= 1.6 * shortest:
        found.say(
            True, f"Longest RR interval {say(longest)} ms, at least 1.6 times the shortest of {say(shortest)} ms."
        )
    return found


def complete_av_block(view: View) -> Evidence:
    """3AVB: slow, P waves without a constant distance to the QRS."""
    found = _rate(view, None, 50)
    if view["pr_ms"] is not None:
        found.say(False, f"PR interval {say(view['pr_ms'])} ms, the same before every QRS.")
    return found


def preexcitation(view: View) -> Evidence:
    """WPW: short PR and wide QRS."""
    found = Evidence()
    found.under("PR interval", view["pr_ms"], 120, "ms", AHA)
    found.reaches("QRS duration", view["qrs_ms"], 120, "ms", AHA, silent=True)
    return found


def _wide(found: Evidence, view: View) -> bool | None:
    return found.reaches("QRS duration", view["qrs_ms"], 120, "ms", AHA)


def _between(found: Evidence, view: View) -> None:
    """110 to 119 ms, of the incomplete blocks."""
    qrs = view["qrs_ms"]
    if qrs is not None:
        inside = 110 <= qrs < 120
        side = "within" if inside else "below" if qrs < 110 else "above"
        found.say(inside, f"QRS duration {say(qrs)} ms, {side} the 110–119 ms of an incomplete block ({AHA}).")


def _left_shape(found: Evidence, view: View) -> None:
    """Broad R without Q in V6 and rS or QS in V1."""
    r6, q6, r1, s1 = view.r("V6"), view.of("V6", "q_mv"), view.r("V1"), view.s("V1")
    width = view.of("V6", "r_ms")
    if r6 is None or q6 is None or r1 is None or s1 is None or width is None:
        return
    left, first = r6 > 0 and q6 == 0, s1 > r1
    if left and first:
        name = "QS" if view.qs("V1") else "rS"
        found.say(
            True,
            f"R wave of {say(width)} ms without a Q in V6, and {name} in V1 with an S depth of {say(s1)} mV ({AHA}).",
        )
    if q6 < 0 and r6 > 0:
        found.say(False, f"Q amplitude in V6 {say(q6)} mV, which left bundle-branch block does not have ({AHA}).")
    if not first:
        found.say(False, f"R amplitude in V1 {say(r1)} mV, not below its S depth of {say(s1)} mV ({AHA}).")


def _right_shape(found: Evidence, view: View) -> None:
    """R' in V1 or V2, broad S in I and V6."""
    known = False
    for lead in ("V1", "V2"):
        second, first, s = view.of(lead, "r2_mv"), view.of(lead, "r_mv"), view.s(lead)
        if second is None or first is None or s is None:
            continue
        known = True
        if second > 0:
            found.say(True, f"R' amplitude in {lead} {say(second)} mV after an R amplitude of {say(first)} mV ({AHA}).")
            break
        if lead == "V1" and first > s and (view.of(lead, "r_ms") or 0) > 50:
            found.say(True, f"R wave in V1 {say(view.of(lead, 'r_ms'))} ms, above the limit of 50 ms ({AHA}).")
            break
    else:
        if known:
            found.say(False, f"R' is absent in V1 and V2 ({AHA}).")
    for lead in ("I", "V6"):
        r, s = view.of(lead, "r_ms"), view.of(lead, "s_ms")
        if r and s and (s > 40 or s > r):
            found.say(
                True, f"S wave in {lead} {say(s)} ms, above 40 ms or longer than its R wave of {say(r)} ms ({AHA})."
            )


def bundle(left: bool, complete: bool) -> Callable[[View], Evidence]:
    """CLBBB, ILBBB, CRBBB, IRBBB: duration and shape."""

    def criteria(view: View) -> Evidence:
        found = Evidence()
        if complete:
            _wide(found, view)
        else:
            _between(found, view)
        (_left_shape if left else _right_shape)(found, view)
        return found

    return criteria


def _side(inside: bool) -> str:
    return "within" if inside else "outside"


def anterior_fascicle(view: View) -> Evidence:
    """LAFB: axis between -45° and -90°, a Q in aVL, narrow."""
    found, axis = Evidence(), view["qrs_axis_deg"]
    if axis is not None:
        inside = -90 <= axis <= -45
        found.say(
            inside,
            f"QRS axis {say(axis)}°, {_side(inside)} the -90° to -45° of an anterior hemiblock ({AHA}).",
        )
    q = view.of("aVL", "q_mv")
    if q is not None and q < 0 and view.r("aVL"):
        found.say(
            True, f"Q amplitude in aVL {say(q)} mV before an R amplitude of {say(view.r('aVL') or 0)} mV ({AHA})."
        )
    return found


def posterior_fascicle(view: View) -> Evidence:
    """LPFB: axis between 90° and 180°, rS in I, qR in III."""
    found, axis = Evidence(), view["qrs_axis_deg"]
    if axis is not None:
        inside = 90 <= axis <= 180
        found.say(
            inside,
            f"QRS axis {say(axis)}°, {_side(inside)} the 90° to 180° of a posterior hemiblock ({AHA}).",
        )
    q = view.of("III", "q_mv")
    if q is not None and q < 0 and view.r("III") and (view.s("I") or 0) > (view.r("I") or 0):
        found.say(True, f"Q amplitude in III {say(q)} mV, with an S depth in I of {say(view.s('I') or 0)} mV ({AHA}).")
    return found


def fascicle(view: View) -> Evidence:
    """LAFB/LPFB: an axis that either of them has."""
    found, axis = Evidence(), view["qrs_axis_deg"]
    if axis is not None:
        inside = -90 <= axis <= -45 or 90 <= axis <= 180
        found.say(
            inside,
            f"QRS axis {say(axis)}°, {_side(inside)} -90° to -45° and 90° to 180° ({AHA}).",
        )
    return found


def wide_qrs(view: View) -> Evidence:
    """IVCD, ABQRS, CD: QRS over 110 ms."""
    found = Evidence()
    found.reaches("QRS duration", view["qrs_ms"], 110, "ms", AHA, beyond=True)
    return found


def conduction(view: View) -> Evidence:
    """CD: wide QRS, long PR, axis of a fascicular block."""
    found = wide_qrs(view)
    for one in (long_pr, fascicle):
        found.add(one(view))
    return found


def ventricular_tachycardia(view: View) -> Evidence:
    """VTACH: fast and wide without P waves."""
    found = _rate(view, 100, None)
    _wide(found, view)
    found.add(_p_waves(view, "absent"))
    return found
