"""`predict_vtvf_risk`: the risk of ventricular tachycardia or fibrillation, and what it rests on.

    strip (or, for a model of one's own, any ECG) -> named features (tools/risk_inputs.py)
    -> calibrated trees and their exact contributions (encoders/risk.py) -> words (tools/risk_words.py), waterfall

The hybrid of arXiv 2510.17172: an encoder's probabilities as features of XGBoost, explained by SHAP. Its cohort of
infarct patients is private, so the shipped model learnt from public ambulatory strips (training/risk_data.py): VT or VF
within five minutes. Its card and its warnings say how little that is; `--risk-model FILE` uses one that
`python -m training.risk --cohort cohort.csv` made of a hospital's own patients.

Where the risk is no question (VT or VF seems to run already) or the model has no answer (a resting ECG for a model of
strips, under a minute, no beats to be told), it is None and `warnings` says why.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tools.errors import MissingWeights, UsageError
from tools.interpret import TALLEST_MV, height_mv
from tools.recording import LEADS, Recording
from tools.risk_features import MINUTE_S
from tools.risk_inputs import LONGEST_S, MOST_LEADS, ecg_values, number, strip_of, strip_values
from tools.risk_running import ongoing
from tools.risk_words import said, sentences

__all__ = ["predict_vtvf_risk", "sentences"]

EMPTY_S = 1.0  # of a strip without a recording, that are said
FEWEST_KNOWN = 0.5  # of the features, to give a risk


def predict_vtvf_risk(recording: Recording, arguments: Any = None, out: Path | None = None) -> dict[str, Any]:
    """Risk of VT or VF of one recording, explained; `arguments` may name `risk_model` and `covariates`.

    Returns
    -------
    risk : 0-1, calibrated on the model's cohort; risk_interval : [low, high], 95 %, from models of redrawn patients.
    base_value : log-odds without anything known; log_odds = base_value + sum of shap.
    explanation : [{feature, value, shap, words}], the strongest first; value None where it was not measured.
    horizon, cohort, share_in_cohort : of what, on whom it was learnt, and the share of events there.
    figure : path of the waterfall (SVG), or None; running_s : stretches in which VT or VF seems to run; warnings.

    Raises
    ------
    UsageError : a file that is no risk model, covariates that it does not know.  MissingWeights : no shipped model.
    """
    model = _opened(getattr(arguments, "risk_model", None))
    warnings = list(recording.warnings)
    result: dict[str, Any] = {"risk": None, "risk_interval": None, "base_value": None, "log_odds": None}
    result |= {"explanation": [], "horizon": model.config["horizon"], "cohort": model.config["cohort"]}
    result |= {"share_in_cohort": model.config["share"], "figure": None, "running_s": []}
    extra = _covariates(getattr(arguments, "covariates", None), model, recording)
    reason = _outside(recording, model.config["input"])
    if reason is None:
        result["running_s"], reason = _running(recording)
    values = None
    if reason is None:
        values, reason = _values(recording, model.config, warnings)
    if reason is not None or values is None:
        return result | {"warnings": [f"Risk is withheld: {reason}.", *warnings]}
    values |= extra
    seen = model.read(values)
    order = sorted(seen.contributions, key=lambda name: -abs(seen.contributions[name]))
    usual = model.config["usual"]
    result["explanation"] = [
        {
            "feature": name,
            "value": _plain(values.get(name)),
            "shap": round(seen.contributions[name], 6),
            "words": said(name, _plain(values.get(name)), usual),
        }
        for name in order
    ]
    result |= {"risk": round(seen.risk, 4), "risk_interval": [round(value, 4) for value in seen.interval]}
    result |= {"base_value": round(seen.base_log_odds, 6), "log_odds": round(seen.log_odds, 6)}
    warnings += _doubts(model, values)
    result["figure"] = _figure(recording, result, out)
    return result | {"warnings": list(dict.fromkeys([*model.config.get("warnings", []), *warnings]))}


def _opened(file: str | None) -> Any:
    """The shipped model, or the one of a file."""
    from encoders import risk
    from encoders.weights import MissingModel

    try:
        return risk.model() if file is None else risk.RiskModel(Path(file).expanduser())
    except MissingModel as error:
        if file is None:
            raise MissingWeights(str(error)) from None
        raise UsageError("--risk-model: there is no such file; python -m training.risk writes one") from None
    except Exception:
        raise UsageError("--risk-model: the file is no risk model; python -m training.risk writes one") from None


def _covariates(text: str | None, model: Any, recording: Recording) -> dict[str, float]:
    """ "lvef=35 nyha=2", and age and sex of the recording where the model takes them."""
    wanted = model.config.get("covariates", [])
    found = {name: number(recording.meta.get(name)) for name in ("age", "sex") if name in wanted}
    for word in (text or "").replace(",", " ").split():
        name, _, value = word.partition("=")
        if name not in wanted:
            known = ", ".join(wanted) or "none"
            raise UsageError(f"--covariates: the model does not take {name[:30]!r}; it takes {known}")
        try:
            found[name] = number(value)
        except ValueError:
            raise UsageError(f"--covariates: {name}={value[:20]} is no number") from None
    return found


def _outside(recording: Recording, kind: str) -> str | None:
    """Why the model cannot read such a recording, or None."""
    if kind == "strip":
        page = sum(name in LEADS for name in recording.leads) >= 6
        if recording.duration_s < MINUTE_S:
            if page:
                return (
                    "the model reads ambulatory strips of a minute or more, this is a resting ECG of "
                    f"{recording.duration_s:.0f} s; a model of resting ECGs is made by python -m training.risk "
                    "and named with --risk-model"
                )
            return f"{recording.duration_s:.0f} s of signal are too short, a minute is needed"
        return None  # the amplitude does not matter: every lead is divided by its own
    if recording.unit != "mV":
        return f"the signal is in {recording.unit[:12]}, not in mV: give its unit"
    if recording.duration_s < 2:
        return "under 2 s of signal are too short"
    if (height := height_mv(recording)) > TALLEST_MV:
        return f"beats of {height:.0f} mV look like microvolt read as millivolt: give the unit of the file"
    return None


def _running(recording: Recording) -> tuple[list[list[float]], str | None]:
    """Stretches in which VT or VF seems to run, and the sentence that says so."""
    found = [[round(a, 1), round(b, 1)] for a, b in ongoing(recording)]
    if not found:
        return [], None
    where = ", ".join(f"{a:.0f} to {b:.0f} s" for a, b in found[:3]) + (" and later" if len(found) > 3 else "")
    return found, f"VT or VF seems to run already, from {where}: that comes first, call for help if it is true"


def _values(
    recording: Recording, config: dict[str, Any], warnings: list[str]
) -> tuple[dict[str, Any] | None, str | None]:
    """Features by name, or why there are none."""
    if config["input"] == "ecg":
        values: dict[str, Any] | None = ecg_values(recording, config.get("encoder", "reading"))
    else:
        strip = strip_of(recording)
        if len(strip.leads) < len(recording.leads):
            warnings.append(
                f"Of {len(recording.leads)} leads {' and '.join(strip.leads)} are read: {MOST_LEADS} at most."
            )
        if recording.duration_s > LONGEST_S + 1:
            warnings.append(f"The last {LONGEST_S / 60:.0f} minutes are read.")
        if (empty_s := float((~np.isfinite(strip.signal)).all(axis=0).sum() / strip.fs_hz)) > EMPTY_S:
            warnings.append(f"Nothing was recorded for {empty_s:.0f} s of them: rate and rhythm are less sure.")
        values = strip_values(recording, config.get("encoder", "reading"))
        if values is None:
            return None, "no minute of the signal shows beats that can be told from noise"
    known = [name for name in config["features"] if values is not None and np.isfinite(values.get(name, np.nan))]
    told = [name for name in config["features"] if name not in config.get("covariates", [])]
    if told and len(known) < FEWEST_KNOWN * len(told):
        return None, f"only {len(known)} of {len(told)} features can be measured in this recording"
    return values, None


def _doubts(model: Any, values: dict[str, Any]) -> list[str]:
    """What is absent or beyond what the cohort had."""
    absent = [name for name in model.config.get("covariates", []) if not np.isfinite(values.get(name, np.nan))]
    out = [f"Not given and left open: {', '.join(absent)}; give them with --covariates."] if absent else []
    ends = model.config.get("range", {})
    beyond = [
        name
        for name in model.features
        if name in ends and np.isfinite(values.get(name, np.nan)) and not ends[name][0] <= values[name] <= ends[name][1]
    ]
    if beyond:
        listed = ", ".join(name.replace("_", " ") for name in beyond[:4])
        out.append(f"Outside what the cohort had: {listed}; trees say nothing about values they have not seen.")
    return out


def _plain(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 4)


def _figure(recording: Recording, result: dict[str, Any], out: Path | None) -> str | None:
    if out is None:
        return None
    from tools.paper import save
    from tools.risk_figure import waterfall

    return str(save(waterfall(result), recording, "risk", "svg", out))
