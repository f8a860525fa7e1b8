"""What a pass of the daemon tells the daemon: one JSON object a line, through a pipe.

``task`` (task, step, title, total), ``progress`` (task, done), ``done`` (task), ``alive``, and at last ``end``. Any of
them is a sign of life.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any

from imagesync.backend import Progress
from imagesync.run.progress import Step

_EVERY = 0.5
_LONGEST_TITLE = 200


class Events:
    """The writing end, which is also a ``Display``. Safe to use from several threads."""

    def __init__(self, descriptor: int) -> None:
        """Write to ``descriptor``."""
        self._descriptor = descriptor
        self._lock = Lock()
        self._numbers = itertools.count(1)
        self._told = 0.0

    def tell(self, event: str, **facts: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Write an event. When the reader is gone, so is the need."""
        line = json.dumps({"event": event, **facts}).encode() + b"\n"
        with self._lock, suppress(BrokenPipeError):
            self._told = time.monotonic()
            while line:
                line = line[os.write(self._descriptor, line) :]

    def alive(self) -> None:
        """Say that something goes on, unless that was just said."""
        if time.monotonic() - self._told > _EVERY:
            self.tell("alive")

    @contextmanager
    def task(self, step: Step, title: str, total: int) -> Iterator[Progress]:
        """Tell of a task and of how far it is, at most twice a second."""
        number = next(self._numbers)
        done, told = 0, time.monotonic()

        def count(more: int) -> None:
            nonlocal done, told
            done += more
            if time.monotonic() - told > _EVERY:
                told = time.monotonic()
                self.tell("progress", task=number, done=done)

        self.tell("task", task=number, step=str(step), title=title[:_LONGEST_TITLE], total=total)
        try:
            yield count
        finally:
            self.tell("done", task=number)
