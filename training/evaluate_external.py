"""How the default reader reads ECGs of another country, another machine and other cardiologists: LUDB, not retrained.

    python -m training.evaluate external --data DIR/ludb

Lobachevsky University Database (Kalyakulina et al. 2020, doi 10.1109/ACCESS.2020.3029211): 10 s of twelve leads at
500 Hz, each with its cardiologists' diagnoses. For every diagnosis with at least five patients and a statement that
means the same: AUROC of the probability that `interpret_ecg` gives, with its bootstrap interval, the network alone
beside it (no measurements), and how often `interpret_ecg` names it where it is, and stays silent where it is not. Beat
marks of LUDB taught the delineator that the measurements stand on; no diagnosis taught anything here.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import wfdb
from tqdm import tqdm

from encoders.reading import reader
from tools.errors import UsageError
from tools.interpret import interpret_ecg
from tools.recording import read
from training import figures

DIAGNOSES = {  # what a cardiologist wrote, and the statements that say the same
    "sinus rhythm": (r"^Rhythm: Sinus rhythm", ("SR",)),
    "sinus bradycardia": (r"^Rhythm: Sinus bradycardia", ("SBRAD",)),
    "sinus arrhythmia": (r"^Rhythm: Sinus arrhythmia", ("SARRH",)),
    "atrial fibrillation": (r"^Rhythm: Atrial fibrillation", ("AFIB",)),
    "pacemaker": (r"pacing", ("PACE",)),
    "ventricular extrasystole": (r"^Ventricular extrasystole", ("PVC",)),
    "atrial extrasystole": (r"^Atrial extrasystole", ("PAC",)),
    "first degree AV block": (r"^I degree AV", ("1AVB",)),
    "incomplete right bundle branch block": (r"^Incomplete right bundle", ("IRBBB",)),
    "left anterior hemiblock": (r"^Left anterior hemiblock", ("LAFB",)),
    "left ventricular hypertrophy": (r"^Left ventricular hypertrophy", ("LVH",)),
    "left atrial overload or hypertrophy": (r"^Left atrial", ("LAO/LAE",)),
    "right atrial overload or hypertrophy": (r"^Right atrial", ("RAO/RAE",)),
    "STEMI, ischaemia or scar": (r"STEMI|[Ii]schemia|^Scar", ("MI", "STTC")),
    "repolarisation abnormality": (r"repolarization abnorm|[Ii]schemia|STEMI", ("STTC",)),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of LUDB, with RECORDS")


def run(args: argparse.Namespace) -> dict[str, Any]:
    if not (args.data / "RECORDS").exists():
        raise UsageError(f"{args.data} has no RECORDS: name the folder of LUDB with --data")
    names = [name for name in (args.data / "RECORDS").read_text().split() if (args.data / f"{name}.hea").exists()]
    said, both, alone, named, withheld = [], [], [], [], 0
    for name in tqdm(names, desc="LUDB"):
        [recording] = read(args.data / f"{name}.hea")
        result = interpret_ecg(recording)
        if result["probabilities"] is None:
            withheld += 1
            continue
        said.append(wfdb.rdheader(str(args.data / name)).comments)
        both.append(_flat(result["probabilities"]))
        seen = reader().read(recording.signal, recording.fs_hz, recording.leads)
        alone.append(_flat(seen.probabilities))
        named.append({finding["code"] for finding in result["findings"]})
    out: dict[str, Any] = {"records": len(said), "withheld": withheld, "diagnoses": {}}
    for what, (pattern, codes) in DIAGNOSES.items():
        truth = np.array([any(re.search(pattern, line) for line in lines) for lines in said])
        known = [code for code in codes if code in both[0]]
        if truth.sum() < figures.LEAST or not known:
            continue
        p, network = (np.array([[max(one[code] for code in known)] for one in view]) for view in (both, alone))
        one = figures.with_interval(p, truth[:, None].astype(float), network)
        told = np.array([bool(set(codes) & one) for one in named])
        out["diagnoses"][what] = {
            "codes": codes,
            "patients": int(truth.sum()),
            "auroc": one["auroc"],
            "interval": one["interval"],
            "network_alone": one["baseline"][0],
            "named_where_it_is": round(float(told[truth].mean()), 3) if _can_be_named(codes) else None,
            "silent_where_it_is_not": round(float(1 - told[~truth].mean()), 3) if _can_be_named(codes) else None,
        }
    return out


def _flat(probabilities: dict[str, dict[str, float]]) -> dict[str, float]:
    """{code: probability} of superclasses and statements."""
    return probabilities["superclass"] | probabilities["statement"]


def _can_be_named(codes: tuple[str, ...]) -> bool:
    """A superclass is no finding by itself."""
    return not set(codes) & {"MI", "STTC"}


def table(out: dict[str, Any]) -> str:
    head = "AUROC [95 % interval], network alone, named where it is, silent elsewhere"
    lines = [f"LUDB, {out['records']} records, {out['withheld']} withheld: {head}"]
    for what, one in out["diagnoses"].items():
        low, high = one["interval"]
        line = f"{what:38s} n={one['patients']:3d} {one['auroc']:.3f} [{low:.3f}, {high:.3f}]"
        line += f"  {one['network_alone']:.3f}"
        if one["named_where_it_is"] is not None:
            line += f"  {one['named_where_it_is']:.2f}  {one['silent_where_it_is_not']:.2f}"
        lines.append(line)
    return "\n".join(lines)
