"""Hearing a signal at once, whatever the main thread waits for."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

ENDING = (signal.SIGTERM, signal.SIGINT)
"""The signals that ask a process to end."""


@contextmanager
def hearing(heard: Callable[[int], None]) -> Iterator[None]:
    """Call ``heard`` with the number of each of ``ENDING`` that arrives, in a thread of its own.

    For these signals receivers have to be set. Such a receiver runs only when the main thread is back in Python, which
    may wait for a database first; and a signal in the moment before it waits for a lock does not end the wait. So the
    interpreter also writes each signal to a socket (``signal.set_wakeup_fd``), which the thread reads. Must be called
    in the main thread; on the way out, it waits for ``heard`` to return.
    """
    ours, theirs = socket.socketpair()
    theirs.settimeout(0)

    def listen() -> None:
        while number := ours.recv(1):
            if number[0] in ENDING:
                heard(number[0])

    with ours, theirs:
        thread = Thread(target=listen, name="signals", daemon=True)
        thread.start()
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            theirs.shutdown(socket.SHUT_WR)
            thread.join()
