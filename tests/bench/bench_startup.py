"""Start-up: what every call of the command line pays before it does anything."""

import subprocess
import sys
from pathlib import Path
from statistics import median

import harness


def measure() -> harness.Measurement:
    """Return the processor time of ``imagesync --help``."""
    command = [str(Path(sys.executable).with_name("imagesync")), "--help"]

    def start() -> float:
        return harness.child_cpu(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))

    start()  # the first one writes the byte code
    taken = harness.alternate({"help": start}, rounds=9)
    return harness.limit("imagesync --help, CPU", median(taken["help"]), at_most=0.3, unit="s", samples=taken)
