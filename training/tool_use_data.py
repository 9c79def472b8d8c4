"""Dialogues that teach the language model which tool to call, built from hand-written phrases.

This module chooses what is loaded and what is asked: one tool, two, a follow-up, or a request that no tool can
serve. The words come from `training.tool_use_phrases`. `dialogues(seed, n)` gives the same list for the same
seed; `python -m training.tool_use_data 30` prints samples, one JSON object a line.
"""

from __future__ import annotations

import json
import re
import sys
from random import Random
from typing import Any

from training.tool_use_phrases import (
    FAMILIES,
    KINDS,
    LEADS,
    TOOLS,
    Clause,
    bank,
    call,
    clause,
    family,
    fill,
    make_scene,
    name_recording,
    of_family,
    pick,
    point_to,
    roughen,
)

NONE_SHARES = {
    "chat": 12, "about": 16, "offtopic": 20, "unable": 22, "injection": 8, "nonsense": 5,
    "missing": 11, "wrong": 6, "unknown": 2,
}  # fmt: skip


def single(rng: Random, name: str, scene: list[str] | None = None) -> tuple[list[str], Clause]:
    """One request for one tool, dressed with courtesy or a patient's story."""
    vague = name in ("interpret", "plot", "spirogram")
    if scene is None:
        scene = make_scene(rng, family(name), few_leads=name == "leads", last=vague)
    request = clause(rng, name, scene)
    if name in ("measure", "interpret", "risk") and rng.random() < 0.12:
        story = fill(rng, rng.choice(bank("slots")["context"]), {})[0]
        request.text = story + rng.choice([" — ", ". ", ": ", ", ", " - "]) + request.text
    elif request.form in ("do", "ref") and rng.random() < 0.4:
        before = ["please ", "could you ", "can you ", "can you please ", "pls ", "would you kindly ", "I want you to "]
        before += ["hi, ", "hello, please ", "I'd like you to ", "now ", "just "] if request.form == "do" else []
        request.text = (rng.choice(before) if request.form == "do" else "please ") + request.text
    elif request.form == "ask" and rng.random() < 0.2:
        before = [
            "hi, ",
            "sorry, ",
            "quick question: ",
            "hello, ",
            "doctor asks: ",
            "tell me, ",
            "one more thing, ",
            "so ",
        ]
        request.text = rng.choice(before) + request.text
    if request.form in ("do", "ask") and rng.random() < 0.12:
        request.text += rng.choice([" please", " pls", ", thanks", ", thank you", " asap", ", if possible", " now"])
    return scene, request


def compare(rng: Random) -> tuple[list[str], Clause]:
    """The same question of two recordings."""
    name, template = rng.choice(bank("compare")[""]).split(" | ")
    scene = make_scene(rng, "ecg", count=rng.choice([2, 2, 3]))
    both = rng.sample(of_family(scene, "ecg"), 2)
    both = sorted(both) if rng.random() < 0.8 else both
    words = dict(zip("ab", (name_recording(rng, scene, one) for one in both), strict=True))
    text, slots, arguments = fill(rng, template, words)
    if template.find("{b}") < template.find("{a}"):
        both.reverse()
    return scene, Clause(text, [call(TOOLS[name][0], one, arguments) for one in both], slots=slots)


def written_pair(rng: Random) -> tuple[list[str], Clause]:
    """A hand-written request for two tools."""
    names, template = rng.choice(bank("pairs")[""]).split(" | ")
    pair = names.split("+")
    families = [kind for kind in map(family, pair) if kind]
    scene = make_scene(rng, families[0] if families else None, few_leads="leads" in pair, last=True)
    target, phrase = None, ""
    if families:
        alike = of_family(scene, families[0])
        target, phrase = alike[-1], point_to(rng, scene, families[0], False)
        if "{rec}" in template and rng.random() < 0.3:
            target = rng.choice(alike)
            phrase = name_recording(rng, scene, target)
    text, slots, arguments = fill(rng, template, {"rec": phrase})
    keys = {"search": {"query": slots.get("topic")}, "generate": {"prompt": slots.get("prompt")}}
    keys["plot"] = {key: arguments[key] for key in ("layout", "format") if key in arguments}
    calls = [call(TOOLS[one][0], target if family(one) else None, keys.get(one, {})) for one in pair]
    return scene, Clause(text, calls, slots=slots)


def joined(rng: Random) -> tuple[list[str], Clause]:
    """Two clauses for any two tools, joined."""
    first, second = rng.sample(list(TOOLS), 2)
    scene = make_scene(rng, family(first), last=True)
    other = family(second)
    if other and not of_family(scene, other):
        scene.append(f"{other}-1 ({KINDS.get(other) or rng.choice(LEADS)})")
    form = rng.choice(["do", "do", "ask", "terse"])
    one = clause(rng, first, scene, [form], named=0.15)
    next_one = clause(rng, second, scene, [rng.choice(["do", "ask"]) if form == "ask" else form], named=0.15)
    joints = {
        "do": [" and ", " and then ", ", then ", "; also ", ". Also ", "; ", ", plus ", " and also ", ", after that "],
        "ask": ["? And ", ", and ", "? Also, ", "; ", "? Then ", " and "],
        "terse": [" + ", ", ", " and ", "; ", " & ", " plus "],
    }
    text = one.text + rng.choice(joints[form]) + next_one.text
    return scene, Clause(text, one.calls + next_one.calls, form, {**next_one.slots, **one.slots})


def two(rng: Random) -> tuple[list[str], Clause, str]:
    """Two calls from one request, and the way it was made."""
    way = pick(rng, {"compare": 20, "pair": 40, "joined": 40})
    scene, request = {"compare": compare, "pair": written_pair, "joined": joined}[way](rng)
    return scene, request, way


def follow(rng: Random) -> tuple[list[str], list[dict[str, Any]], Clause, str | None]:
    """A turn that leans on the one before it: scene, history, request, and a reply if no tool is due."""
    name = pick(rng, {bank_name: share for bank_name, (_, share) in TOOLS.items()})
    wanted = family(name)
    count = rng.choice([0, 2]) if wanted == "ecg" else 0
    scene = make_scene(rng, wanted, count=count, few_leads=name == "leads", last=True)
    _, before = single(rng, name, scene)
    history = [{"user": roughen(rng, before), "calls": before.calls}]
    if rng.random() < 0.14:
        user, reply = rng.choice(bank("none")["sure"]).split(" | ")
        return scene, history, Clause(user), reply
    return scene, history, lean(rng, name, scene, before), None


def lean(rng: Random, name: str, scene: list[str], before: Clause) -> Clause:
    """A request that is understood only after `before`, a request for the tool of bank `name`."""
    wanted, last = family(name), before.calls[-1]["arguments"]
    target = last.get("recording")
    lines = list(bank("follow").get(TOOLS[name][0], []))
    if wanted == "ecg" and (name == "plot" or rng.random() < 0.5):
        lines += [line for line in bank("follow")["any_ecg"] if name != "plot" or "{other}" in line]
    subject = {"measure": "quantity", "interpret": "finding", "generate": "condition"}.get(name, "")
    that = last.get("query") or re.sub(r"^(an?|any|the) ", "", before.slots.get(subject, ""))
    words = {"that": that} if that else {}
    new = rng.choice([one for one in of_family(scene, wanted or "ecg") if one != target] or [""])
    if new:
        words["other"] = name_recording(rng, scene, new)
    old_drug = before.slots.get("drug", "")
    can = {"that": that, "other": new, "drug": old_drug and old_drug in last.get("query", "")}
    lines = [line for line in lines if all(known or f"{{{slot}}}" not in line for slot, known in can.items())]
    template, _, goal = rng.choice(lines).partition(" => ")
    tool, _, argument = goal.partition(" ")
    text, slots, arguments = fill(rng, template, words)
    if tool == "same":
        done = call(before.calls[-1]["name"], new, {key: value for key, value in last.items() if key != "recording"})
    elif tool == "search_guidelines":
        other_drug = "{drug}" in template
        query = last["query"].replace(old_drug, slots["drug"]) if other_drug else fill(rng, argument, slots)[0]
        done = call(tool, None, {"query": query})
    elif tool in ("generate_ecg", "generate_ref"):
        done = call("generate_ecg", target if tool == "generate_ref" else None, {"prompt": slots["condition"]})
    else:
        kept = {key: last[key] for key in ("layout", "format") if key in last and tool == "plot_recording"}
        done = call(tool, target, kept | arguments)
    return Clause(text, [done], slots=slots)


def no_tool(rng: Random) -> tuple[list[str], Clause, str, str]:
    """A request that no tool can serve, with its answer: scene, request, reply, why."""
    why = pick(rng, NONE_SHARES)
    if why in ("missing", "wrong", "unknown"):
        name = rng.choice(
            ["measure", "measure", "interpret", "interpret", "risk", "leads", "plot", "ppg", "spirogram", "fetal"]
        )
        wanted = family(name)
        assert wanted is not None
        misfits = [one for one in FAMILIES if one != wanted and (one, name) != ("ppg", "measure")]
        scene = (
            [] if why == "missing" else make_scene(rng, wanted if why == "unknown" else rng.choice(misfits), count=1)
        )
        scene = [entry for entry in scene if why == "unknown" or not entry.startswith(wanted)]
        if why == "unknown":
            request = clause(rng, name, [f"{wanted}-{rng.randint(4, 9)}"], named=1.0)
        else:
            request = clause(rng, name, scene, explicit=why == "wrong", named=0.1 if why == "missing" else 0.0)
        replies = bank("none")[why]
        reply = rng.choice(replies).replace("{a_kind}", FAMILIES[wanted])
        return scene, Clause(request.text, form=request.form), reply, why
    scene = make_scene(rng, None)
    template, reply = rng.choice(bank("none")[why]).split(" | ")
    loaded = scene[-1].split()[0] if scene else "the recording"
    text = fill(rng, template, {"rec_any": loaded})[0]
    if why in ("offtopic", "unable") and rng.random() < 0.2:
        text = rng.choice(["please ", "hi, ", "hello, ", "one question, ", "by the way, ", "now "]) + text
    return (
        scene,
        Clause(text, form="ask" if text.startswith(("what", "how", "is", "who", "do ", "are", "can")) else "do"),
        fill(rng, reply, {})[0],
        why,
    )


def dialogue(rng: Random) -> dict[str, Any]:
    """One dialogue; see the module's docstring."""
    part = pick(rng, {"one": 55, "two": 15, "follow": 10, "none": 20})
    history: list[dict[str, Any]] = []
    reply = None
    if part == "one":
        name = pick(rng, {bank_name: share for bank_name, (_, share) in TOOLS.items()})
        scene, request = single(rng, name)
        intent = f"one:{TOOLS[name][0]}"
    elif part == "two":
        scene, request, way = two(rng)
        intent = f"two:{way}"
    elif part == "follow":
        scene, history, request, reply = follow(rng)
        intent = "follow:" + (request.calls[0]["name"] if request.calls else "none")
    else:
        scene, request, reply, why = no_tool(rng)
        intent = f"none:{why}"
    if part != "follow" and rng.random() < 0.15 and scene:
        history = unrelated(rng, scene)
    elif part == "follow" and rng.random() < 0.2:
        history = unrelated(rng, scene) + history
    user = roughen(rng, request)
    return {
        "recordings": scene,
        "history": history,
        "user": user,
        "calls": request.calls,
        "reply": reply,
        "intent": intent,
    }


def unrelated(rng: Random, scene: list[str]) -> list[dict[str, Any]]:
    """An earlier turn on what is loaded that the present one does not lean on."""
    makers = ("generate", "leads", "ppg")  # after these "it" could mean what they made
    fits = [name for name in TOOLS if name not in makers and (name == "search" or of_family(scene, family(name) or ""))]
    if not fits:
        return []
    _, earlier = single(rng, rng.choice(fits), scene)
    about = earlier.calls[0]["arguments"].get("recording")
    if about and about != of_family(scene, about.split("-")[0])[-1]:
        return []  # an unnamed "it" now could mean that one
    return [{"user": roughen(rng, earlier), "calls": earlier.calls}]


def dialogues(seed: int, n: int) -> list[dict[str, Any]]:
    """`n` dialogues; the same seed gives the same ones, and no two are alike in words and recordings.

    Each is {"recordings", "history", "user", "calls", "reply", "intent"}; `reply` only where no tool is due.
    """
    rng = Random(seed)
    seen: dict[str, int] = {}
    kept: list[dict[str, Any]] = []
    while len(kept) < n:
        one = dialogue(rng)
        key = json.dumps([one["recordings"], one["history"], one["user"].lower()])
        limit = 1 + n // 20_000 * one["intent"].startswith("none")  # short words run out of variants
        if seen.get(key, 0) < limit:
            seen[key] = seen.get(key, 0) + 1
            kept.append(one)
    return kept


if __name__ == "__main__":
    for sample in dialogues(seed=0, n=int(sys.argv[1]) if len(sys.argv) > 1 else 30):
        print(json.dumps(sample, ensure_ascii=False))
