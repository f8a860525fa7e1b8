"""What those who run passes, and those who deliver, leave for others to tell."""

from __future__ import annotations

import time
from datetime import datetime
from threading import Lock

import structlog

from imagesync.daemon.notify.boundary import origin
from imagesync.daemon.notify.events import Passed
from imagesync.errors import ImagesyncError

log = structlog.get_logger(__name__)

LASTING = 60.0
"""Seconds that the state must be out of order to be told: a database may be started anew."""


class Inbox:
    """What is kept in memory, because it is on its way into the state or cannot be written there."""

    def __init__(self, lasting: float = LASTING) -> None:
        """Begin with nothing; raise the alarm after ``lasting`` seconds."""
        self._lasting = lasting
        self._lock = Lock()
        self._passed: dict[str, Passed] = {}
        self._complaints: dict[str, str] = {}
        self._began = 0.0
        self._since: datetime | None = None
        self._sent: dict[str, set[int]] = {}

    def sent(self, receiver: str) -> set[int]:
        """Return the numbers of messages that ``receiver`` has, and that could not be dropped: it changes the set."""
        with self._lock:
            return self._sent.setdefault(receiver, set())

    def put(self, passed: Passed) -> None:
        """Take a pass that ended. Of each list only the last one counts: troubles last, or are over."""
        with self._lock:
            self._passed[passed.subscription] = passed

    def waiting(self) -> tuple[Passed, ...]:
        """Return the passes that have yet to be told."""
        with self._lock:
            return tuple(self._passed.values())

    def drop(self, passed: Passed) -> None:
        """Forget a pass that was told, unless there was another one meanwhile."""
        with self._lock:
            if self._passed.get(passed.subscription) is passed:
                del self._passed[passed.subscription]

    # --- the state itself ---
    def complain(self, who: str, why: str | ImagesyncError, at: datetime) -> None:
        """Note why ``who`` cannot work with the state, or with nothing that it can again.

        Of a defect the log gets where it arose, once however often it is met.
        """
        where, why = origin(why), str(why)
        with self._lock:
            before = self._complaints.pop(who, "")
            if not self._complaints and not before:
                self._began, self._since = time.monotonic(), at
            if why:
                self._complaints[who] = why
        if why and why != before:
            log.error("state cannot be used", by=who, reason=why, exc_info=where)
        elif before and not why:
            log.info("state can be used again", by=who)

    @property
    def complaint(self) -> str:
        """Return why the state cannot be used, or nothing."""
        with self._lock:
            return next(iter(self._complaints.values()), "")

    @property
    def since(self) -> datetime | None:
        """Return since when there is a complaint."""
        with self._lock:
            return self._since if self._complaints else None

    @property
    def alarm(self) -> str:
        """Return why the state cannot be used, when that has lasted; or nothing."""
        why = self.complaint
        return why if why and time.monotonic() - self._began >= self._lasting else ""
