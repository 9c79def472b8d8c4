"""Published ECG criteria: what of a measurement speaks for a finding, and what against it.

    found = evidence("CLBBB", measure_ecg(recording))
    found.speaks_for      ["QRS duration 152 ms, at or above the limit of 120 ms (AHA/ACCF/HRS 2009).", …]
    found.speaks_against  […]

One pure function a finding, by chapter: tools/criteria_conduction.py (rhythm, AV and intraventricular conduction),
tools/criteria_chamber.py (hypertrophy, voltage), tools/criteria_ischaemia.py (infarction, ST, T, QT). Each sentence
stands alone with quantity, number, unit, limit and source. What was not measured gives no sentence. The limits are
those of adults; of a child only what does not depend on them is said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tools import criteria_chamber as chamber
from tools import criteria_conduction as conduction
from tools import criteria_ischaemia as ischaemia
from tools.criteria_ischaemia import ANTERIOR, EVERY, INFERIOR, LATERAL, SEPTAL, infarction, with_posterior
from tools.criteria_view import AHA, Evidence, View, say
from tools.limits import ADULT_YEARS
from tools.measure_words import NO_QRS

SIDE = ("V5", "V6")
AGELESS = frozenset({"AFIB", "PACE", "PVC", "PAC", "PRC(S)", "SVARR", "BIGU", "TRIGU", "2AVB", "VFIB"})


def normal(view: View) -> Evidence:
    """NORM: everything usual within its limits."""
    found = conduction.sinus(60, 100)(view)
    pr, axis = view["pr_ms"], view["qrs_axis_deg"]
    if pr is not None:
        side = "within" if 120 <= pr <= 200 else "below" if pr < 120 else "above"
        found.say(side == "within", f"PR interval {say(pr)} ms, {side} 120–200 ms ({AHA}).")
    if view["qrs_ms"] is not None:
        usual = view["qrs_ms"] <= 110
        side = "at or below" if usual else "above"
        found.say(usual, f"QRS duration {say(view['qrs_ms'])} ms, {side} the limit of 110 ms ({AHA}).")
    if axis is not None:
        usual = -30 <= axis <= 90
        found.say(usual, f"QRS axis {say(axis)}°, {'within' if usual else 'outside'} -30° to 90° ({AHA}).")
    for one in (ischaemia.long_qt, ischaemia.st_elevation, ischaemia.st_depression):
        other = one(view)  # what speaks against those speaks for this
        found.add(Evidence(other.speaks_against, other.speaks_for))
    return found


def flutter_or_fibrillation_of_ventricles(view: View) -> Evidence:
    """VFIB: no QRS to be told apart."""
    found = Evidence()
    if any(NO_QRS in warning for warning in view["warnings"] or ()):
        found.say(True, "No QRS stands out from the signal.")
    return found


CRITERIA: dict[str, Callable[[View], Evidence]] = {
    "NORM": normal,
    # rhythm
    "SR": conduction.sinus(None, None), "STACH": conduction.sinus(100, None), "SBRAD": conduction.sinus(None, 60),
    "SARRH": conduction.sinus_arrhythmia, "AFIB": conduction.fibrillation, "AFLT": conduction.flutter,
    "SVTAC": conduction.supraventricular_tachycardia, "PSVT": conduction.supraventricular_tachycardia,
    "SVARR": conduction.irregular_rhythm, "BIGU": conduction.irregular_rhythm, "TRIGU": conduction.irregular_rhythm,
    "PVC": conduction.ectopic("ventricular"), "PAC": conduction.ectopic("supraventricular"),
    "PRC(S)": conduction.ectopic("ventricular", "supraventricular"), "PACE": conduction.pacing,
    "VTACH": conduction.ventricular_tachycardia, "VFIB": flutter_or_fibrillation_of_ventricles,
    # conduction
    "1AVB": conduction.long_pr, "LPR": conduction.long_pr, "_AVB": conduction.long_pr,
    "2AVB": conduction.dropped_beats, "3AVB": conduction.complete_av_block, "WPW": conduction.preexcitation,
    "CLBBB": conduction.bundle(left=True, complete=True), "ILBBB": conduction.bundle(left=True, complete=False),
    "CRBBB": conduction.bundle(left=False, complete=True), "IRBBB": conduction.bundle(left=False, complete=False),
    "LAFB": conduction.anterior_fascicle, "LPFB": conduction.posterior_fascicle, "LAFB/LPFB": conduction.fascicle,
    "IVCD": conduction.wide_qrs, "ABQRS": conduction.wide_qrs, "CD": conduction.conduction,
    # hypertrophy and voltage
    "LVH": chamber.lvh, "VCLVH": chamber.lvh_voltage, "HVOLT": chamber.lvh_voltage, "RVH": chamber.rvh,
    "SEHYP": chamber.septal, "LAO/LAE": chamber.left_atrium, "RAO/RAE": chamber.right_atrium,
    "LVOLT": chamber.low_voltage, "HYP": chamber.hypertrophy,
    # infarction
    "MI": infarction(EVERY), "AMI": infarction(SEPTAL, ANTERIOR, SIDE), "ASMI": infarction(SEPTAL, ANTERIOR),
    "ALMI": infarction(ANTERIOR, LATERAL), "LMI": infarction(LATERAL), "IMI": infarction(INFERIOR),
    "ILMI": infarction(INFERIOR, LATERAL), "IPMI": with_posterior(INFERIOR),
    "IPLMI": with_posterior(INFERIOR, LATERAL), "PMI": ischaemia.posterior,
    "QWAVE": ischaemia.q_waves, "STE_": ischaemia.st_elevation, "ANEUR": ischaemia.aneurysm,
    # ischaemia, ST and T
    **{code: ischaemia.ischaemia(*leads) for code, leads in {
        "ISC_": (), "ISCA": (SEPTAL, ANTERIOR, LATERAL), "ISCAN": (SEPTAL, ANTERIOR), "ISCAS": (SEPTAL, ANTERIOR),
        "ISCAL": (ANTERIOR, LATERAL), "ISCLA": (LATERAL,), "ISCI": (INFERIOR, SIDE), "ISCIN": (INFERIOR,),
        "ISCIL": (INFERIOR, LATERAL), "INJAS": (SEPTAL, ANTERIOR), "INJAL": (ANTERIOR, LATERAL), "INJLA": (LATERAL,),
        "INJIN": (INFERIOR,), "INJIL": (INFERIOR, LATERAL),
    }.items()},
    "NST_": ischaemia.unspecific, "NDT": ischaemia.unspecific, "NT_": ischaemia.unspecific,
    "TAB_": ischaemia.unspecific, "STTC": ischaemia.unspecific, "LOWT": ischaemia.low_t, "INVT": ischaemia.t_inversion,
    "STD_": ischaemia.st_depression, "LNGQT": ischaemia.long_qt,
    "DIG": ischaemia.digitalis, "EL": ischaemia.electrolytes,
}  # fmt: skip


def evidence(code: str, measured: dict[str, Any]) -> Evidence:
    """Sentences for and against the finding of an SCP code, subclass or superclass; none for an unknown one.

    Parameters
    ----------
    measured : result of `measure_ecg`; whatever it lacks gives no sentence.
    """
    view = View(measured)
    child = view.age is not None and view.age < ADULT_YEARS
    if code not in CRITERIA or (child and code not in AGELESS):
        return Evidence()
    found = CRITERIA[code](view)
    return Evidence(list(dict.fromkeys(found.speaks_for)), list(dict.fromkeys(found.speaks_against)))
