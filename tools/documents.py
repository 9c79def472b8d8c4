"""The user's own documents, read into passages that `search_guidelines` finds beside the handbook.

    for file in candidates(Path("protocols")): add(file)     Markdown, text, HTML, PDF, DOCX
    names()                      -> what is kept: {key: (path, passages)}
    forget("ward.pdf")           -> how many files of that name were dropped

`einthoven index FOLDER` calls this. What is kept lies in the user's data folder: for each file one JSON file with
its passages and one array with their sentences' vectors (encoders/sentence.py). A file that is indexed again
replaces itself.
Text of a document is data: it is searched and quoted, and no language model ever reads it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from platformdirs import user_data_dir

from encoders.sentence import embed
from tools.errors import UnreadableFile
from tools.passages import Passage, cut, slug, spans

LARGEST = 50_000_000  # bytes of a file
UNPACKED = 200_000_000  # bytes of a DOCX once unpacked
PAGES = 5_000
LETTERS = 20_000_000  # of text in one file
MOST = 20_000  # passages of all files: with five sentences each their vectors take 150 MB
STEP = 32  # passages embedded between two moves of the progress bar
Blocks = Iterator[tuple[str, str]]  # (where in the file: "page 12", a heading or "", text)


def data_folder() -> Path:
    """Where sessions and documents are kept; EINTHOVEN_DATA_FOLDER moves it."""
    return Path(os.environ.get("EINTHOVEN_DATA_FOLDER") or user_data_dir("einthoven"))


def folder() -> Path:
    return data_folder() / "documents"


def candidates(where: Path) -> list[Path]:
    """The files of a folder that can be read, or the file itself; hidden ones and links are left alone."""
    if not where.exists():
        raise UnreadableFile(f"{where}: there is no such folder or file")
    if where.is_file():
        return [where]
    found = (file for file in sorted(where.rglob("*")) if file.suffix.lower() in READERS)
    return [
        file
        for file in found
        if file.is_file()
        and not file.is_symlink()
        and not any(part.startswith(".") for part in file.relative_to(where).parts)
    ]


def add(file: Path, moved: Callable[[int, int], None] = lambda done, of: None) -> int:
    """Read a file, embed its passages and keep them in place of what was kept of it; how many there are.

    `moved` is told how many of its passages are embedded. Raises UnreadableFile with a line that says why.
    """
    passages = read(file)
    key = _key(file)
    kept = sum(len(json.loads(one.read_text())["passages"]) for one in folder().glob("*.json") if one.stem != key)
    if kept + len(passages) > MOST:
        raise UnreadableFile(f"{file.name}: {len(passages)} passages would make {kept + len(passages)}; {MOST} is most")
    parts = []
    for start in range(0, len(passages), STEP):
        parts.append(embed([said for one in passages[start : start + STEP] for said in one.sentences()]))
        moved(min(start + STEP, len(passages)), len(passages))
    folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    new = folder() / f".{key}.part"
    with open(new, "wb") as stream:
        np.save(stream, np.concatenate(parts).astype(np.float16))
    os.replace(new, folder() / f"{key}.npy")
    written = {"file": file.name, "path": str(file.resolve()), "passages": [vars(one) for one in passages]}
    new.write_text(json.dumps(written, ensure_ascii=False))
    os.replace(new, folder() / f"{key}.json")
    return len(passages)


def names() -> dict[str, tuple[str, int]]:
    """(path, number of passages) of every file that is kept, by its key."""
    found = {}
    for file in sorted(folder().glob("*.json")):
        kept = json.loads(file.read_text())
        found[file.stem] = (kept["path"], len(kept["passages"]))
    return found


def forget(name: str) -> int:
    """Drop what is kept of the files of that name or path; how many files that was."""
    gone = [key for key, (path, _) in names().items() if name in (path, Path(path).name)]
    for key in gone:
        (folder() / f"{key}.json").unlink(missing_ok=True)
        (folder() / f"{key}.npy").unlink(missing_ok=True)
    return len(gone)


def state() -> tuple[tuple[str, int], ...]:
    """What changes when a file is added, replaced or forgotten."""
    return tuple((file.name, file.stat().st_mtime_ns) for file in sorted(folder().glob("*.json")))


def load() -> tuple[list[Passage], list[np.ndarray]]:
    """All passages that are kept, and the (sentences, width) float32 vectors of each file."""
    passages: list[Passage] = []
    vectors = []
    for file in sorted(folder().glob("*.json")):
        try:
            own = [Passage(**one) for one in json.loads(file.read_text())["passages"]]
            rows = np.load(file.with_suffix(".npy")).astype(np.float32)
        except FileNotFoundError:  # it is being forgotten at this moment
            continue
        if len(rows) == sum(len(spans(one.text)) for one in own):  # else it is being replaced at this moment
            passages += own
            vectors.append(rows)
    return passages, vectors


def read(file: Path) -> list[Passage]:
    """The passages of one file, with the page or heading they stand under."""
    size = file.stat().st_size
    if size == 0:
        raise UnreadableFile(f"{file.name}: the file is empty")
    if size > LARGEST:
        raise UnreadableFile(f"{file.name}: {size / 1e6:.0f} MB is too large, {LARGEST / 1e6:.0f} MB is most")
    if file.suffix.lower() not in READERS:
        raise UnreadableFile(f"{file.name}: not one of {', '.join(READERS)}")
    try:
        blocks = list(_within(file, READERS[file.suffix.lower()](file)))
    except UnreadableFile:
        raise
    except Exception as error:  # readers raise all kinds of errors on damaged files
        raise UnreadableFile(f"{file.name}: the file is damaged ({type(error).__name__})") from None
    found: list[Passage] = []
    for place, text in blocks:
        title = "" if place.startswith("page ") else place
        source = f"{file.name}, {place}" if place else file.name
        found += [Passage(f"{_key(file)}/{len(found) + i}", source, title, one) for i, one in enumerate(cut(text))]
    if not found:
        scan = "; a scan must be turned into text first" if file.suffix.lower() == ".pdf" else ""
        raise UnreadableFile(f"{file.name}: there is no text in it{scan}")
    return found


def _key(file: Path) -> str:
    """A name for what is kept of a file: of the path, so that two files of one name do not meet."""
    return f"{slug(file.stem)[:40]}-{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:12]}"


def _within(file: Path, blocks: Blocks) -> Blocks:
    letters = 0
    for place, text in blocks:
        text = text.replace("\0", " ")
        letters += len(text)
        if letters > LETTERS:
            raise UnreadableFile(f"{file.name}: more than {LETTERS / 1e6:.0f} million letters")
        yield " ".join(place.split())[:120], text


def _text(file: Path) -> Blocks:
    yield "", _decoded(file)


def _markdown(file: Path) -> Blocks:
    """Text under each heading, without the marks."""
    heading = ""
    lines: list[str] = []
    for line in _decoded(file).splitlines():
        if found := re.match(r"#{1,6}\s+(.*)", line):
            yield heading, "\n".join(lines)
            heading, lines = found[1].strip("# "), []
        else:
            lines.append(re.sub(r"^\s*(?:[-*+>]|\d+\.)\s+|\*\*|__|`", "", line))
    yield heading, "\n".join(lines)


def _html(file: Path) -> Blocks:
    from bs4 import BeautifulSoup

    page = BeautifulSoup(file.read_bytes(), "html.parser")
    for part in page(["script", "style", "noscript", "template", "nav"]):
        part.decompose()
    heading = page.title.get_text(" ", strip=True) if page.title else ""
    lines: list[str] = []
    if page.title:
        page.title.decompose()
    for part in page.find_all(["h1", "h2", "h3", "h4", "h5", "h6"]):
        part.insert(0, "\x01")
        part.append("\x02")
    for piece in re.split("(\x01[^\x02]*\x02)", page.get_text(" ")):
        if piece.startswith("\x01"):
            yield heading, " ".join(lines)
            heading, lines = piece.strip("\x01\x02 \n"), []
        else:
            lines.append(piece)
    yield heading, " ".join(lines)


def _pdf(file: Path) -> Blocks:
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what is wrong is said once, by us
    reader = PdfReader(file)
    if reader.is_encrypted and not reader.decrypt(""):  # many are locked against printing only
        raise UnreadableFile(f"{file.name}: the file is encrypted; save a copy without a password")
    if len(reader.pages) > PAGES:
        raise UnreadableFile(f"{file.name}: {len(reader.pages)} pages, {PAGES} is most")
    for number, page in enumerate(reader.pages, 1):
        yield f"page {number}", re.sub(r"(?<=[a-z])-\n(?=[a-z])", "", page.extract_text())


def _docx(file: Path) -> Blocks:
    if not zipfile.is_zipfile(file):  # what a password locks is no zip
        raise UnreadableFile(f"{file.name}: the file is damaged or encrypted")
    with zipfile.ZipFile(file) as packed:
        if sum(one.file_size for one in packed.infolist()) > UNPACKED:
            raise UnreadableFile(f"{file.name}: it unpacks to more than {UNPACKED / 1e6:.0f} MB")
    from docx import Document
    from docx.table import Table

    heading = ""
    lines: list[str] = []
    for part in Document(str(file)).iter_inner_content():
        if isinstance(part, Table):
            lines += [" ".join(cell.text for cell in row.cells) + "." for row in part.rows]
        elif part.style is not None and (part.style.name or "").startswith(("Heading", "Title")):
            yield heading, "\n".join(lines)
            heading, lines = part.text, []
        else:
            lines.append(part.text)
    yield heading, "\n".join(lines)


def _decoded(file: Path) -> str:
    """UTF-8, else what Windows writes; a file of bytes that are no text is refused."""
    raw = file.read_bytes()
    if b"\0" in raw[:4096] and not raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnreadableFile(f"{file.name}: this is not a text file")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


READERS: dict[str, Callable[[Path], Blocks]] = {
    ".md": _markdown, ".markdown": _markdown, ".txt": _text, ".html": _html, ".htm": _html, ".pdf": _pdf,
    ".docx": _docx,
}  # fmt: skip
