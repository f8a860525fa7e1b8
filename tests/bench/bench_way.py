"""From a signed list to ten images of 300 MiB in a directory, against shell scripts that do and check the same.

Half of the images are converted. The scripts download, compare the SHA-512, convert, compute the SHA-512 of the result
and bring it to the disk, one image at a time or two (``xargs -P 2``). What a pass needs of the disk is measured with
images that are all passed through: the target has links to the cache's files, or shares their blocks.
"""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import harness
from scene import Scene, scene
from shell import GET

from imagesync.testing.disks import Disk, Kind, write_disk

IMAGES, MIB = 10, 300
VO = "vo.example.org"

_ONE = (
    GET
    + r"""openssl dgst -sha512 -r "$file" >> "$WORK/catalogue"
sync "$file"
"""
)


def measure() -> list[harness.Measurement]:
    """Return our seconds divided by those of the scripts, and the disk that we need divided by what is left there."""
    with tempfile.TemporaryDirectory(prefix="bench-way-") as folder:
        root = Path(folder)
        found = _times(root / "mixed")
        return [*found, _room(root / "passed")]


def _times(root: Path) -> list[harness.Measurement]:
    with _published(root, [Kind.QCOW2, Kind.VMDK_SPARSE]) as site:
        cpu: dict[str, list[float]] = {}
        actions = {
            "ours": lambda: _timed("ours", site, cpu, None),
            "script": lambda: _timed("script", site, cpu, 1),
            "two at a time": lambda: _timed("two at a time", site, cpu, 2),
        }
        taken = harness.alternate(actions)
    middle, used = ({who: sorted(all_)[len(all_) // 2] for who, all_ in each.items()} for each in (taken, cpu))
    name = f"list to {IMAGES} images of {MIB} MiB in a directory"
    return [
        harness.limit(f"{name} / script", middle["ours"] / middle["script"], at_most=0.6, unit="x", samples=taken),
        harness.limit(f"{name} / xargs -P 2", middle["ours"] / middle["two at a time"], at_most=1.0, unit="x"),
        harness.limit(f"{name}, processor time / script", used["ours"] / used["script"], at_most=1.1, unit="x"),
    ]


@contextmanager
def _published(root: Path, kinds: list[Kind]) -> Iterator[Scene]:
    """Open a publisher of ten images of these kinds, and a site that takes qcow2."""
    with scene(root) as site:
        folder = root / "disks"
        folder.mkdir()
        paths = [
            write_disk(folder / f"image-{number}{kind.suffix}", kind, Disk(f"image {number}", 2 << 30, data=MIB << 20))
            for number, kind in enumerate(kinds * (IMAGES // len(kinds)))
        ]
        site.publish(VO, paths)
        site.configure(["qcow2"])
        yield site


def _timed(who: str, site: Scene, cpu: dict[str, list[float]], parallel: int | None) -> float:
    os.sync()
    seconds: list[float] = []
    action = site.sync if parallel is None else lambda: _script(site, parallel)
    cpu.setdefault(who, []).append(harness.child_cpu(lambda: seconds.append(harness.wall(action))))
    if parallel is None:
        site.forget()
    else:
        shutil.rmtree(site.root / "script")
    return seconds[0]


def _script(site: Scene, parallel: int) -> None:
    work = site.root / "script"
    work.mkdir()
    images = site.server.lists[VO].images.values()
    lines = "".join(f"{one.uri} {one.sha512} {one.title}\n" for one in images)
    command = ["xargs", "-P", str(parallel), "-L", "1", "bash", "-c", _ONE, "one"]
    subprocess.run(command, input=lines, text=True, env={**os.environ, "WORK": str(work)}, check=True)
    if len((work / "catalogue").read_text().splitlines()) != IMAGES:
        raise RuntimeError("the script did not get every image")


def _room(root: Path) -> harness.Measurement:
    """Return the most that a pass had on the disk, divided by what the target has in the end."""
    with _published(root, [Kind.QCOW2]) as site:
        most, done = [0], threading.Event()

        def watch() -> None:
            while not done.wait(0.05):
                most[0] = max(most[0], _allocated(site.root / "cache", site.catalogue))

        watcher = threading.Thread(target=watch)
        watcher.start()
        site.sync()
        done.set()
        watcher.join()
        final = _allocated(site.catalogue)
    name = f"most room on the disk for {IMAGES} images that are passed through / what is left"
    # What files share copy-on-write is counted for each of them; links are counted once.
    return harness.limit(name, max(most[0], final) / final, at_most=2.1 if _shares_blocks(root) else 1.1, unit="x")


def _shares_blocks(folder: Path) -> bool:
    """Return whether the file system of ``folder`` can share blocks."""
    command = ["cp", "--reflink=always", str(folder / "imagesync.yaml"), str(folder / "shared")]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _allocated(*folders: Path) -> int:
    """Return the bytes that the files below ``folders`` take, each file once however often it is linked."""
    found: dict[int, int] = {}
    for folder in folders:
        for directory, _, names in os.walk(folder):
            for name in names:
                try:
                    status = os.lstat(os.path.join(directory, name))
                except FileNotFoundError:
                    continue
                found[status.st_ino] = status.st_blocks * 512
    return sum(found.values())
