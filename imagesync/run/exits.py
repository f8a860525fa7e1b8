"""The exit codes of a pass, and what they are to those who read them later. Pure."""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum


class Exit(IntEnum):
    """The exit codes, as documented in ``docs/concepts.rst``."""

    DONE = 0
    SOME_FAILED = 1
    USAGE = 2
    REFUSED = 3
    GUARD = 4
    NOTHING_DONE = 5
    LOCKED = 6
    CHANGES = 7


SEVERITY = (
    Exit.USAGE,
    Exit.LOCKED,
    Exit.REFUSED,
    Exit.GUARD,
    Exit.NOTHING_DONE,
    Exit.SOME_FAILED,
    Exit.CHANGES,
    Exit.DONE,
)
"""When several apply, the first of them is the exit code."""

GOOD = frozenset({Exit.DONE, Exit.GUARD})
"""Of a pass that did what it could; a guard that holds removals back shows in the images."""

MILD = frozenset({Exit.GUARD, Exit.LOCKED})
"""Those that want somebody to look, sooner or later: the guard held back, or somebody else was at work."""

EXPLAINED = frozenset({Exit.SOME_FAILED, Exit.REFUSED, Exit.GUARD, Exit.NOTHING_DONE})
"""Of a pass whose report says what is wrong with lists, targets and images."""


def worst_code(applying: Collection[Exit]) -> Exit:
    """Return the exit code when several apply."""
    return next(code for code in SEVERITY if code in applying)
