"""What the next pass would do: asked of a process of its own, in the background, and shown with its age."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock, Thread
from typing import Any

import structlog

from imagesync.daemon.passes import Program, Site
from imagesync.daemon.process import Launch, supervise
from imagesync.daemon.stop import Stop

log = structlog.get_logger(__name__)

EVERY = timedelta(minutes=5)
"""A plan is made at most this often: it asks list servers and targets."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan as it was at a time: ``report`` is what the process told, ``trouble`` why there is none."""

    at: datetime
    report: Mapping[str, Any]
    trouble: str = ""


class Plans:
    """The newest plan. Looking at it lets a new one be made if it is old; nobody waits for that."""

    def __init__(self, program: Program, site: Callable[[], Site], stop: Stop) -> None:
        """Plan for the configuration in force; asking for a ``stop`` ends it."""
        self._program, self._site, self._stop = program, site, stop
        self._lock = Lock()
        self._plan: Plan | None = None
        self._thread: Thread | None = None
        self._begun: datetime | None = None

    def newest(self) -> tuple[Plan | None, bool]:
        """Return the newest plan, and whether another one is being made."""
        now = self._program.clock()
        with self._lock:
            idle = self._thread is None or not self._thread.is_alive()
            old = self._begun is None or not self._begun <= now < self._begun + EVERY
            if idle and old and not self._stop.is_set():
                self._begun = now
                self._thread = Thread(target=self._make, name="plan", daemon=True)
                self._thread.start()
                idle = False
            return self._plan, not idle

    def wait(self, seconds: float) -> None:
        """Wait until nothing is being made."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _make(self) -> None:
        site = self._site()
        command = [*self._program.command, "pass", "--plan"]
        launch = Launch(command, self._program.environment, json.dumps(dict(site.files)))
        try:
            ending = supervise(launch, site.patience(), self._stop, lambda _: None)
        except OSError as error:
            self._keep({}, f"no process can be started: {error.strerror}")
            return
        self._keep(ending.report, ending.why or str(ending.report.get("error", "")))

    def _keep(self, report: Mapping[str, Any], trouble: str) -> None:
        if self._stop.is_set():
            return
        if trouble:
            log.warning("no plan could be made", reason=trouble)
        with self._lock:
            self._plan = Plan(self._program.clock(), report, trouble)
