"""PTB-XL as its publishers lay it out: signals, labels, patients, folds (Wagner et al. 2020, doi 10.13026/kfzx-aw45).

    table = load(Path("ptb-xl"))             # a folder with ptbxl_database.csv
    table.signal, table.labels["superclass"], table.fold

A folder that holds `ptb-xl` and, beside it, `ptb-xl-filtered` (the same layout, band-passed, chest amplitudes lost)
gives both; `table.raw` tells them apart. A label counts where its code is listed, whatever its likelihood, as in the
benchmark of Strodthoff et al. 2021 (doi 10.1109/JBHI.2020.3022989).
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import wfdb
from tqdm import tqdm

from tools.errors import UnreadableFile

FS_HZ = 100
SAMPLES = 1000
SETS = ("ptb-xl", "ptb-xl-filtered")
TRAIN, VALIDATION, TEST = tuple(range(1, 8)), (8,), (9,)  # fold 10 stays with the publishers' benchmark


@dataclass(frozen=True)
class Table:
    """Recordings and their labels.

    Attributes
    ----------
    signal : (records, 12, 1000) float32 mV at 100 Hz, leads I … V6.
    labels : {"superclass" | "subclass" | "statement": (records, codes) float32 of 0 and 1}.
    codes : {group: codes of those columns}.
    patient, fold, record : (records,) patient id, stratified fold 1-10, path of the WFDB record.
    raw : (records,) whether amplitudes are those recorded.
    """

    signal: np.ndarray
    labels: dict[str, np.ndarray]
    codes: dict[str, tuple[str, ...]]
    patient: np.ndarray
    fold: np.ndarray
    record: np.ndarray
    raw: np.ndarray

    def __len__(self) -> int:
        return len(self.fold)

    def rows(self, chosen: np.ndarray) -> Table:
        """The chosen records (a mask or indices)."""
        labels = {group: values[chosen] for group, values in self.labels.items()}
        of = {name: getattr(self, name)[chosen] for name in ("signal", "patient", "fold", "record", "raw")}
        return replace(self, labels=labels, **of)

    def folds(self, *wanted: int) -> Table:
        return self.rows(np.isin(self.fold, wanted))


def together(one: Table, other: Table) -> Table:
    """The records of both, of the same codes."""
    labels = {group: np.concatenate([one.labels[group], other.labels[group]]) for group in one.labels}
    names = ("signal", "patient", "fold", "record", "raw")
    rest = [np.concatenate([getattr(one, name), getattr(other, name)]) for name in names]
    return Table(rest[0], labels, one.codes, *rest[1:])


def load(root: Path) -> Table:
    """Every recording that the tables under `root` name; see the module.

    Raises
    ------
    UnreadableFile : where there is no ptbxl_database.csv, or a signal is not 10 s of twelve leads.
    """
    folders = [root / name for name in SETS if (root / name / "ptbxl_database.csv").exists()]
    folders = [root] if (root / "ptbxl_database.csv").exists() else folders
    if not folders:
        raise UnreadableFile(
            f"no ptbxl_database.csv in {root} or in {root}/ptb-xl; name the folder of PTB-XL by --data"
        )
    tables = [pd.read_csv(folder / "ptbxl_database.csv", index_col="ecg_id") for folder in folders]
    signals = [_signals(folder, table) for folder, table in zip(folders, tables, strict=True)]
    table = pd.concat(tables)
    raw = np.concatenate([np.full(len(one), _is_raw(folder, one)) for folder, one in zip(folders, tables, strict=True)])
    labels, codes = _labels(table, pd.read_csv(folders[0] / "scp_statements.csv", index_col=0))
    patient = table.patient_id.to_numpy(int)
    record = np.concatenate(
        [[str(folder / name) for name in one.filename_lr] for folder, one in zip(folders, tables, strict=True)]
    )
    return Table(np.concatenate(signals), labels, codes, patient, table.strat_fold.to_numpy(int), record, raw)


def people(root: Path) -> dict[str, tuple[float | None, str | None]]:
    """{path of a record, as `Table.record` has it: (age in years, "F" or "M")} of every table under `root`."""
    out = {}
    for folder in [root, *(root / name for name in SETS)]:
        if (folder / "ptbxl_database.csv").exists():
            table = pd.read_csv(folder / "ptbxl_database.csv")
            for name, age, sex in zip(table.filename_lr, table.age, table.sex, strict=True):
                years = None if np.isnan(age) else min(float(age), 90.0)  # over 89 is written as 300
                out[str(folder / name)] = (years, {0: "M", 1: "F"}.get(sex))
    return out


def _signals(folder: Path, table: pd.DataFrame) -> np.ndarray:
    out = np.empty((len(table), 12, SAMPLES), np.float32)
    for i, name in enumerate(tqdm(table.filename_lr, desc=f"reading {folder.name}", leave=False)):
        try:
            signal, fields = wfdb.rdsamp(str(folder / name))
        except (OSError, ValueError) as error:
            raise UnreadableFile(f"{folder / name}: {error}") from None
        if signal.shape != (SAMPLES, 12) or fields["fs"] != FS_HZ:
            raise UnreadableFile(f"{folder / name}: {signal.shape} at {fields['fs']} Hz is not 10 s of twelve leads")
        out[i] = np.nan_to_num(signal.T)
    return out


def _is_raw(folder: Path, table: pd.DataFrame) -> bool:
    """What a band-pass took the amplitudes of says so in its header."""
    comments = wfdb.rdheader(str(folder / table.filename_lr.iloc[0])).comments
    return not any("filter" in line.lower() or "band-pass" in line.lower() for line in comments)


def _labels(table: pd.DataFrame, statements: pd.DataFrame) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    listed = [set(ast.literal_eval(text)) for text in table.scp_codes]
    diagnostic = statements[statements.diagnostic == 1]
    meant = [codes & set(diagnostic.index) for codes in listed]
    groups = {
        "superclass": [{diagnostic.diagnostic_class[code] for code in codes} for codes in meant],
        "subclass": [{diagnostic.diagnostic_subclass[code] for code in codes} for codes in meant],
        "statement": [codes & set(statements.index) for codes in listed],
    }
    names = {
        "superclass": ("NORM", "MI", "STTC", "CD", "HYP"),
        "subclass": tuple(dict.fromkeys(diagnostic.diagnostic_subclass)),
        "statement": tuple(statements.index),
    }
    labels = {
        group: np.array([[code in said for code in names[group]] for said in rows], np.float32)
        for group, rows in groups.items()
    }
    return labels, names
