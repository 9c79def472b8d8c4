"""What an answer quotes: sentences of the handbook and the user's documents, numbered, each with its source.

    text, cited = quoted(results)      "A QTc of 460 ms … [1]", [{"id", "source", "quote"}]
    html(cited, tools)                 the list under an answer; each opens to its passage with the quote marked

Quotes go from the passage to the reader as they are. No language model sees a passage: not when it writes, not when
it chooses the next tool, not as an earlier turn. So what a document tells a model to do is read by people only.
"""

from __future__ import annotations

from html import escape
from typing import Any

from tools import guidelines

SEARCH = "search_guidelines"
LEFT_OUT = "(quoted from sources)"  # in place of quotes, where a model is shown what was answered


def is_search(result: dict[str, Any]) -> bool:
    """Whether a result of a turn is a search that ran."""
    return result["name"] == SEARCH and "error" not in result["result"]


def quoted(searches: list[dict[str, Any]]) -> tuple[str, list[dict[str, str]]]:
    """The quotes of all searches as text, and what their numbers stand for; nothing is quoted twice."""
    cited = list(dict.fromkeys(one for search in searches for one in guidelines.quoted(search["result"])))
    text = " ".join(f"{one.quote} [{number}]" for number, one in enumerate(cited, 1))
    if searches and not cited:
        text = " ".join(dict.fromkeys(line for search in searches for line in search["result"]["warnings"]))
    return text, [one._asdict() for one in cited]


def hidden(result: dict[str, Any]) -> dict[str, Any]:
    """A result as a language model may see it: of a search, how many passages it found."""
    if not is_search(result):
        return result
    found = len(result["result"]["passages"])
    return {**result, "result": {"passages_found": found, "note": "They are quoted to the user."}}


def kept_from_models(answer: str, quoted: str) -> str:
    """An answer as later turns show it to a language model."""
    return answer.replace(quoted, quoted[: len(quoted) - len(quoted.lstrip())] + LEFT_OUT) if quoted else answer


def html(cited: list[dict[str, str]], tools: list[dict[str, Any]]) -> str:
    """The sources under an answer; "" where it quotes nothing. Everything in it is escaped."""
    texts = {
        one["id"]: one["text"] for result in tools if is_search(result) for one in result["result"].get("passages", [])
    }
    rows = []
    for number, one in enumerate(cited, 1):
        before, found, after = texts.get(one["id"], one["quote"]).partition(one["quote"])
        passage = f"{escape(before)}<mark>{escape(found)}</mark>{escape(after)}"
        rows.append(f"<details><summary>[{number}] {escape(one['source'])}</summary><p>{passage}</p></details>")
    return f'<div class="sources">{"".join(rows)}</div>' if rows else ""
