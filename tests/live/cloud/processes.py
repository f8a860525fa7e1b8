"""What runs on this machine, for tests that nothing is left behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

LIMIT = 120.0


def processes_of(directory: Path) -> list[int]:
    """Return the processes that work below a directory, as all of a cloud's do; the dead do not count."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may end while it is looked at
            living = folder.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z"
            if living and folder.joinpath("cwd").readlink().is_relative_to(directory):
                found.append(int(folder.name))
    return found


def wait_until(condition: Callable[[], object], limit: float = LIMIT) -> None:
    """Return once a condition holds that gives no sign of its own.

    Raises:
        TimeoutError: it does not hold after ``limit`` seconds.
    """
    until = time.monotonic() + limit
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"not within {limit:.0f} s")
        time.sleep(0.02)
