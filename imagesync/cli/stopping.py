"""Ending a pass soon after SIGTERM or Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread, main_thread
from types import FrameType
from typing import Any

from imagesync.cli.context import INTERRUPTED, complain

_GRACE = 5.0
"""Seconds that running steps have to clean up after being asked to stop."""

_AGAIN = 0.2
"""Seconds after which the main thread is woken again."""


@contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` and raise ``KeyboardInterrupt`` in the main thread on the first SIGTERM or Ctrl-C.

    Running steps are abandoned and cleaned up. A step that waits for a silent server does not notice. After a grace the
    process just ends; whatever it leaves behind is removed by the next run, as after any crash.

    Python runs a signal's receiver only when the main thread runs Python code, and a signal that arrives in the moment
    before it waits for a lock does not end the wait. So the interpreter also writes the signal to a socket
    (``signal.set_wakeup_fd``), and a thread that reads it wakes the main thread until the receiver has run.
    """
    ours, theirs = socket.socketpair()
    theirs.settimeout(0)
    with ours, theirs:
        watch = _Watch(stop, ours)
        thread = Thread(target=watch.run, daemon=True)
        wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        before: dict[int, Any] = {
            number: signal.signal(number, watch.receive) for number in (signal.SIGTERM, signal.SIGINT)
        }
        thread.start()
        try:
            yield
        finally:
            watch.done.set()
            for number, receiver in before.items():
                signal.signal(number, receiver)
            signal.set_wakeup_fd(wakeup)
            theirs.shutdown(socket.SHUT_RDWR)
            thread.join()


@dataclass(slots=True)
class _Watch:
    stop: Callable[[], None]
    signals: socket.socket
    received: Event = field(default_factory=Event)
    done: Event = field(default_factory=Event)

    def receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a receiver
        if not self.received.is_set():
            self.received.set()
            self.stop()
            raise KeyboardInterrupt

    def run(self) -> None:
        number = self.signals.recv(1)
        if not number:
            return
        self.stop()
        for _ in range(round(_GRACE / _AGAIN)):
            if self.done.wait(_AGAIN):
                return
            if not self.received.is_set():
                signal.pthread_kill(main_thread().ident or 0, number[0])
        complain("interrupted; the next run cleans up")
        os._exit(INTERRUPTED)
