"""`einthoven index FOLDER`: let the search find the user's own documents beside the handbook.

    einthoven index protocols/            Markdown, text, HTML, PDF and DOCX, with all folders below
    einthoven index --list                what is kept
    einthoven index --forget ward.pdf     drop it again

A file that cannot be read is one line, and the others go on. Nothing leaves this computer; see tools/documents.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tqdm import tqdm

from tools import documents
from tools.errors import MissingWeights, UnreadableFile, UsageError


def main(folder: Path | None, listed: bool = False, forget: str | None = None) -> int:
    """Do one of the three; the exit status."""
    if sum((folder is not None, listed, forget is not None)) != 1:
        raise UsageError("index: give a FOLDER, --list or --forget NAME")
    if listed:
        for path, passages in sorted(documents.names().values()):
            print(f"{path}  {passages} passages")
        return 0
    if forget is not None:
        if not documents.forget(forget):
            raise UsageError(f"index: nothing is kept of {forget}; see: einthoven index --list")
        print(f"{forget} is forgotten")
        return 0
    assert folder is not None
    return add(folder)


def add(folder: Path) -> int:
    """Read every file; how many were kept is the last line."""
    from encoders.weights import MissingModel

    files = documents.candidates(folder)
    if not files:
        raise UnreadableFile(f"{folder}: holds none of {', '.join(documents.READERS)}")
    kept = passages = 0
    with tqdm(files, unit="file", file=sys.stderr, disable=None) as bar:
        for file in bar:
            try:
                bar.set_postfix_str(file.name)
                passages += documents.add(file, lambda done, of: bar.set_postfix_str(f"passage {done} of {of}"))
                kept += 1
            except UnreadableFile as error:
                bar.write(f"einthoven: {error}", file=sys.stderr)
            except MissingModel as error:
                raise MissingWeights(str(error)) from None
            except OSError as error:
                bar.write(f"einthoven: {file.name}: {error.strerror or type(error).__name__}", file=sys.stderr)
    print(f"{kept} of {len(files)} files, {passages} passages")
    return 0 if kept else UnreadableFile.exit_code
