"""The SCP-ECG statement codes: what each is called, where a reader says it, and what it belongs to.

Names are in the wording of the AHA/ACC/HRS statements (Mason et al. 2007, doi 10.1016/j.jacc.2007.01.025); codes,
subclasses and superclasses are those of PTB-XL's `scp_statements.csv` (Wagner et al. 2020). VFIB and VTACH, which
PTB-XL does not have, are SCP-ECG's for what the measurements alone can raise.

    statement("CLBBB").name        "complete left bundle-branch block"
    belongs("ILMI", "MI")          True: a finding of ILMI says all that one of MI would
"""

from __future__ import annotations

from dataclasses import dataclass

PARTS = ("rhythm", "conduction", "hypertrophy", "ischaemia", "conclusion")  # after rate, axis, intervals: as it is read


@dataclass(frozen=True)
class Statement:
    """One code. `superclass` and `subclass` are "" where the code has none (form and rhythm statements)."""

    code: str
    name: str
    part: str
    superclass: str = ""
    subclass: str = ""


def _table(part: str, superclass: str, rows: str) -> dict[str, Statement]:
    """Rows of "CODE | subclass | name"."""
    found = {}
    for row in rows.strip().splitlines():
        code, subclass, name = (cell.strip() for cell in row.split("|"))
        found[code] = Statement(code, name, part, superclass, subclass)
    return found


STATEMENTS: dict[str, Statement] = {
    **_table("rhythm", "", """
        SR    | | sinus rhythm
        AFIB  | | atrial fibrillation
        AFLT  | | atrial flutter
        STACH | | sinus tachycardia
        SBRAD | | sinus bradycardia
        SARRH | | sinus arrhythmia
        SVTAC | | supraventricular tachycardia
        PSVT  | | paroxysmal supraventricular tachycardia
        SVARR | | supraventricular arrhythmia
        PACE  | | ventricular or atrial pacing
        PVC   | | ventricular premature complexes
        PAC   | | atrial premature complexes
        PRC(S)| | premature complexes
        BIGU  | | bigeminy
        TRIGU | | trigeminy
        VTACH | | ventricular tachycardia
        VFIB  | | ventricular fibrillation
    """),
    **_table("conduction", "CD", """
        1AVB  | _AVB      | first-degree AV block
        2AVB  | _AVB      | second-degree AV block
        3AVB  | _AVB      | complete AV block
        CLBBB | CLBBB     | complete left bundle-branch block
        ILBBB | ILBBB     | incomplete left bundle-branch block
        CRBBB | CRBBB     | complete right bundle-branch block
        IRBBB | IRBBB     | incomplete right bundle-branch block
        LAFB  | LAFB/LPFB | left anterior fascicular block
        LPFB  | LAFB/LPFB | left posterior fascicular block
        IVCD  | IVCD      | nonspecific intraventricular conduction disturbance
        WPW   | WPW       | ventricular preexcitation
    """),
    **_table("conduction", "", """
        LPR   | | prolonged PR interval
        ABQRS | | abnormal QRS
    """),
    **_table("hypertrophy", "HYP", """
        LVH     | LVH     | left ventricular hypertrophy
        RVH     | RVH     | right ventricular hypertrophy
        SEHYP   | SEHYP   | septal hypertrophy
        LAO/LAE | LAO/LAE | left atrial enlargement
        RAO/RAE | RAO/RAE | right atrial enlargement
    """),
    **_table("hypertrophy", "", """
        VCLVH | | voltage criteria for left ventricular hypertrophy
        HVOLT | | high QRS voltage
        LVOLT | | low QRS voltage
    """),
    **_table("ischaemia", "MI", """
        AMI   | AMI | anterior myocardial infarction
        ASMI  | AMI | anteroseptal myocardial infarction
        ALMI  | AMI | anterolateral myocardial infarction
        INJAS | AMI | subendocardial injury in anteroseptal leads
        INJAL | AMI | subendocardial injury in anterolateral leads
        INJLA | AMI | subendocardial injury in lateral leads
        IMI   | IMI | inferior myocardial infarction
        ILMI  | IMI | inferolateral myocardial infarction
        IPMI  | IMI | inferoposterior myocardial infarction
        IPLMI | IMI | inferoposterolateral myocardial infarction
        INJIN | IMI | subendocardial injury in inferior leads
        INJIL | IMI | subendocardial injury in inferolateral leads
        LMI   | LMI | lateral myocardial infarction
        PMI   | PMI | posterior myocardial infarction
    """),
    **_table("ischaemia", "STTC", """
        ISC_  | ISC_ | nonspecific ischemia
        ISCAN | ISCA | ischemia in anterior leads
        ISCAS | ISCA | ischemia in anteroseptal leads
        ISCAL | ISCA | ischemia in anterolateral leads
        ISCLA | ISCA | ischemia in lateral leads
        ISCIN | ISCI | ischemia in inferior leads
        ISCIL | ISCI | ischemia in inferolateral leads
        NST_  | NST_ | nonspecific ST changes
        NDT   | STTC | nondiagnostic T-wave abnormalities
        DIG   | STTC | digitalis effect
        LNGQT | STTC | prolonged QT interval
        ANEUR | STTC | ST-T changes of ventricular aneurysm
        EL    | STTC | electrolyte disturbance or drug effect
    """),
    **_table("ischaemia", "", """
        STD_  | | ST depression
        STE_  | | ST elevation
        QWAVE | | Q waves
        INVT  | | T-wave inversion
        LOWT  | | low T-wave amplitude
        NT_   | | nonspecific T-wave changes
        TAB_  | | T-wave abnormality
    """),
    "NORM": Statement("NORM", "normal ECG", "conclusion", "NORM", "NORM"),
}  # fmt: skip

GROUPED: dict[str, Statement] = {
    "MI": Statement("MI", "myocardial infarction", "ischaemia", "MI"),
    "CD": Statement("CD", "conduction disturbance", "conduction", "CD"),
    "HYP": Statement("HYP", "hypertrophy", "hypertrophy", "HYP"),
    "STTC": Statement("STTC", "ST-T changes", "ischaemia", "STTC", "STTC"),
    "_AVB": Statement("_AVB", "AV block", "conduction", "CD", "_AVB"),
    "LAFB/LPFB": Statement("LAFB/LPFB", "fascicular block", "conduction", "CD", "LAFB/LPFB"),
    "ISCA": Statement("ISCA", "ischemia in anterior or lateral leads", "ischaemia", "STTC", "ISCA"),
    "ISCI": Statement("ISCI", "ischemia in inferior or inferolateral leads", "ischaemia", "STTC", "ISCI"),
}  # superclasses and subclasses that are no statement

# What a finding says of another: the broader one need not be said beside it.
IMPLIED = {
    "1AVB": {"LPR"}, "LVH": {"VCLVH", "HVOLT"}, "VCLVH": {"HVOLT"}, "PVC": {"PRC(S)"}, "PAC": {"PRC(S)"},
    "ASMI": {"AMI"}, "ALMI": {"AMI"}, "ILMI": {"IMI"}, "IPMI": {"IMI"}, "IPLMI": {"IMI", "ILMI", "IPMI"},
    "INVT": {"TAB_", "NT_"}, "LOWT": {"TAB_", "NT_"}, "AFIB": {"SVARR"}, "AFLT": {"SVARR"}, "SVTAC": {"SVARR"},
    "PSVT": {"SVARR", "SVTAC"},
}  # fmt: skip


def statement(code: str) -> Statement:
    """The entry of a code; an unknown one is called by its code and said last."""
    return STATEMENTS.get(code) or GROUPED.get(code) or Statement(code, code, "conclusion")


def belongs(code: str, broader: str) -> bool:
    """Whether a finding of `code` makes one of `broader` (a class above it, or a vaguer statement) superfluous."""
    if code == broader:
        return False
    entry = statement(code)
    if broader in IMPLIED.get(code, ()):
        return True
    if broader == "ABQRS":
        return entry.superclass == "CD" and "AVB" not in code
    if broader == "QWAVE":
        return entry.superclass == "MI" and not code.startswith("INJ")
    if broader == "ISC_":
        return code.startswith("ISC")
    return broader in (entry.superclass, entry.subclass)
