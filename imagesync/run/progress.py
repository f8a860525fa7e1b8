"""How a pass tells what it is doing. The pass never prints; the command line and the daemon decide what to draw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from enum import StrEnum
from threading import Event
from typing import Protocol

from imagesync.backend import Progress


class Step(StrEnum):
    """What is going on with an image, in the order of events."""

    DOWNLOAD = "download"
    CONVERT = "convert"
    UPLOAD = "upload"


class Display(Protocol):
    """Where progress goes."""

    def task(self, step: Step, title: str, total: int) -> AbstractContextManager[Progress]:
        """Open the display of one task of ``total`` bytes; the result is called with the bytes done since."""
        ...


class Silent:
    """A display that shows nothing."""

    @contextmanager
    def task(self, step: Step, title: str, total: int) -> Iterator[Progress]:  # noqa: ARG002 - the port's signature
        """Count nothing."""
        yield lambda _: None


@contextmanager
def lazily(display: Display, step: Step, title: str, total: int) -> Iterator[Progress]:
    """Open a task of ``display`` when its first byte is reported: what is not needed is not shown."""
    with ExitStack() as stack:
        opened: list[Progress] = []

        def report(count: int) -> None:
            if not opened:
                opened.append(stack.enter_context(display.task(step, title, total)))
            opened[0](count)

        yield report


class Interrupted(BaseException):
    """The pass was asked to stop. Not an ``Exception``: no boundary of one image may take it for a bad image."""


def interruptible(progress: Progress, stop: Event) -> Callable[[int], None]:
    """Return ``progress`` that raises ``Interrupted`` from the running step once ``stop`` is set."""

    def report(count: int) -> None:
        if stop.is_set():
            raise Interrupted
        progress(count)

    return report


def both(first: Progress, second: Progress) -> Progress:
    """Return a progress that tells ``first`` and then ``second``."""

    def report(count: int) -> None:
        first(count)
        second(count)

    return report
