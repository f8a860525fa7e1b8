"""Progress: bars on a terminal, otherwise a log line every 10 % or 60 s."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, TextIO

import structlog

from imagesync.backend import Progress
from imagesync.plan.render import printable
from imagesync.run.progress import Display, Step

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

log = structlog.get_logger(__name__)

_EVERY_SECONDS = 60.0
_EVERY_SHARE = 0.1
_LEAST_SECONDS = 1.0


@contextmanager
def display(stream: TextIO | None = None) -> Iterator[Display]:
    """Open the display that fits ``stream`` (standard error unless given) and close it again."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield LogLines()
        return
    with _bars(stream) as bars:
        yield _Terminal(bars)


def _bars(stream: TextIO) -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.fields[step]:<8}"),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Bars(*columns, console=Console(file=stream), transient=True)


class _Terminal:
    """Draws a bar for each running task."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars

    @contextmanager
    def task(self, step: Step, title: str, total: int) -> Iterator[Progress]:
        task = self._bars.add_task(printable(title)[:40], total=total, step=str(step))
        try:
            # A repeated attempt counts its bytes again; rich shows no more than the total.
            yield lambda count: self._bars.advance(task, count)
        finally:
            self._bars.remove_task(task)


class LogLines:
    """Logs how far each task is."""

    @contextmanager
    def task(self, step: Step, title: str, total: int) -> Iterator[Progress]:
        """Log at every tenth of ``total`` but no more than once a second, or after a minute without a line."""
        yield _Counter(step, title, total)


class _Counter:
    def __init__(self, step: Step, title: str, total: int) -> None:
        self._about = {"step": str(step), "title": title}
        self._total = total
        self._done = 0
        self._logged = 0
        self._at = time.monotonic()
        self._lock = Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self._done += count
            now = time.monotonic()
            far_enough = self._done - self._logged >= max(self._total * _EVERY_SHARE, 1)
            if now - self._at < (_LEAST_SECONDS if far_enough else _EVERY_SECONDS):
                return
            self._logged, self._at = self._done, now
        share = f"{min(self._done / self._total, 1):.0%}" if self._total else "-"
        log.info("progress", done=self._done, total=self._total, share=share, **self._about)
