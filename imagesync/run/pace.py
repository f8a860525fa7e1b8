"""What the images of one pass share, so that several at once harm neither a server, nor the line, nor this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock

from imagesync.backend import Progress
from imagesync.http import origin_of

_NAP = 0.25
"""Seconds that a download waits at most before it looks whether it should stop."""


class Pace:
    """Turns at hosts and at conversion, and the bandwidth that all downloads have together."""

    def __init__(self, *, conversions: int, per_host: int, bandwidth: int | None) -> None:
        """Let ``conversions`` and ``per_host`` run at once; ``bandwidth`` is in bytes per second, ``None`` for any."""
        self.conversion = BoundedSemaphore(conversions)
        self._per_host = per_host
        self._hosts: dict[str, BoundedSemaphore] = {}
        self._bandwidth = bandwidth
        self._due = 0.0
        self._lock = Lock()

    @contextmanager
    def download(self, uri: str, progress: Progress) -> Iterator[Progress]:
        """Wait for a turn at the host of ``uri`` and yield ``progress`` in a form that keeps to the bandwidth.

        Raises:
            ForbiddenAddressError: the URI names no host.
        """
        with self._turn(origin_of(uri).host):
            yield progress if self._bandwidth is None else self._slowed(progress, self._bandwidth)

    def _turn(self, host: str) -> BoundedSemaphore:
        with self._lock:
            return self._hosts.setdefault(host, BoundedSemaphore(self._per_host))

    def _slowed(self, progress: Progress, bandwidth: int) -> Progress:
        # The bounds on a slow server count only the time spent waiting for its bytes, and this is not such time.
        def report(count: int) -> None:
            progress(count)
            due = self._take(count, bandwidth)
            while (left := due - time.monotonic()) > 0:
                time.sleep(min(left, _NAP))
                progress(0)

        return report

    def _take(self, count: int, bandwidth: int) -> float:
        """Return when ``count`` bytes after all that were taken before may have come, on the monotonic clock."""
        with self._lock:
            self._due = max(self._due, time.monotonic()) + count / bandwidth
            return self._due
