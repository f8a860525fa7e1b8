"""A plan as text and as JSON-ready values. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from imagesync.plan.values import Action, Kind, Plan

_SIGNS = {
    Kind.REGISTER: "+",
    Kind.REPLACE: "~",
    Kind.RESTORE: "+",
    Kind.UPDATE: "~",
    Kind.RETIRE: "-",
    Kind.DELETE: "x",
    Kind.HOLD: "!",
    Kind.SKIP: ".",
    Kind.KEEP: " ",
}


def as_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as values that ``json`` can write, in the order of execution."""
    return {
        "name": plan.target,
        "refused": {str(key): reason for key, reason in sorted(plan.refused.items())},
        "actions": [action_as_json(action) for action in plan.actions],
    }


def action_as_json(action: Action) -> dict[str, Any]:
    """Return one action as values that ``json`` can write. ``bytes`` is what the list says of the file's size."""
    return {
        "kind": str(action.kind),
        "key": str(action.key),
        "title": action.title,
        "cause": str(action.cause),
        "reason": action.reason,
        "bytes": action.wanted.image.size if action.wanted and action.kind in {Kind.REGISTER, Kind.REPLACE} else 0,
    }


def as_text(plan: Plan, *, quiet: bool = True) -> str:
    """Return the plan for people: a line per decision and a summary. ``quiet`` leaves out what stays as it is."""
    shown = [action for action in plan.actions if not (quiet and action.kind is Kind.KEEP)]
    lines = [f"{plan.target}: {summary(plan.actions)}"]
    lines += [f"  {_SIGNS[action.kind]} {line}" for action, line in zip(shown, _lines(shown), strict=True)]
    return "\n".join(lines)


def summary(actions: Iterable[Action]) -> str:
    """Return the number of actions of each kind, or that there is nothing to do."""
    counts = Counter(action.kind for action in actions)
    parts = [
        f"{counts[kind]} to {kind}" for kind in Kind if counts[kind] and kind not in {Kind.KEEP, Kind.HOLD, Kind.SKIP}
    ]
    parts += [f"{counts[kind]} {word}" for kind, word in _STANDING if counts[kind]]
    return ", ".join(parts) or "nothing is there and nothing is wanted"


_STANDING = ((Kind.KEEP, "kept"), (Kind.HOLD, "held"), (Kind.SKIP, "skipped"))


def _lines(actions: Iterable[Action]) -> Iterator[str]:
    for action in actions:
        yield f"{action.kind:<8}  {printable(action.title or str(action.key))}  ({printable(action.reason)})"


def one_line(text: str, most: int = 1000) -> str:
    """Return ``text`` without its line ends and needless blanks, as ``short``."""
    return short(" ".join(text[: 4 * most].split()), most)


def short(text: str, most: int = 1000) -> str:
    """Return ``text`` cut to ``most`` characters, as ``printable``: what a line shows of a stranger's text."""
    return printable(text if len(text) <= most else f"{text[: most - 1]}…")


def printable(text: str) -> str:
    """Return ``text`` with control characters and direction marks replaced, so that no list can steer a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
