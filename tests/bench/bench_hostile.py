"""What the most expensive messages cost that keep to every bound: seconds of the processor and memory, the worst of all.

Each is verified and parsed by a process of its own, as a list of a subscription is that names its endorser.
"""

import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import harness

ROOT = Path(__file__).resolve().parents[2]
ANCHORS = ROOT / "fixtures" / "trust" / "anchors"
ONE = ROOT / "tests" / "lists" / "hostile_one.py"


def measure() -> list[harness.Measurement]:
    """Return the most seconds and the most MiB above import, with those of every message."""
    sys.path[:0] = [str(ROOT / "fixtures" / "corpus"), str(ROOT / "fixtures" / "lists")]
    import costly
    import pki

    warnings.filterwarnings("ignore", "Parsed a serial number")
    endorser = pki.endorsers(pki.authorities())["endorser"]
    found = {name: _cost(make()) for name, make in costly.messages(endorser).items()}
    return [_worst(found, "seconds", at_most=2.0, unit="s"), _worst(found, "MiB", at_most=200.0, unit="MiB")]


def _cost(message: bytes) -> dict[str, float]:
    with tempfile.NamedTemporaryFile(prefix="bench-hostile-") as file:
        file.write(message)
        file.flush()
        done = subprocess.run([sys.executable, ONE, ANCHORS, file.name], stdout=subprocess.PIPE, check=True)
    cost: dict[str, float] = json.loads(done.stdout)
    return cost


def _worst(found: dict[str, dict[str, float]], what: str, at_most: float, unit: str) -> harness.Measurement:
    name = max(found, key=lambda one: found[one][what])
    samples = {one: [cost[what]] for one, cost in found.items()}
    return harness.limit(f"hostile message: {name}", found[name][what], at_most=at_most, unit=unit, samples=samples)
