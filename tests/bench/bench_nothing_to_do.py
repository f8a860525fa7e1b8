"""A pass with nothing to do: 5 lists of 200 images each, all of them on a directory target already.

* Time: the whole command ``imagesync sync --json`` as a process of its own, on the wall.
* Reads per list: requests to the list server, plus SQL queries, plus files opened, image files apart; of a pass over
  all lists, less those of a pass over one, divided by the lists more. What every pass reads once (configuration, trust
  anchors, catalogue, pins) is thereby left out, and given beside it.
* Image bytes: files of the catalogue, the cache and the publisher that were read from in all these passes, by inotify.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import harness
from accesses import Accesses, watched
from registered import register
from scene import Scene, disks, scene

LISTS, IMAGES = 5, 200
COUNTED = str(Path(__file__).with_name("counted.py"))


def measure() -> list[harness.Measurement]:
    """Return the seconds, the reads per list, and the image files read, of a pass that finds all in order."""
    with tempfile.TemporaryDirectory(prefix="bench-nothing-") as root, scene(Path(root)) as site:
        set_up(site)
        used: list[float] = []
        with watched(_places(site)) as accesses:
            taken = harness.alternate({"pass": lambda: harness.wall(lambda: _timed(site, used))}, rounds=7)
            everything, one = (_reads(site, *names) for names in ((), ("--list", "vo0.example.org")))
        name = f"pass with nothing to do, {LISTS} lists x {IMAGES} images"
        per_list = {key: (count - one[key]) / (LISTS - 1) for key, count in everything.items()}
        return [
            harness.limit(name, median(taken["pass"]), at_most=2, unit="s", samples=taken | {"processor": used}),
            harness.limit(
                f"{name}: reads per list", sum(per_list.values()), at_most=3, unit="", samples=_rows(per_list, one)
            ),
            harness.limit(f"{name}: image files read", len(_images(accesses)), at_most=0, unit=""),
        ]


def set_up(site: Scene, lists: int = LISTS, images: int = IMAGES) -> None:
    """Publish so many lists of so many images, and bring ``site`` to where a pass finds nothing to do."""
    for number in range(lists):
        site.publish(f"vo{number}.example.org", disks(site.root / f"disks-{number}", images))
    site.configure(["raw"])
    if register(site) != lists * images:
        raise RuntimeError("the lists were not taken as they are")
    _check(site.sync(), lists * images)  # this one writes the state
    os.sync()


def _timed(site: Scene, used: list[float]) -> None:
    """Make a pass and note the processor time it took: what is left of it on a busy machine is waiting."""
    used.append(harness.child_cpu(lambda: _check(site.sync())))


def _check(report: dict[str, object], images: int = LISTS * IMAGES) -> None:
    if report["totals"]["actions"] != {"keep": images}:
        raise RuntimeError(f"there was something to do: {report['totals']}")


def _places(site: Scene) -> list[Path]:
    return [path for path in (site.root, *site.root.rglob("*")) if path.is_dir()]


def _images(accesses: Accesses) -> set[Path]:
    if not any(path.name == "catalogue.json" for path in accesses.read):
        raise RuntimeError("nothing is seen of what is read")
    return {path for path in accesses.read if path.suffix in {".img", ".raw"} or "sources" in path.parts}


def _reads(site: Scene, *selectors: str) -> dict[str, int]:
    """Return what one pass asks the server, the state, and the file system for."""
    before = len(site.server.requests)
    out = site.root.parent / f"{site.root.name}.statements"
    command = [sys.executable, COUNTED, str(out), *site.command()[1:], *selectors]
    with watched(_places(site)) as accesses:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    statements = json.loads(out.read_text())
    out.unlink()
    queries = [text for text in statements if text.startswith(("SELECT", "WITH"))]
    files = [path for path in accesses.opened.elements() if _counts(path)]
    return {"requests": len(site.server.requests) - before, "queries": len(queries), "files": len(files)}


def _counts(path: Path) -> bool:
    """Return whether an opened file counts: SQLite's own files are counted as queries, image files separately."""
    return not path.name.startswith("state.db") and path.suffix not in {".img", ".raw", ".lock"}


def _rows(per_list: dict[str, float], one: dict[str, int]) -> dict[str, list[float]]:
    per_pass = {f"{key} of any pass": [count - per_list[key]] for key, count in one.items()}
    return {**{f"{key} per list": [count] for key, count in per_list.items()}, **per_pass}
