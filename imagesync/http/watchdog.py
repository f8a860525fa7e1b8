"""A clock that ends a connection which a read timeout cannot end.

A read timeout counts from the last byte, so a server that sends one byte a second keeps a reader for ever. The
watchdog shuts the socket down at a set time, whatever arrives.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self

_NEVER = float("inf")


class Watchdog:
    """Shuts the guarded socket down when the time that was set passes. A context manager, for one exchange.

    ``expired`` says why the connection was ended; it is empty while that did not happen.
    """

    def __init__(self) -> None:
        self.expired = ""
        self._changed = threading.Condition()
        self._socket: socket.socket | None = None
        self._due = self._wakes = _NEVER
        self._why = ""
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="http-watchdog", daemon=True)

    def __enter__(self) -> Self:
        """Start the clock."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop the clock; the connection stays as it is."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()
        self._let_go()

    def guard(self, connection: socket.socket) -> None:
        """Watch over ``connection`` from now on, and over the one before no longer."""
        # A duplicate: wrapping in TLS takes the descriptor away from the object that we were given.
        duplicate = connection.dup()
        with self._changed:
            self._let_go()
            self._socket = duplicate
            if self.expired:
                self._shut()

    def set(self, due: float, why: str) -> None:
        """End the connection at ``due`` on the monotonic clock, with ``why`` as the reason."""
        with self._changed:
            self._due, self._why = due, why
            # Waking the thread for each block of a body would cost more than receiving it.
            if due < self._wakes:
                self._changed.notify()

    def rest(self) -> None:
        """Set no time until the next ``set``."""
        with self._changed:
            self._due = _NEVER

    def _run(self) -> None:
        with self._changed:
            while not self._ended:
                if self._due <= time.monotonic():
                    self.expired, self._due = self._why, _NEVER
                    self._shut()
                self._wakes = self._due
                self._changed.wait(None if self._due == _NEVER else max(0.0, self._due - time.monotonic()))

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _let_go(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
