"""What cannot be drawn: contradictions, rhythms without a label, statements that were not trained.

contradictions(("AFIB", "CLBBB"), 110.0, {">"})      raises UsageError where the words exclude each other
available(("IPMI",), codes)                          what is drawn for it, and a sentence on that
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations

from tools.drawing_phrases import phrases
from tools.errors import UsageError

SINUS = ("SR", "SARRH", "SBRAD", "STACH")
RHYTHMS = ("SR", "SARRH", "SBRAD", "STACH", "AFIB", "AFLT", "SVTAC", "PSVT", "SVARR", "PACE")
MAY_MEET = (
    {"SR", "SARRH"}, {"SR", "SBRAD"}, {"SR", "STACH"}, {"SARRH", "SBRAD"}, {"SARRH", "STACH"}, {"SVTAC", "PSVT"},
    {"SVTAC", "SVARR"}, {"PSVT", "SVARR"}, {"SR", "SVARR"}, {"SARRH", "SVARR"}, {"SBRAD", "SVARR"}, {"AFIB", "SVARR"},
    {"AFLT", "SVARR"}, {"SR", "PACE"}, {"AFIB", "PACE"}, {"AFLT", "PACE"}, {"SARRH", "PACE"}, {"SBRAD", "PACE"},
    {"STACH", "PACE"}, {"SVARR", "PACE"},
)  # fmt: skip
EXCLUDE = (
    {"CLBBB", "ILBBB", "CRBBB", "IRBBB"}, {"CLBBB", "IVCD"}, {"CLBBB", "LAFB"}, {"CLBBB", "LPFB"}, {"LAFB", "LPFB"},
    {"1AVB", "2AVB", "3AVB"}, {"LPR", "3AVB"}, {"LVOLT", "HVOLT"}, {"LVOLT", "VCLVH"}, {"BIGU", "TRIGU"},
    {"WPW", "CLBBB"}, {"WPW", "LPR"}, {"WPW", "1AVB"}, {"LOWT", "INVT"},
)  # fmt: skip
NO_P = {"AFIB": {"1AVB", "2AVB", "LPR", "PAC"}, "AFLT": {"1AVB", "LPR", "PAC"}}
BESIDE_NORMAL = frozenset({"NORM", *SINUS, "PVC", "PAC", "PRC(S)", "IRBBB", "LVOLT", "HVOLT"})
HARMLESS = frozenset({"NORM", *SINUS})
RATES = {"SBRAD": (0, 60), "STACH": (100, 400), "SVTAC": (100, 400), "PSVT": (100, 400), "SR": (25, 200)}
BOUNDS = {">": (90, 400), "<": (0, 65)}  # what is called fast, and slow
NEED = ("SR", "AFIB", "AFLT", "STACH", "SBRAD", "SVTAC", "PSVT", "PACE", "2AVB", "3AVB")  # without it: another ECG

NEAREST = {
    "IPMI": "IMI", "IPLMI": "ILMI", "ILMI": "IMI", "ALMI": "AMI", "ASMI": "AMI", "AMI": "ASMI", "LMI": "ALMI",
    "INJIN": "ISCIN", "INJIL": "ISCIL", "INJLA": "ISCLA", "INJAL": "ISCAL", "INJAS": "ISCAS", "ISCLA": "ISCAL",
    "ISCAN": "ISCAS", "ISCAS": "ISC_", "ISCAL": "ISC_", "ISCIN": "ISC_", "ISCIL": "ISC_", "PSVT": "SVTAC",
    "SVTAC": "PSVT", "SARRH": "SR", "PRC(S)": "PVC", "BIGU": "PVC", "TRIGU": "PVC", "TAB_": "NT_", "NT_": "NDT",
    "SEHYP": "LVH", "HVOLT": "VCLVH", "VCLVH": "LVH", "LPR": "1AVB", "1AVB": "LPR", "ABQRS": "IVCD",
}  # fmt: skip


def name(code: str) -> str:
    return phrases(code)[0]


def rhythms(codes: Collection[str]) -> str:
    """The rhythms among the codes, to tell what can be drawn."""
    named = [name(code) for code in RHYTHMS if code in codes]
    return ", ".join(named) or "none"


def available(asked: Sequence[str], codes: Collection[str]) -> tuple[tuple[str, ...], list[str], list[str]]:
    """(what is drawn of `asked`, codes for which nothing near was trained, sentences).

    Raises
    ------
    UsageError : a rhythm without which it would be quite another ECG was not trained.
    """
    drawn: list[str] = []
    missing, said = [], []
    for code in asked:
        near: str | None = code
        seen = set()
        while near is not None and near not in codes and near not in seen:
            seen.add(near)
            near = NEAREST.get(near)
        if near in codes and near is not None:
            drawn.append(near)
            if near != code:
                said.append(f"The generator has seen too little of {name(code)}; {name(near)} stands for it.")
        elif code == "SR":
            said.append("The generator was not trained on sinus rhythm as such.")
        elif code in NEED:
            raise UsageError(
                f"{name(code)} cannot be drawn: the generator has seen too few; rhythms it can draw: {rhythms(codes)}"
            )
        else:
            missing.append(code)
    return tuple(dict.fromkeys(drawn)), missing, said


def contradictions(codes: Sequence[str], bpm: float | None, bounds: Collection[str]) -> None:
    """Nothing, or a UsageError that names what excludes what."""
    for one, other in combinations(codes, 2):
        pair = {one, other}
        if pair <= set(RHYTHMS) and pair not in MAY_MEET:
            raise UsageError(f"{name(one)} and {name(other)} exclude each other; ask for one rhythm")
        if any(pair <= together for together in EXCLUDE):
            raise UsageError(f"{name(one)} and {name(other)} exclude each other; ask for one of them")
        for rhythm in pair & NO_P.keys():
            if (pair - {rhythm}) & NO_P[rhythm]:
                raise UsageError(f"{name(one)} and {name(other)} contradict each other: {name(rhythm)} has no P waves")
    odd = [code for code in codes if code not in BESIDE_NORMAL]
    if "NORM" in codes and odd:
        raise UsageError(f"an ECG with {name(odd[0])} is not a normal ECG; leave one of the two out")
    if len(bounds) > 1:
        raise UsageError("the words ask for a fast and a slow rate at once; ask for one")
    if bpm is None:
        return
    for code in codes:
        low, high = RATES.get(code, (0, 1000))
        if not low <= bpm <= high:
            wanted = f"at most {high}" if bpm > high else f"at least {low}"
            raise UsageError(f"{name(code)} at {bpm:g} bpm contradicts itself: {wanted} bpm")
    for bound in bounds:
        low, high = BOUNDS[bound]
        if not low <= bpm <= high:
            raise UsageError(f"{bpm:g} bpm is not {'fast' if bound == '>' else 'slow'}, yet the words say so")
