"""What teaches the reading network beside the labels: the trees' opinion of recordings that they were not fitted on.

    soft = opinions(table, vectors, labels, seed)     # of the training folds, each fold by trees of the others
    more = strips(DIR, codes)                         # ECGs that nobody has labelled, with the trees' opinion of them

The trees see exact voltages and intervals of twelve whole leads; the network is shown the same recording with leads
and stretches missing and learns to say what they say (distillation; Hinton et al. 2015). Nobody's own labels teach the
trees that judge him, so that their doubt is honest.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.signal import resample_poly
from tqdm import tqdm

from encoders.reading import tree_features
from tools.recording import LEADS, read
from training import ptbxl, reading_trees
from training.quality import labels as verdicts


def opinions(table: ptbxl.Table, vectors: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """(records, codes) probabilities for the records of `table`, each fold by trees fitted on its other folds."""
    out = np.empty(labels.shape, np.float32)
    for fold in tqdm(np.unique(table.fold), desc="teachers"):
        apart = table.fold == fold
        booster = reading_trees.fit(vectors[~apart], labels[~apart], table.raw[~apart], seed)
        out[apart] = judged(booster, vectors[apart], table.raw[apart])
    return out


def judged(booster, vectors: np.ndarray, chest_voltage: np.ndarray) -> np.ndarray:
    """(records, codes) probabilities."""
    import xgboost

    p = booster.predict(xgboost.DMatrix(tree_features(vectors, chest_voltage)))
    return p.reshape(len(vectors), -1)


def strips(root: Path, codes: dict[str, tuple[str, ...]]) -> ptbxl.Table | None:
    """Twelve-lead ECGs without labels under `root`: what technicians found acceptable of CinC 2011 set-a.

    None where they are not there. Patients are not told; each recording counts as one, in fold 0.
    """
    folder = root / "cinc2011"
    if not (folder / "RECORDS-acceptable").exists():
        return None
    names = sorted(name for name, fit in verdicts(folder).items() if fit)
    signal = np.empty((len(names), 12, ptbxl.SAMPLES), np.float32)
    for row, name in enumerate(tqdm(names, desc="reading cinc2011", leave=False)):
        [recording] = read(folder / f"{name}.hea")
        at = [recording.leads.index(lead) for lead in LEADS]
        slow = resample_poly(np.nan_to_num(recording.signal[at]), 1, round(recording.fs_hz / ptbxl.FS_HZ), axis=1)
        signal[row] = slow[:, : ptbxl.SAMPLES]
    return ptbxl.Table(
        signal,
        {group: np.zeros((len(names), len(names_)), np.float32) for group, names_ in codes.items()},
        codes,
        -1 - np.arange(len(names)),
        np.zeros(len(names), int),
        np.array([str(folder / name) for name in names]),
        np.ones(len(names), bool),
    )
