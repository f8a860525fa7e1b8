"""Which process is uploading an image.

An image that is half-way may be somebody's who is sending it right now, on this or another host. One whose process is
gone is nobody's: the next pass takes it at once and need not wait until it looks old.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

_PROC = Path("/proc")


@cache
def this_process() -> str:
    """Return what tells this process from every other on any host: the place where numbers count, number, start."""
    number = os.getpid()
    return f"{_place()}/{number}/{_started(number)}"


def is_gone(writer: str) -> bool:
    """Return whether that process certainly ended. Of another host, or another container, nobody here knows."""
    place, number, started = [*writer.split("/"), "", ""][:3]
    if place != _place() or not number.isdecimal():
        return False
    return _started(int(number)) != started


@cache
def _place() -> str:
    """Return what tells where a process number counts: a boot of a kernel, and a container."""
    try:
        facts = (_PROC / "sys/kernel/random/boot_id").read_text() + str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return "unknown"
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def _started(number: int) -> str:
    """Return when a process began, in ticks since the boot; empty if there is none, or it has ended."""
    try:
        # The name, in parentheses, may hold anything.
        facts = (_PROC / str(number) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if facts[0] in {"Z", "X"} else facts[19]
