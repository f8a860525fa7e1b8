"""Let a real daemon run pass after pass over lists that change and servers that misbehave, and see that it stays flat.

``python tests/soak MINUTES`` prints a line of figures every few seconds and exits 1 if memory, descriptors or threads
of the daemon grew, or if the state did although its history is pruned.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from soak import Site, growth

EVERY = 2.0
WARM_UP = 0.25
"""Share of the time after which the figures are those that later ones are compared with."""


def main(minutes: float) -> int:
    """Run for so many minutes and return the exit code."""
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as directory, Site(Path(directory), datetime.now(UTC)) as site:
        began = time.monotonic()
        figures = []
        while (elapsed := time.monotonic() - began) < minutes * 60:
            site.disturb(chance)
            site.look()
            time.sleep(min(EVERY, minutes * 60 / 20))
            figures.append((elapsed, site.figures()))
            print(f"{elapsed:7.0f} s  {figures[-1][1]}", flush=True)  # noqa: T201 - a program for people
        steady = [figure for at, figure in figures if at > minutes * 60 * WARM_UP]
        found = growth(steady)
    for what, figure in (("before", steady[0]), ("after", steady[-1])):
        print(f"{what:>7}    {figure}")  # noqa: T201
    for line in found:
        print(f"GREW: {line}")  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60))
