"""Whoever is signalled in whatever phase of a pass: nothing is left, and the next pass makes up for it."""

import os
import signal
import time
from itertools import product

import psutil
import pytest
from cloud.turns import commit, everything

from imagesync.testing.disks import Kind
from imagesync.testing.faults import Held

HANG = 150
PROMISED = 30
"""Seconds in which a daemon that is asked to ends."""

GATE = """
import time
from contextlib import contextmanager
from pathlib import Path

from imagesync_directory import open_backend

PLACE = Path(__file__).parent


def wait(name):
    (PLACE / name).touch()
    while not (PLACE / "open").exists():
        time.sleep(0.02)


class Gate:
    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def upload(self, spec, data, progress):
        def held(count):
            (PLACE / "upload").touch()
            while not (PLACE / "open").exists():
                progress(0)
                time.sleep(0.02)
            progress(count)

        return self.inner.upload(spec, data, held)


@contextmanager
def open_gate(settings, context):
    with open_backend(settings, context) as inner:
        yield Gate(inner)
"""


def until(truth):
    due = time.monotonic() + HANG
    while not truth():
        assert time.monotonic() < due
        time.sleep(0.02)


class Scene:
    """A site whose passes come to a stop in one phase, until they are let on."""

    def __init__(self, provider, phase, tools):
        self.provider, self.phase = provider, phase
        self.environment = {}
        self.held = Held(100)
        self.gate = provider.root / "gate"
        getattr(self, phase)(tools)
        provider.configure()

    def list(self, tools):
        self.provider.shaky.server.misbehave(self.provider.shaky.path, self.held)

    def download(self, tools):
        self.held = Held(100_000)
        for key in self.provider.shaky.images:
            self.provider.shaky.server.misbehave(self.provider.shaky.image_path(key), self.held)

    def convert(self, tools):
        self.gate.mkdir()
        qemu = f"echo $$ > {self.gate}/pid; touch {self.gate}/convert; exec sleep 60"
        self.environment = {"PATH": tools(qemu)}
        self.provider.shaky.add(self.provider.image("converted", Kind.QCOW2), title="converted")
        self.provider.shaky.publish()

    def upload(self, tools):
        folder = self.gate / "gate-1.0.dist-info"
        folder.mkdir(parents=True)
        (self.gate / "gate.py").write_text(GATE)
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: gate\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text("[imagesync.backends.v1]\ngate = gate:open_gate\n")
        self.environment = {"PYTHONPATH": os.pathsep.join(filter(None, [str(self.gate), os.environ.get("PYTHONPATH")]))}
        self.provider.targets[0]["backend"] = "gate"

    def reached(self):
        if self.phase in {"list", "download"}:
            assert self.held.reached.wait(HANG)
        else:
            until((self.gate / self.phase).exists)

    def let_on(self):
        """Let this pass and all later ones go on; a conversion is left to the program that is really there."""
        self.held.release.set()
        self.provider.shaky.server.behave()
        if self.phase == "upload":
            (self.gate / "open").touch()
        if self.phase == "convert":
            self.environment = {}


def terminate(daemon, scene):
    daemon.signal(signal.SIGTERM)
    assert daemon.process.wait(PROMISED) == 0


def interrupt(daemon, scene):
    daemon.signal(signal.SIGINT)
    assert daemon.process.wait(PROMISED) == 0


def reload(daemon, scene):
    """The pass goes on with what it began with."""
    (running,) = daemon.process.children()
    daemon.signal(signal.SIGHUP)
    daemon.hear("RELOADING=1")
    daemon.hear("READY=1")
    assert running.is_running()
    daemon.stop()


def kill_the_pass(daemon, scene):
    (running,) = daemon.process.children()
    running.kill()
    until(lambda: daemon.passes().get("shaky") == (-1, 1))
    assert daemon.process.is_running()
    daemon.stop()


def kill_the_daemon(daemon, scene):
    daemon.process.kill()
    daemon.process.wait()


PHASES = ("list", "download", "convert", "upload")
SIGNALS = (terminate, interrupt, reload, kill_the_pass, kill_the_daemon)
CLEAN = (terminate, interrupt, reload, kill_the_daemon)
"""After these nothing is left at once; what a pass leaves that was killed itself goes with the next."""


def cases():
    """Return every pair, or of each phase being asked to end and another signal, another one for each commit."""
    turn = commit()
    for (number, phase), (place, what) in product(enumerate(PHASES), enumerate(SIGNALS)):
        if everything() or what is terminate or place == 1 + (number + turn) % (len(SIGNALS) - 1):
            yield pytest.param(phase, what, id=f"{phase}-{what.__name__}")


@pytest.mark.parametrize(("phase", "what"), list(cases()))
def test_nothing_is_left_and_the_next_pass_makes_up_for_it(quiet, start, tools, phase, what):
    scene = Scene(quiet, phase, tools)
    with start(**scene.environment) as daemon:
        scene.reached()
        family = daemon.process.children(recursive=True)
        what(daemon, scene)
        assert psutil.wait_procs(family, timeout=20)[1] == []
    if what in CLEAN:
        assert quiet.leftovers() == []
        assert {one["state"] for one in quiet.entries()} <= {"published"}

    scene.let_on()
    assert quiet.sync(**scene.environment).code == 0
    assert quiet.leftovers() == []
    assert {one["state"] for one in quiet.entries()} == {"published"}
    assert len(quiet.titles()) == sum(len(one.images) for one in (quiet.shaky, quiet.steady))
