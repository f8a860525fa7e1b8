"""What is done behind the back of those who ask: one thing at a time, and with long rests."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock, Thread

_RESTS = 9
"""Times that a thing took for which nothing is done after it: passes need the processors more."""


class Background:
    """Does one thing after another, for a tenth of the time at most. Safe to use from several threads."""

    def __init__(self) -> None:
        """Have nothing to do."""
        self._lock = Lock()
        self._due: dict[str, Callable[[], None]] = {}
        self._thread: Thread | None = None

    def do(self, name: str, action: Callable[[], None]) -> None:
        """Do ``action``, which raises nothing, unless what has the same ``name`` waits or is being done."""
        with self._lock:
            self._due.setdefault(name, action)
            if self._thread is None:
                self._thread = Thread(target=self._work, name="background", daemon=True)
                self._thread.start()

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
            began = time.thread_time()
            try:
                action()
            finally:
                with self._lock:
                    del self._due[name]
            time.sleep(_RESTS * (time.thread_time() - began))

    def _next(self) -> tuple[str, Callable[[], None]] | None:
        with self._lock:
            if not self._due:
                self._thread = None
                return None
            return next(iter(self._due.items()))
