"""A small PTB-XL of synthetic ECGs, in the layout of its publishers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import synthetic
import wfdb

from tools.recording import LEADS
from tools.scp import STATEMENTS


def small(folder: Path) -> Path:
    """Thirty-six synthetic records in PTB-XL's layout: narrow QRS is NORM, wide is CLBBB."""
    (folder / "records100").mkdir(parents=True)
    rows = []
    for number in range(36):
        wide = number % 2
        truth = synthetic.ecg(fs_hz=100, qrs_ms=150 if wide else 84, rate_bpm=60 + number, seed=number)
        signal = truth.recording.signal.T.astype(float)
        wfdb.wrsamp(f"{number:05d}_lr", 100, ["mV"] * 12, list(LEADS), signal, fmt=["16"] * 12, adc_gain=[1000] * 12,
                    baseline=[0] * 12, write_dir=str(folder / "records100"))  # fmt: skip
        fold = 8 if number >= 30 else 1 + number % 7
        rows.append({
            "ecg_id": number, "patient_id": number, "age": number or 300, "sex": wide,
            "scp_codes": str({"CLBBB" if wide else "NORM": 100.0, "SR": 0.0}),
            "strat_fold": fold, "filename_lr": f"records100/{number:05d}_lr",
        })  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "ptbxl_database.csv", index=False)
    kinds = [
        (code, 1 if one.superclass else None, one.superclass or None, one.subclass or None)
        for code, one in STATEMENTS.items()
    ]
    pd.DataFrame(kinds, columns=["code", "diagnostic", "diagnostic_class", "diagnostic_subclass"]).to_csv(
        folder / "scp_statements.csv", index=False
    )
    return folder
