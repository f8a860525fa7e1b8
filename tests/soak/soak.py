"""A daemon under disturbance, with its page looked at, and what is measured of it."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import psutil
import yaml

from imagesync.testing.disks import Disk, Kind, write_disk
from imagesync.testing.faults import BrokenOff, Replaced, Status
from imagesync.testing.list_server import ListServer, PublishedList, identity_of
from imagesync.testing.pki import Authority, ec_key, write_anchors

MIB = 1 << 20
MEMORY = 6 * MIB
"""How much the resident memory may differ between the early and the late half of the figures."""

STATE = 8 * MIB
START = 60
QUICK = Path(__file__).with_name("quick.py")
VOS = ("one", "two", "three", "four")
PAGES = (
    *("/", "/lists/one", "/lists/four", "/targets/site", "/plan", "/passes", "/passes/running", "/nothing"),
    *("/healthz", "/readyz", "/metrics", "/api/v1/status", "/api/v1/openapi.json"),
)
FAULTS = (Status(503), Status(404), Replaced(b"no list"), BrokenOff(after=100, reset=True))

COUNTED = {"begun": b'event="pass began"', "failed": b'event="pass failed"'}


@dataclass(frozen=True, slots=True)
class Figures:
    """What is measured of the daemon: bytes, and counts. ``passes`` were begun so far.

    ``answers`` are pages that were given, ``refusals`` requests without an answer or with one that tells of an error.
    ``opened`` are all descriptors, also those that a pass or a look at the state has for a while.
    """

    memory: int
    descriptors: int
    threads: int
    state: int
    passes: int
    failed: int
    answers: int = 0
    refusals: int = 0
    opened: int = 0

    def __str__(self) -> str:
        """Return one line."""
        return (
            f"memory {self.memory / MIB:6.1f} MiB  descriptors {self.descriptors:3} of {self.opened:3}  threads {self.threads:2}  "
            f"state {self.state / MIB:6.2f} MiB  passes {self.passes:5}  not good {self.failed:5}  "
            f"pages {self.answers:6}  not given {self.refusals:4}"
        )


def growth(figures: Sequence[Figures]) -> list[str]:
    """Return what is larger in the late half of ``figures`` than in the early one, beyond its limit."""
    half = len(figures) // 2
    early, late = figures[:half], figures[half:]
    if not early:
        return ["too few figures to tell: run longer"]
    limits = {"memory": MEMORY, "descriptors": 2, "threads": 2, "state": STATE}
    found = []
    for name, limit in limits.items():
        before, after = (max(getattr(one, name) for one in part) for part in (early, late))
        if after - before > limit:
            found.append(f"{name} from {before} to {after}, allowed are {limit} more")
    # What comes and goes is not always there: the fewest tell what stays.
    before, after = (min(one.opened for one in part) for part in (early, late))
    if after - before > limits["descriptors"]:
        found.append(f"what is open from {before} to {after}, allowed are {limits['descriptors']} more")
    if late[-1].refusals:
        found.append(f"what the page did not give: from 0 to {late[-1].refusals}")
    if late[-1].passes <= early[0].passes:
        found.append("nothing: no pass began any more")
    return found


def _end(process: psutil.Popen) -> None:
    """End it, by force if it has to be."""
    process.terminate()
    try:
        process.wait(60)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait()
        raise


class Site:
    """A daemon with four lists that are looked at each second, and a directory target."""

    def __init__(self, root: Path, now: datetime) -> None:
        """Prepare it below ``root``."""
        self._root, self._stack = root, ExitStack()
        authority = Authority("/DC=org/DC=example/CN=Soak CA", now, key=ec_key())
        self._endorser = authority.issue("/DC=org/DC=example/CN=Robot: soak", key=ec_key())
        self._anchors = write_anchors(root / "anchors", [authority])
        self._now = now
        self._count = 0
        self._answers = self._refusals = 0
        self._port = 0
        self._lists: list[PublishedList] = []
        self._counts = Counter[str]()
        self._position = 0

    def __enter__(self) -> Self:
        """Start the servers, the nursery of passes, and the daemon."""
        try:
            for vo in VOS:
                server = self._stack.enter_context(ListServer(self._endorser, self._now))
                self._lists.append(server.add_list(f"{vo}.example.org"))
                self._change(self._lists[-1])
            # After those of the servers, none of which may take it meanwhile.
            with socket.socket() as chosen:
                chosen.bind(("127.0.0.1", 0))
                self._port = chosen.getsockname()[1]
            (self._root / "imagesync.yaml").write_text(yaml.safe_dump(self._config()))
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _start(self) -> None:
        socket_of_nursery = self._root / "nursery"
        quick = self._root / "python"
        quick.write_text(f"#!{sys.executable} -IS\n" + QUICK.read_text())
        quick.chmod(0o755)
        log = self._stack.enter_context((self._root / "log").open("w"))
        self._spawn([sys.executable, str(QUICK), str(socket_of_nursery)], log, {})
        self._wait_until(socket_of_nursery.exists)
        program = f"import sys; sys.executable = {str(quick)!r}; from imagesync.cli.main import run; run()"
        command = [sys.executable, "-c", program, "--config", str(self._root / "imagesync.yaml"), "daemon"]
        environment = {"SOAK_NURSERY": str(socket_of_nursery), "SOAK_PYTHON": sys.executable}
        self._daemon = self._spawn(command, log, environment)
        self._wait_until(lambda: "daemon started" in self._log() or self._daemon.poll() is not None)
        if "status page opened" not in self._log():
            raise RuntimeError(f"the status page is not there: {self._log()}")

    def _spawn(self, command: list[str], log: IO[str], environment: dict[str, str]) -> psutil.Popen:
        """Start a process that ends when this one does, however that ends."""
        env = {**os.environ, **environment}
        process = psutil.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command], stderr=log, stdin=subprocess.DEVNULL, env=env
        )
        self._stack.callback(_end, process)
        return process

    def _wait_until(self, truth: Callable[[], object]) -> None:
        due = time.monotonic() + START
        while not truth():
            if time.monotonic() > due:
                raise RuntimeError(f"the daemon does not start: {self._log()}")
            time.sleep(0.1)

    def _log(self) -> str:
        return (self._root / "log").read_text(errors="replace")

    def _read_on(self) -> None:
        """Count what the log has got since it was read last."""
        with (self._root / "log").open("rb") as log:
            log.seek(self._position)
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._position += len(whole)
        for kind, words in COUNTED.items():
            self._counts[kind] += whole.count(words)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop them."""
        self._stack.close()

    def _config(self) -> dict[str, Any]:
        endorser = identity_of(self._endorser)
        return {
            "state": f"sqlite:///{self._root / 'state.db'}",
            "cache": str(self._root / "cache"),
            "cache_reserve_bytes": 0,
            "cache_max_bytes": "64MiB",
            "trust": {"anchors": str(self._anchors)},
            "limits": {"attempts": 1},
            "guard": {"min_images": 999},
            # One who cannot be told, and one who is told everything.
            "notifications": [
                {"name": "dead", "webhook": {"url": "http://127.0.0.1:1/"}},
                {"name": "alive", "command": ["sh", "-c", "exec cat > /dev/null"]},
            ],
            "history": "20s",
            "daemon": {"jitter": "0", "housekeeping": "10s", "listen": f"127.0.0.1:{self._port}"},
            "subscriptions": [
                {
                    "name": one.vo.partition(".")[0],
                    "vo": one.vo,
                    "url": one.url,
                    "every": "1s",
                    "endorsers": [{"dn": endorser.dn, "ca": endorser.ca}],
                    "allow_private_addresses": True,
                }
                for one in self._lists
            ],
            "targets": [
                {
                    "name": "site",
                    "backend": "directory",
                    "path": str(self._root / "site"),
                    "formats": ["raw"],
                    "delete_after": "1s",
                }
            ],
        }

    def disturb(self, chance: random.Random) -> None:
        """Change a list, let a server misbehave or be good again, ask for a reload, or kill a pass."""
        listing = chance.choice(self._lists)
        match chance.randrange(6):
            case 0 | 1:
                self._change(listing)
            case 2:
                listing.server.misbehave(listing.path, chance.choice(FAULTS))
            case 3:
                listing.server.behave()
            case 4:
                self._daemon.send_signal(1)
            case _:
                for child in self._daemon.children():
                    child.kill()

    def look(self) -> None:
        """Look at every page once, and leave one connection open without a word: it is closed by the page."""
        for path in PAGES:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=30) as answer:
                    answer.read()
                    self._answers += 1
            except urllib.error.HTTPError as error:
                error.close()
                expected = (path == "/nothing" and error.code == 404) or path == "/readyz"
                self._answers, self._refusals = self._answers + expected, self._refusals + (not expected)
            except OSError:
                self._refusals += 1
        with socket.create_connection(("127.0.0.1", self._port), timeout=30) as silent:
            silent.sendall(b"GET / HTTP/1.1\r\n")

    def _change(self, listing: PublishedList) -> None:
        self._count += 1
        file = self._root / f"image-{self._count}.raw"
        write_disk(file, Kind.RAW, Disk(f"image {self._count}", MIB, MIB // 8))
        listing.add(file, title=f"image {self._count}")
        for old in list(listing.images)[:-3]:
            listing.withdraw(old)
        listing.publish()

    def figures(self) -> Figures:
        """Return what is measured now.

        Raises:
            RuntimeError: the daemon is gone.
        """
        if self._daemon.poll() is not None:
            raise RuntimeError("the daemon is gone: " + self._log()[-3000:])
        with self._daemon.oneshot():
            memory = self._daemon.memory_info().rss
            threads = self._daemon.num_threads()
        opened = list(Path(f"/proc/{self._daemon.pid}/fd").iterdir())
        descriptors = len([one for one in opened if self._is_steady(one)])
        self._read_on()
        begun, failed = self._counts["begun"], self._counts["failed"]
        size = sum(one.stat().st_size for one in self._root.glob("state.db*") if one.is_file())
        pages = (self._answers, self._refusals)
        return Figures(memory, descriptors, threads, size, begun, failed, *pages, len(opened))

    @staticmethod
    def _is_steady(descriptor: Path) -> bool:
        """Return whether a descriptor is one that stays; those of a pass and of the state come and go."""
        try:
            target = str(descriptor.readlink())
        except OSError:
            return False
        return not target.startswith(("pipe:", "anon_inode:[pidfd]", "/memfd:")) and "state.db" not in target
