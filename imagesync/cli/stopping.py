"""Ending a pass soon after SIGTERM or Ctrl-C."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, main_thread
from types import FrameType
from typing import Any

from imagesync.cli.context import INTERRUPTED, complain
from imagesync.signals import ENDING, hearing

_GRACE = 5.0
"""Seconds that running steps have to clean up after being asked to stop."""

_AGAIN = 0.2
"""Seconds after which the main thread is woken again."""


@contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` and raise ``KeyboardInterrupt`` in the main thread on the first SIGTERM or Ctrl-C.

    Running steps are abandoned and cleaned up. A step that waits for a silent server does not notice. After a grace the
    process just ends; whatever it leaves behind is removed by the next run, as after any crash.

    A signal that arrives in the moment before the main thread waits for a lock does not end the wait. So a thread that
    hears it as well wakes the main thread until the receiver has run.
    """
    watch = _Watch(stop)
    with hearing(watch.hear):
        before: dict[int, Any] = {number: signal.signal(number, watch.receive) for number in ENDING}
        try:
            yield
        finally:
            watch.done.set()
            for number, receiver in before.items():
                signal.signal(number, receiver)


@dataclass(slots=True)
class _Watch:
    stop: Callable[[], None]
    received: Event = field(default_factory=Event)
    done: Event = field(default_factory=Event)

    def receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a receiver
        if not self.received.is_set():
            self.received.set()
            self.stop()
            raise KeyboardInterrupt

    def hear(self, number: int) -> None:
        self.stop()
        for _ in range(round(_GRACE / _AGAIN)):
            if self.done.wait(_AGAIN):
                return
            if not self.received.is_set():
                signal.pthread_kill(main_thread().ident or 0, number)
        complain("interrupted; the next run cleans up")
        os._exit(INTERRUPTED)
