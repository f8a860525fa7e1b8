"""What is done behind the back of those who ask: one thing at a time, and with long rests."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread

import structlog

log = structlog.get_logger(__name__)

_RESTS = 9
"""Times that a thing took for which nothing is done after it: passes need the processors more."""


class Background:
    """Does one thing after another, for a tenth of the time at most. Safe to use from several threads."""

    def __init__(
        self, rest: Callable[[float], None] = time.sleep, spent: Callable[[], float] = time.thread_time
    ) -> None:
        """Have nothing to do. ``spent`` is the processor time of this thread in seconds."""
        self._rest, self._spent = rest, spent
        self._lock = Lock()
        self._due: dict[str, Callable[[], object]] = {}
        self._thread: Thread | None = None

    def do(self, name: str, action: Callable[[], object]) -> None:
        """Do ``action`` soon, unless what has the same ``name`` waits or is being done. What fails is logged."""
        with self._lock:
            self._due.setdefault(name, action)
            if self._thread is None or not self._thread.is_alive():
                self._thread = None
                thread = Thread(target=self._work, name="background", daemon=True)
                with suppress(RuntimeError):  # no thread can be had: whoever asks next tries again
                    thread.start()
                    self._thread = thread

    def is_due(self, name: str) -> bool:
        """Return whether what has this name waits or is being done."""
        return name in self._due

    def wait(self, seconds: float) -> None:
        """Wait until nothing is to do."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _work(self) -> None:
        while found := self._next():
            name, action = found
            began = self._spent()
            try:
                action()
            except Exception:
                log.exception("this could not be made anew", name=name)
            with self._lock:
                del self._due[name]
            self._rest(_RESTS * (self._spent() - began))

    def _next(self) -> tuple[str, Callable[[], object]] | None:
        with self._lock:
            if not self._due:
                self._thread = None
                return None
            return next(iter(self._due.items()))
