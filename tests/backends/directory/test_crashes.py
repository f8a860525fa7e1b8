"""Die at every step on the disk; the next session converges to what would be there without the death."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from imagesync_directory.backend import DirectoryTarget
from imagesync_directory.disk import Disk
from imagesync_directory.settings import Settings

from imagesync.backend import Backend, Context, FileFacts, Metadata, OwnedImage, Retirement, State
from imagesync.testing.conformance import Bench, Subject
from imagesync.testing.steps import Died, Steps, dying, each_step
from imagesync.testing.subject import LATER, NOW, listed

SUPERSEDED = Retirement(NOW, "superseded", superseded=True)
TITLE = "Another title"


@dataclass
class Life:
    """What one scenario did so far, and to what it leads."""

    bench: Bench
    published: bool = False

    def register(self, backend: Backend) -> None:
        self.bench.publish(backend, number=1)
        self.published = True

    def replace(self, backend: Backend) -> None:
        old = self.bench.publish(backend, number=1)
        self.published = True
        self.bench.publish(backend, number=2)
        backend.retire(old.ref, SUPERSEDED)

    def rename(self, backend: Backend) -> None:
        image = self.bench.publish(backend, number=1)
        self.published = True
        backend.update(image.ref, replace(image.metadata, name=TITLE))

    def restore(self, backend: Backend) -> None:
        image = self.bench.publish(backend, number=1)
        backend.retire(image.ref, LATER)
        backend.publish(image.ref)
        self.published = True
        backend.publish(image.ref)

    def delete_replaced(self, backend: Backend) -> None:
        self.replace(backend)
        retired = next(image for image in backend.owned() if image.state is State.RETIRED)
        backend.delete(retired.ref)

    def link(self, backend: Backend) -> None:
        file = self.bench.file(1)
        spec = replace(self.bench.spec(), linkable=FileFacts.of(file.stat()))
        backend.publish(backend.upload(spec, file, lambda _: None).ref)
        self.published = True

    def share(self, backend: Backend) -> None:
        self.bench.publish(backend, "image-1", 1)
        self.published = True
        other = self.bench.publish(backend, "image-2", 1)
        backend.retire(other.ref, LATER)
        backend.delete(other.ref)


SCENARIOS: dict[str, tuple[Callable[[Life, Backend], None], int, str]] = {
    "register": (Life.register, 1, "Title of image-1"),
    "replace": (Life.replace, 2, "Title of image-1"),
    "rename": (Life.rename, 1, TITLE),
    "restore": (Life.restore, 1, "Title of image-1"),
    "delete": (Life.delete_replaced, 2, "Title of image-1"),
    "link": (Life.link, 1, "Title of image-1"),
    "share": (Life.share, 1, "Title of image-1"),
}


def converge(bench: Bench, number: int, title: str) -> OwnedImage:
    """Do what passes do: one published image with the wanted bytes and title, nothing else in the end."""
    with bench.subject.open() as backend:
        for image in backend.owned():
            if image.state in (State.PARTIAL, State.STAGED) and image.key.image != "image-1":
                backend.delete(image.ref)
        metadata = replace(bench.spec(number=number).metadata, name=title)
        wanted = bench.upload(backend, number=number)
        backend.publish(wanted.ref)
        backend.update(wanted.ref, metadata)
        for image in backend.owned():
            if image.ref != wanted.ref:
                if image.state is State.PUBLISHED:
                    backend.retire(image.ref, SUPERSEDED)
                backend.delete(image.ref)
        (only,) = backend.owned()
    return only


def everything(root: Path) -> dict[str, str]:
    """Return every name below the directory with what it holds, but for locks and times."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.name == "catalogue.json":
            form = json.loads(path.read_text())
            found[name] = json.dumps([{**entry, "mtime_ns": 0} for entry in form["images"]]) + str(sorted(form))
        elif path.is_file() and path.suffix != ".lock":
            found[name] = hashlib.sha512(path.read_bytes()).hexdigest()
    return found


def assert_bootable(root: Path, bench: Bench) -> None:
    """Assert that the image is published in the catalogue, whole on the disk, and reachable by a stable name."""
    whole = {hashlib.sha512(bench.file(number).read_bytes()).hexdigest() for number in (1, 2)}
    images = json.loads((root / "catalogue.json").read_text())["images"]
    published = [entry for entry in images if entry["state"] == "published"]
    assert published
    for entry in published:
        assert hashlib.sha512((root / entry["file"]).read_bytes()).hexdigest() == entry["sha512"]
    links = [path for path in root.iterdir() if path.is_symlink()]
    assert any(hashlib.sha512(path.read_bytes()).hexdigest() in whole for path in links)


class Unsynced(Disk):
    """Does not wait for the disk: a killed process loses nothing that was written."""

    def finish(self, descriptor: int, mode: int) -> None:
        os.fchmod(descriptor, mode)

    def sync_directory(self, path: Path) -> None:
        pass


def open_dying(root: Path, steps: Steps) -> DirectoryTarget:
    return DirectoryTarget(Settings(root, 5.0), Context("t", "conformance"), dying(Unsynced(), steps))


@pytest.fixture
def bench(root: Path, tmp_path: Path) -> Bench:
    """Small images, and no waiting for the disk."""

    def open_backend(settings: Mapping[str, object], context: Context) -> DirectoryTarget:
        return DirectoryTarget(Settings(root, 5.0), context, Unsynced())

    subject = Subject(open_backend, {}, lambda: None, lambda: None, content=lambda number: b"%d" % number * 100)
    return Bench(subject, tmp_path)


@pytest.mark.parametrize("name", SCENARIOS)
def test_dying_at_any_step_converges(name: str, root: Path, bench: Bench) -> None:
    scenario, number, title = SCENARIOS[name]
    converge(bench, number, title)
    expected = everything(root)
    deaths = 0

    def run(steps: Steps) -> None:
        shutil.rmtree(root, ignore_errors=True)
        life.published = False
        with open_dying(root, steps) as backend:
            scenario(life, backend)

    life = Life(bench)
    for steps in each_step(run):
        with pytest.raises(Died):
            run(steps)
        deaths += 1
        if life.published:
            assert_bootable(root, bench)
        converge(bench, number, title)

        assert everything(root) == expected, steps.names[-1]
    assert deaths > 30


def test_dying_at_any_step_of_the_recovery_converges(root: Path, bench: Bench) -> None:
    """Die at every ninth step of a replacement, and again at each step of opening after that."""
    converge(bench, 2, "Title of image-1")
    expected = everything(root)
    for first in list(each_step(lambda steps: _replace(root, bench, steps)))[::9]:
        for second in each_step(partial(_die_then_open, root, bench, first)):
            with pytest.raises(Died):
                _die_then_open(root, bench, first, second)
            converge(bench, 2, "Title of image-1")

            assert everything(root) == expected


def _replace(root: Path, bench: Bench, steps: Steps) -> None:
    shutil.rmtree(root, ignore_errors=True)
    with open_dying(root, steps) as backend:
        Life(bench).replace(backend)


def _die_then_open(root: Path, bench: Bench, first: Steps, second: Steps) -> None:
    with pytest.raises(Died):
        _replace(root, bench, Steps(first.die_at))
    with open_dying(root, second):
        pass


CHILD = """
import sys
from datetime import datetime, UTC
from pathlib import Path
from imagesync.backend import Context
from imagesync.testing.conformance import Bench, Subject
from imagesync.testing.subject import Subject
from imagesync_directory import open_backend

root, content = map(Path, sys.argv[1:])
subject = Subject(open_backend, {"path": str(root)}, lambda: None, lambda: None)
bench = Bench(subject, content)

def progress(done):
    print(done, flush=True)
    sys.stdin.readline()

with subject.open() as backend:
    backend.upload(bench.own(backend, number=9), bench.file(9), progress)
"""


def test_a_killed_upload_is_finished_by_the_next_process(root: Path, bench: Bench) -> None:
    content = bench.file(9)
    with content.open("wb") as stream:
        stream.writelines(bytes([number]) * 2**20 for number in range(32))
    with bench.subject.open() as backend:
        old = bench.publish(backend, number=1)
    arguments = [sys.executable, "-c", CHILD, str(root), str(content.parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdin
        assert child.stdout
        for _ in range(3):
            assert int(child.stdout.readline()) == 2**20
            child.stdin.write(b"\n")
            child.stdin.flush()
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL

    with bench.subject.open() as backend:
        begun = next(image for image in backend.owned() if image.ref != old.ref)
        assert (begun.state, begun.digest) == (State.PARTIAL, None)
        new = bench.publish(backend, number=9)

        assert listed(backend) == {old.ref: old, new.ref: new}
    assert list((root / ".imagesync" / "partial").iterdir()) == []


def test_metadata_survives_a_death_while_it_is_written(root: Path, bench: Bench) -> None:
    with bench.subject.open() as backend:
        image = bench.publish(backend)
    before, after = image.metadata.name, TITLE

    def run(steps: Steps) -> None:
        with open_dying(root, steps) as backend:
            backend.owned()
            backend.update(image.ref, Metadata(after, image.metadata.properties, image.metadata.min_ram))

    run(Steps())
    with bench.subject.open() as backend:
        backend.update(image.ref, image.metadata)
    for number in range(1, 12):
        with pytest.raises(Died):
            run(Steps(number))
        with bench.subject.open() as backend:
            (found,) = backend.owned()
            assert found.metadata.name in (before, after)
            backend.update(image.ref, image.metadata)
