"""Peak memory of a pass that uploads an image to Glance, by the image's size."""

import json
import subprocess
import sys
from pathlib import Path

import harness
from cloud.cloud import Cloud
from glance_target import settings
from scene import disks, scene

PEAK = str(Path(__file__).with_name("peak.py"))
VO = "vo.example.org"
LARGE, SMALL = 1 << 30, 64 << 20


def memory(cloud: Cloud, root: Path) -> list[harness.Measurement]:
    """Return by how many MiB the peak of a pass with 1 GiB is above that of one with 64 MiB."""
    large, small = (_peak(cloud, root, size) for size in (LARGE, SMALL))
    samples = {"1 GiB": [large], "64 MiB": [small]}
    name = "Glance: peak memory of a pass with 1 GiB, less that of 64 MiB"
    return [harness.limit(name, large - small, at_most=20, unit="MiB", samples=samples)]


def _peak(cloud: Cloud, root: Path, size: int) -> float:
    project = cloud.project()
    folder = root / f"memory-{size}"
    folder.mkdir()
    with scene(folder) as site:
        site.publish(VO, disks(folder / "disks", 1, size))
        site.configure(["raw"], {"backend": "glance", **settings(project, folder, VO)})
        out = folder / "peak"
        done = subprocess.run([sys.executable, PEAK, str(out), *site.command()[1:]], stdout=subprocess.PIPE, check=True)
    report = json.loads(done.stdout)
    if report["totals"]["bytes_uploaded"] != size:
        raise RuntimeError(f"the pass did something else: {report}")
    _, peak, _ = json.loads(out.read_text(encoding="ascii"))
    return float(peak) / 1024
