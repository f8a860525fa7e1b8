"""Peak memory of a pass over one image of 4 GiB: passed through, and converted to qcow2.

The image is sparse where it is published, and goes through a real pass: download, cache, inspection, conversion,
directory target. Counted is what the process has at its highest above what it has when everything is imported;
``qemu-img`` and whatever else it starts is given beside it (a child is counted from its start as a copy of us). Peaks
do not scatter as times do: each pass is made once.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import harness
from scene import Scene, disks, scene

PEAK = str(Path(__file__).with_name("peak.py"))
LARGE, SMALL = 4 << 30, 256 << 20


def measure() -> list[harness.Measurement]:
    """Return the peaks, and by how much they differ from those of an image of 256 MiB."""
    found = []
    for what, formats in (("passed through", ["raw"]), ("converted to qcow2", ["qcow2"])):
        (large, children), (small, _) = (_peak(size, formats) for size in (LARGE, SMALL))
        samples = {"4 GiB": [large], "256 MiB": [small], "children": [children]}
        name = f"peak memory, 4 GiB {what}, above import"
        found.append(harness.limit(name, large, at_most=150, unit="MiB", samples=samples))
        found.append(harness.limit(f"{name}, less that of 256 MiB", large - small, at_most=20, unit="MiB"))
    return found


def _peak(size: int, formats: list[str]) -> tuple[float, float]:
    """Return the peaks of the process, above import, and of its children, in MiB."""
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as root, scene(Path(root)) as site:
        site.publish("vo.example.org", disks(site.root / "disks", 1, size))
        site.configure(formats)
        out = site.root / "peak"
        command = [sys.executable, PEAK, str(out), *site.command()[1:]]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        _check(site, json.loads(done.stdout), formats)
        imported, peak, children = json.loads(out.read_text(encoding="ascii"))
    return (peak - imported) / 1024, children / 1024


def _check(site: Scene, report: dict[str, object], formats: list[str]) -> None:
    catalogue = json.loads((site.catalogue / "catalogue.json").read_text(encoding="utf-8"))
    if report["exit"] or [image["format"] for image in catalogue["images"]] != formats:
        raise RuntimeError(f"the pass did something else: {report}")
