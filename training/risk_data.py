"""The default cohort of `training.risk`: strips before VT, VF or ventricular flutter, and strips of other people.

    python -m training.risk_data --data DIR --out cohort.csv

DIR holds cudb, vfdb, mitdb and nsrdb as PhysioNet publishes them. An attack is a chain of annotated episodes with less
than five minutes between them, one of which lasts five seconds or more (in cudb: any marked episode). A case is the
time before an attack, up to `BLOCK_S`, ending `GAP_S` before its onset; a control is such a block of a record of mitdb
or nsrdb, further than `CLEAR_S` from any annotated run. No strip overlaps an episode, or noise for a quarter of it.
Each block gives itself and its last minute. Records with unmarked VF (cudb cu02, cu14) are left out.

`patient_id` keeps a person together: mitdb 201 and 202 are one; vfdb has 22 records of 16 persons and does not say
which, so records next to each other in number are kept together.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import wfdb

from tools.errors import UsageError
from training import recipe

EVENT_RHYTHMS = ("VT", "VFL", "VF", "VFIB")
NOISE_RHYTHMS = ("NOISE", "ASYS")
SUSTAINED_S = 5.0
CHAIN_S = 300.0
BLOCK_S, MINUTE_S = 300.0, 60.0
GAP_S = 5.0  # before the onset: annotators do not agree to the second
CLEAR_S = 600.0  # between a control and any run
MOST_BLOCKS = 3  # of a control
NOISY = 0.25
UNMARKED = ("cu02", "cu14")
VFDB_PEOPLE = (
    ("418", "419"), ("420", "421", "422", "423"), ("424", "425"), ("426", "427"), ("428", "429", "430"),
    ("602", "605", "607"), ("609", "610", "611", "612"), ("614", "615"),
)  # fmt: skip
DATABASES = ("cudb", "vfdb", "mitdb", "nsrdb")
Span = tuple[float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    table = cohort(args.data)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out, index=False)
    print(f"{len(table)} strips, {table.patient_id.nunique()} patients, {int(table.event.sum())} before an attack")


def cohort(data: Path) -> pd.DataFrame:
    """path, patient_id, event, start_s, stop_s, database, whole (a block and not its last minute)."""
    missing = [name for name in DATABASES if not (data / name / "RECORDS").exists()]
    if missing:
        raise UsageError(f"{data} lacks {', '.join(missing)}: name the folder that holds {', '.join(DATABASES)}")
    rows = []
    for database in DATABASES:
        for name in (data / database / "RECORDS").read_text().split():
            if name not in UNMARKED and (data / database / f"{name}.hea").exists():
                rows += _of_record(data / database / name, database)
    return pd.DataFrame(rows)


def _of_record(path: Path, database: str) -> list[dict]:
    header = wfdb.rdheader(str(path))
    length_s = header.sig_len / header.fs
    episodes, noise = ([], []) if database == "nsrdb" else annotated(path, length_s)
    found = []
    for event, start, stop in blocks(episodes, length_s, database):
        for a, b in dict.fromkeys([(start, stop), (stop - MINUTE_S, stop)]):
            if overlap(a, b, noise) <= NOISY * (b - a):
                found.append({
                    "path": str(path.with_suffix(".hea")), "patient_id": person(database, path.name), "event": event,
                    "start_s": round(float(a), 2), "stop_s": round(float(b), 2), "database": database,
                    "whole": int(a == start),
                })  # fmt: skip
    return found


def person(database: str, record: str) -> str:
    if database == "mitdb" and record == "202":
        record = "201"
    if database == "vfdb":
        record = next((group[0] for group in VFDB_PEOPLE if record in group), record)
    return f"{database}-{record}"


def annotated(path: Path, length_s: float) -> tuple[list[Span], list[Span]]:
    """Annotated episodes of VT, VF or flutter, and stretches of noise or standstill, in seconds."""
    marks = wfdb.rdann(str(path), "atr")
    at = np.asarray(marks.sample) / float(marks.fs or wfdb.rdheader(str(path)).fs)
    starts = [t for t, symbol in zip(at, marks.symbol, strict=True) if symbol == "["]
    ends = [t for t, symbol in zip(at, marks.symbol, strict=True) if symbol == "]"]
    episodes = [(float(t), float(min((end for end in ends if end > t), default=length_s))) for t in starts]
    rhythms = [
        (float(t), note.strip("(\x00"))
        for t, note in zip(at, marks.aux_note, strict=True)
        if note.startswith("(") and note.strip("(\x00")
    ]
    noise: list[Span] = []
    for (t, rhythm), end in zip(rhythms, [*(t for t, _ in rhythms[1:]), length_s], strict=False):
        if rhythm in EVENT_RHYTHMS and not starts:  # where VF has marks of its own, these are its bounds
            episodes.append((t, end))
        elif rhythm in NOISE_RHYTHMS:
            noise.append((t, end))
    return sorted(episodes), noise


def blocks(episodes: list[Span], length_s: float, database: str) -> list[tuple[int, float, float]]:
    """(event, start_s, stop_s) of every block of a record."""
    found = []
    end_of_last = 0.0
    for chain in chains(episodes):
        onset, end = chain[0][0], max(b for _, b in chain)
        start, stop = max(end_of_last, onset - GAP_S - BLOCK_S), onset - GAP_S
        attack = database == "cudb" or max(b - a for a, b in chain) >= SUSTAINED_S
        if attack and stop - start >= MINUTE_S:
            found.append((1, start, stop))
        end_of_last = end
    if database in ("mitdb", "nsrdb"):
        starts = np.arange(0, length_s - BLOCK_S + 1, BLOCK_S)
        starts = starts[np.linspace(0, len(starts) - 1, min(MOST_BLOCKS, len(starts))).astype(int)]
        found += [
            (0, float(a), float(a + BLOCK_S))
            for a in starts
            if overlap(a - CLEAR_S, a + BLOCK_S + CLEAR_S, episodes) == 0
        ]
    return found


def far_from_attacks(data: Path) -> pd.DataFrame:
    """Blocks of vfdb that end ten minutes or more before a record's first episode: the same people at another time."""
    rows = []
    for name in (data / "vfdb" / "RECORDS").read_text().split():
        path = data / "vfdb" / name
        if not path.with_suffix(".hea").exists():
            continue
        header = wfdb.rdheader(str(path))
        episodes, noise = annotated(path, header.sig_len / header.fs)
        first = min((a for a, _ in episodes), default=0.0)
        for start in np.arange(0, first - CLEAR_S - BLOCK_S + 1, BLOCK_S):
            if overlap(start, start + BLOCK_S, noise) <= NOISY * BLOCK_S:
                rows.append({
                    "path": str(path.with_suffix(".hea")), "patient_id": person("vfdb", name), "event": 0,
                    "start_s": float(start), "stop_s": float(start + BLOCK_S), "database": "vfdb", "whole": 1,
                })  # fmt: skip
    return pd.DataFrame(rows)


def chains(episodes: list[Span]) -> list[list[Span]]:
    """Episodes with less than `CHAIN_S` between them, together."""
    found: list[list[Span]] = []
    for episode in sorted(episodes):
        if found and episode[0] - max(end for _, end in found[-1]) < CHAIN_S:
            found[-1].append(episode)
        else:
            found.append([episode])
    return found


def overlap(start_s: float, stop_s: float, spans: list[Span]) -> float:
    """Seconds of a stretch that lie in any of the spans."""
    return float(sum(max(0.0, min(stop_s, b) - max(start_s, a)) for a, b in spans))


if __name__ == "__main__":
    recipe.run(main)
