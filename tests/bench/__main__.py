"""Run the measurements beside this file: ``python tests/bench [NAME]...``."""

import json
import os
import sys
from importlib import import_module
from pathlib import Path

import harness

HERE = Path(__file__).parent
REPORT = HERE.parents[1] / "build" / "bench.json"


def _run_as_installed() -> None:
    """Let what is measured keep its byte code, as the installed command does, whatever the caller's shell says."""
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]


def _measure(script: Path) -> list[harness.Measurement]:
    harness.log(f"measuring {script.stem.removeprefix('bench_')} ...")
    found = import_module(script.stem).measure()
    return [found] if isinstance(found, dict) else list(found)


def main(names: list[str]) -> int:
    """Measure what ``names`` ask for, or everything; return 1 when something is beyond its limit, 2 for a bad name."""
    scripts = {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}
    if unknown := [name for name in names if name not in scripts]:
        harness.log(f"no measurement {', '.join(unknown)}; there are: {', '.join(scripts)}")
        return 2
    _run_as_installed()
    measurements = [found for name in names or scripts for found in _measure(scripts[name])]
    REPORT.parent.mkdir(exist_ok=True)
    report = {"machine": harness.machine(), "measurements": measurements}
    REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(harness.table(measurements))
    return 0 if all(found["ok"] for found in measurements) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
