"""What the page may see of the daemon, and the little that it may ask for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from imagesync.daemon.live import Live
from imagesync.daemon.passes import Site
from imagesync.daemon.web.plans import Plans
from imagesync.run.situation import Outlook, Situation
from imagesync.run.survey import Survey

_FRESH = 1.0
"""Seconds for which everybody who looks is shown the same."""


@dataclass(frozen=True, slots=True)
class Window:
    """The daemon as its page sees it.

    ``hasten`` makes the pass over a list due now; ``is_alive`` says whether what is due is started.
    """

    site: Callable[[], Site]
    outlook: Callable[[], Outlook]
    live: Live
    clock: Callable[[], datetime]
    hasten: Callable[[str], None]
    plans: Plans
    began: datetime
    is_alive: Callable[[], bool] = lambda: True
    survey: Survey = field(default_factory=Survey)


class Glances:
    """How things stand, looked at once a second at most however many ask. Safe to use from several threads."""

    def __init__(self, window: Window) -> None:
        """Look through ``window``."""
        self.window = window
        self._lock = Lock()
        self._last: tuple[float, Situation] | None = None

    def situation(self) -> Situation:
        """Return how things stand.

        Raises:
            ConfigError: the password of the state cannot be read.
            StateError: the state cannot be read.
        """
        with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > _FRESH:
                found = self._look()
                # From its end on: a look that takes long must not be old when it is there.
                self._last = (time.monotonic(), found)
            return self._last[1]

    def _look(self) -> Situation:
        window = self.window
        return window.survey.look(window.site().config, window.outlook(), window.clock())

    def forget(self) -> None:
        """Let the next who asks see what is new."""
        with self._lock:
            self._last = None
