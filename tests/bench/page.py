"""A daemon with its page, passes asked of it, and wrk that looks at the page meanwhile."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from scene import COMMAND, Scene

SECRET = "a secret of the bench"
CONNECTIONS, PAUSE = 8, 100
"""What is asked at once, and the milliseconds after an answer before the same connection asks again."""

_LONGEST = 600
_A_WHILE = 4
"""Seconds after which nothing is at hand any more."""

_SCRIPT = Path(__file__).with_name("load.lua")
_PAGES = ("/", "/lists/{list}", "/targets/site", "/targets/site/{ref}", "/plan", "/passes", "/passes/running")
_ANSWERS = ("/healthz", "/readyz", "/metrics", "/api/v1/status")


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw, and seconds. Of its requests some were cut off, were ``late`` by 30 s, or got a ``bad`` answer.

    ``first`` is the longest that the first visitor of any page waited, before wrk began.
    """

    first: float
    requests: int
    cut: int
    late: int
    bad: int
    seconds: float
    p50: float
    p99: float
    most: float

    @property
    def failed(self) -> int:
        """Return how many requests had no good answer."""
        return self.cut + self.late + self.bad


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon of ``site`` whose page is at ``address``."""

    site: Scene
    address: str

    def ask(self, path: str, data: bytes | None = None) -> Any:
        """Return the JSON answer to a request; with ``data`` it is a POST."""
        request = urllib.request.Request(self.address + path, data, {"Authorization": f"Bearer {SECRET}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def run(self, name: str) -> float:
        """Have one pass over list ``name`` made; return the seconds from asking for it to its end.

        Raises:
            RuntimeError: it does not end, or not well.
        """
        began = datetime.now(UTC)
        self.ask(f"/api/v1/lists/{name}/sync", b"")
        due = time.monotonic() + _LONGEST
        while time.monotonic() < due:
            for finished, code in self._ended_since(began):
                if code:
                    raise RuntimeError(f"the pass ended with exit code {code}")
                return (datetime.fromisoformat(finished).replace(tzinfo=UTC) - began).total_seconds()
            time.sleep(0.05)
        raise RuntimeError(f"no pass over {name} ended in {_LONGEST} s")

    def _ended_since(self, began: datetime) -> list[tuple[str, int]]:
        query = "select finished, exit from run where finished is not null and started > ?"
        with closing(sqlite3.connect(self.site.root / "state.db")) as state:
            return state.execute(query, (f"{began:%Y-%m-%d %H:%M:%S.%f}",)).fetchall()

    def paths(self) -> list[str]:
        """Return one address of every kind."""
        (target,) = self.ask("/api/v1/status")["targets"]
        names = {"list": next(iter(self.site.server.lists)), "ref": target["images"][0]["ref"]}
        return [path.format(**names) for path in (*_PAGES, *_ANSWERS)]

    @contextmanager
    def looked_at(self, found: list[Load]) -> Iterator[None]:
        """Let wrk look at every page while the body runs, and add what it saw to ``found``.

        Somebody looks at every page once before: what nobody asked for in a while is made for who asks.
        """
        paths = self.paths()
        time.sleep(_A_WHILE)
        first = max(self._waits(path) for path in paths)
        arguments = ["-t", "1", "-c", str(CONNECTIONS), "-d", str(_LONGEST), "--timeout", "30"]
        command = ["wrk", *arguments, "-s", str(_SCRIPT), self.address, "--", str(PAUSE), *paths]
        environment = {**os.environ, "IMAGESYNC_TOKEN": SECRET}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as wrk:
            try:
                yield
                wrk.send_signal(signal.SIGINT)
                out, _ = wrk.communicate(timeout=60)
            finally:
                if wrk.poll() is None:
                    wrk.kill()
        found.append(Load(first, **json.loads(out.splitlines()[-1])))

    def _waits(self, path: str) -> float:
        request = urllib.request.Request(self.address + path, headers={"Authorization": f"Bearer {SECRET}"})
        began = time.monotonic()
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
        return time.monotonic() - began


@contextmanager
def daemon(site: Scene, options: dict[str, Any] | None = None) -> Iterator[Daemon]:
    """Run a daemon over ``site``, from its first passes over every list on."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    secret = site.root / "secret"
    secret.write_text(SECRET, encoding="utf-8")
    secret.chmod(0o600)
    config = yaml.safe_load(site.config.read_text(encoding="utf-8"))
    config["daemon"] = {"jitter": "0", "listen": f"127.0.0.1:{port}", "auth": {"file": str(secret)}}
    site.config.write_text(yaml.safe_dump(config | (options or {})), encoding="utf-8")
    running = Daemon(site, f"http://127.0.0.1:{port}")
    with (site.root / "daemon.log").open("w") as log:
        command = [COMMAND, "--config", str(site.config), "daemon"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log) as process:
            try:
                _wait_until_idle(running, process)
                yield running
            finally:
                process.terminate()


def _wait_until_idle(running: Daemon, process: subprocess.Popen[bytes]) -> None:
    due = time.monotonic() + _LONGEST
    while time.monotonic() < due and process.poll() is None:
        try:
            status = running.ask("/api/v1/status")
        except OSError:
            status = {}
        if status and not status["running"] and all(one["last_pass"] for one in status["lists"]):
            return
        time.sleep(0.1)
    raise RuntimeError("the daemon does not come to rest: " + (running.site.root / "daemon.log").read_text()[-3000:])
