"""One server process: started in a group of its own, awaited, stopped, killed."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

START_LIMIT = 120.0
STOP_LIMIT = 20.0
_POLL = 0.05
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServerError(Exception):
    """A server did not start, with the end of its log."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a server is started. ``ready`` is an address that answers 200 once it serves."""

    name: str
    home: Path
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ready: str

    def described(self) -> dict[str, Any]:
        """Return it for ``Launch.of``, as JSON can hold it."""
        return {**asdict(self), "home": str(self.home)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return what ``described`` gave."""
        return cls(**{**values, "home": Path(values["home"]), "command": tuple(values["command"])})

    @property
    def log(self) -> Path:
        """Return the file that takes what the server prints."""
        return self.home / "log"


@dataclass(slots=True)
class Server:
    """A server that may be started again and again at the same address.

    It dies with the thread that started it: the kernel sees to that, whatever happens to our process.
    """

    launch: Launch
    _process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def running(self) -> bool:
        """Return whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Return the process number while it lives, which is also that of its group."""
        return self._process.pid if self._process is not None and self.running else None

    def spawn(self) -> None:
        """Start the process unless it lives; it serves once ``wait`` returned."""
        if self.running:
            return
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.launch.home), "LC_ALL": "C.UTF-8"}
        with self.launch.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self.launch.command],
                env={**environment, **self.launch.environment},
                cwd=self.launch.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self, limit: float = START_LIMIT) -> None:
        """Return once the server answers.

        Raises:
            ServerError: it ended, or did not answer within ``limit`` seconds.
        """
        until = time.monotonic() + limit
        while not _answers(self.launch.ready):
            if not self.running:
                raise ServerError(f"{self.launch.name} ended: {self._last_words()}")
            if time.monotonic() > until:
                raise ServerError(f"{self.launch.name} does not answer after {limit:.0f} s: {self._last_words()}")
            time.sleep(_POLL)

    def stop(self) -> None:
        """Ask it to end, and make it."""
        if self._process is None:
            return
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            self._process.terminate()
            self._process.wait(STOP_LIMIT)
        self.kill()

    def kill(self) -> None:
        """End the process and all of its group at once, as ``kill -9`` does."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        _await_free(self.launch.ready)

    def _last_words(self) -> str:
        return self.launch.log.read_text(errors="replace")[-3000:]


def _await_free(url: str) -> None:
    """Wait until the address can be taken: the threads of a killed worker may hold it after their process is a zombie."""
    address = urllib.parse.urlsplit(url)
    due = time.monotonic() + STOP_LIMIT
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                return probe.bind((address.hostname, address.port))
            except OSError as problem:
                if time.monotonic() > due:
                    raise ServerError(f"what was killed holds {url} still: {problem}") from problem
        time.sleep(0.01)


def free_port() -> tuple[int, socket.socket]:
    """Return a free port, and what reserves it among ourselves for as long as it is open.

    The port lies below those that the kernel gives to clients: a server that is down for a while must not find its
    own taken by somebody's connection.
    """
    for port in random.sample(range(12000, 32000), 200):
        claim = socket.socket(socket.AF_UNIX)
        with suppress(OSError), socket.socket() as probe:
            claim.bind(f"\0imagesync-test-port-{port}")
            probe.bind(("127.0.0.1", port))
            return port, claim
        claim.close()
    raise ServerError("no free port between 12000 and 32000")


def _answers(url: str) -> bool:
    try:
        with DIRECT.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False
