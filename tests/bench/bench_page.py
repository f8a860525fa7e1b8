"""The status page under load while a pass runs: how long an answer takes, and what the pass loses.

A daemon has 1,000 images of five lists on a target, and makes passes over a sixth list, whose images are new each time,
are downloaded and converted. In every other pass wrk asks for all kinds of pages, eight at a time, each connection 10
times a second at most. Who comes first after a while is measured apart.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import harness
from bench_nothing_to_do import set_up
from page import Daemon, Load, daemon
from scene import Scene, scene

from imagesync.testing.disks import Disk, Kind, write_disk

IMAGES, MIB = 4, 128
VO = "work.example.org"


def measure() -> list[harness.Measurement]:
    """Return the seconds within which 99 of 100 answers came, those without one, and what a pass loses."""
    with tempfile.TemporaryDirectory(prefix="bench-page-") as root, scene(Path(root)) as site:
        set_up(site)
        site.publish(VO, _disks(site, 0))
        site.configure(["raw"])
        loads: list[Load] = []
        with daemon(site) as running:
            taken = harness.alternate({"alone": lambda: _pass(running), "looked at": lambda: _pass(running, loads)})
    name = "status page with 1,000 images while a pass runs"
    slowest, first = (max(getattr(load, key) for load in loads) * 1000 for key in ("p99", "first"))
    return [
        harness.limit(f"{name}: p99", slowest, at_most=100, unit="ms", samples=_samples(loads)),
        harness.limit("status page after a while, the slowest of all kinds", first, at_most=1000, unit="ms"),
        harness.limit(f"{name}: requests without an answer", sum(load.failed for load in loads), at_most=0, unit=""),
        harness.limit("pass with the page looked at / alone", _ratio(taken), at_most=1.1, unit="x", samples=taken),
    ]


def _ratio(taken: dict[str, list[float]]) -> float:
    return median(taken["looked at"]) / median(taken["alone"])


def _samples(loads: Sequence[Load]) -> dict[str, list[float]]:
    keys = ("first", "requests", "cut", "late", "bad", "seconds", "p50", "p99", "most")
    return {key: [getattr(load, key) for load in loads] for key in keys}


def _pass(running: Daemon, loads: list[Load] | None = None) -> float:
    """Publish news and return the seconds of a pass that brings them."""
    work = running.site.server.lists[VO]
    for identifier, file in zip(tuple(work.images), _disks(running.site, work.version), strict=True):
        work.replace(identifier, file)
    work.publish()
    if loads is None:
        return running.run(VO)
    with running.looked_at(loads):
        return running.run(VO)


def _disks(site: Scene, version: int) -> list[Path]:
    folder = site.root / "work"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    disks = [Disk(f"image {number} of version {version}", 1 << 30, data=MIB << 20) for number in range(IMAGES)]
    kind = Kind.QCOW2
    return [write_disk(folder / f"{version}-{number}{kind.suffix}", kind, disk) for number, disk in enumerate(disks)]
