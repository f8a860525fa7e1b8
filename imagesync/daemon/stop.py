"""The one budget of a stop: everything that has to end looks here for how long it still may take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread


@dataclass(frozen=True, slots=True)
class Budget:
    """Seconds after the signal: until ``children`` what was started ends itself, at ``whole`` the daemon is gone.

    A pass that is asked to end takes no more than the grace of ``imagesync.cli.stopping``. ``whole`` is less than the
    30 seconds that are promised, and than ``TimeoutStopSec`` of the unit.
    """

    children: float = 15.0
    whole: float = 25.0


class Stop:
    """Whether the daemon is to end, and until when. It is asked for once; asking again gives nobody more time."""

    def __init__(self, budget: Budget | None = None) -> None:
        """Wait to be asked."""
        self.budget = budget or Budget()
        self._at = 0.0
        self._asked = Event()

    def ask(self) -> None:
        """Let everything end. May be called by the receiver of a signal, and from any thread."""
        if not self._at:
            self._at = time.monotonic()
            self._asked.set()

    def is_set(self) -> bool:
        """Return whether it was asked for."""
        return bool(self._at)

    def patience(self) -> float:
        """Return for how many seconds what was started may still end itself; without end while nobody asked."""
        return max(self._at + self.budget.children - time.monotonic(), 0.0) if self._at else math.inf

    def enforce(self, abandon: Callable[[], None]) -> None:
        """Call ``abandon`` when the budget is spent and this process is still there, whatever its threads wait for."""

        def run() -> None:
            self._asked.wait()
            time.sleep(max(self._at + self.budget.whole - time.monotonic(), 0.0))
            abandon()

        Thread(target=run, name="stop", daemon=True).start()
