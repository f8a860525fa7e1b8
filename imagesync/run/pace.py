"""What the images of one pass share, so that several at once harm neither a server, nor the line, nor this machine."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from threading import BoundedSemaphore, Lock

from imagesync.http import origin_of


class Pace:
    """Turns at hosts, at conversion and at boot checks, and the bandwidth that all downloads have together."""

    def __init__(self, *, conversions: int, per_host: int, bandwidth: int | None, boots: int = 1) -> None:
        """Let so many of each run at once; ``bandwidth`` is in bytes per second, ``None`` for any."""
        self.conversion = BoundedSemaphore(conversions)
        self.boot = BoundedSemaphore(boots)
        self._per_host = per_host
        self._hosts: dict[str, BoundedSemaphore] = {}
        self._files: dict[str, BoundedSemaphore] = {}
        self._bandwidth = bandwidth
        self._due = 0.0
        self._lock = Lock()

    def turn(self, uri: str) -> AbstractContextManager[object]:
        """Return what is held while downloading from the host of ``uri``; entering it waits for a turn there.

        Raises:
            ForbiddenAddressError: the URI names no host.
        """
        host = origin_of(uri).host
        with self._lock:
            return self._hosts.setdefault(host, BoundedSemaphore(self._per_host))

    def alone(self, file: str) -> BoundedSemaphore:
        """Return what is held while a file, in one machine, is started: targets want one verdict, not many starts."""
        with self._lock:
            return self._files.setdefault(file, BoundedSemaphore(1))

    def throttle(self, count: int) -> float:
        """Return how many seconds a download has to wait after ``count`` more bytes, to keep to the bandwidth."""
        if self._bandwidth is None:
            return 0.0
        with self._lock:
            now = time.monotonic()
            self._due = max(self._due, now) + count / self._bandwidth
            return self._due - now
