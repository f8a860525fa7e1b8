"""Peak memory of a pass over one image of 4 GiB: passed through, and converted to qcow2.

The image is sparse where it is published, and goes through a real pass: download, cache, inspection, conversion,
directory target. Counted is what the process has at its highest above what it has when everything is imported;
``qemu-img`` and whatever else it starts is given beside it (a child is counted from its start as a copy of us).
"""

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import harness
from scene import Scene, disks, scene

PEAK = str(Path(__file__).with_name("peak.py"))
LARGE, SMALL = 4 << 30, 256 << 20
FORMATS = {"passed through": "raw", "converted to qcow2": "qcow2"}


def measure() -> list[harness.Measurement]:
    """Return the peaks, and by how much they differ from those of an image of 256 MiB."""
    large, small = _peaks(LARGE), _peaks(SMALL)
    found = []
    for what, form in FORMATS.items():
        samples = {"4 GiB": large[form], "256 MiB": small[form], "children": large[f"{form}, children"]}
        name = f"peak memory, 4 GiB {what}, above import"
        middle, other = median(large[form]), median(small[form])
        found.append(harness.limit(name, middle, at_most=150, unit="MiB", samples=samples))
        found.append(harness.limit(f"{name}, less that of 256 MiB", middle - other, at_most=20, unit="MiB"))
    return found


def _peaks(size: int) -> dict[str, list[float]]:
    """Return the peaks of the process, above import, by format of the target, and those of its children; in MiB."""
    children: dict[str, list[float]] = {f"{form}, children": [] for form in FORMATS.values()}
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as root, scene(Path(root)) as site:
        site.publish("vo.example.org", disks(site.root / "disks", 1, size))
        passes = {form: partial(_peak, site, form, children[f"{form}, children"]) for form in FORMATS.values()}
        return harness.alternate(passes) | children


def _peak(site: Scene, form: str, children: list[float]) -> float:
    """Return the peak of a first pass for a target of that format; note that of its children."""
    site.configure([form])
    out = site.root / "peak"
    command = [sys.executable, PEAK, str(out), *site.command()[1:]]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    _check(site, json.loads(done.stdout), form)
    site.forget()
    imported, peak, child = json.loads(out.read_text(encoding="ascii"))
    children.append(child / 1024)
    return (peak - imported) / 1024


def _check(site: Scene, report: dict[str, object], form: str) -> None:
    catalogue = json.loads((site.catalogue / "catalogue.json").read_text(encoding="utf-8"))
    if report["exit"] or [image["format"] for image in catalogue["images"]] != [form]:
        raise RuntimeError(f"the pass did something else: {report}")
