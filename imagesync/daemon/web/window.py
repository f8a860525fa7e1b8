"""What the page may see of the daemon, and the little that it may ask for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from threading import Lock

from imagesync.daemon.live import Live
from imagesync.daemon.passes import Site
from imagesync.daemon.web.background import Background
from imagesync.daemon.web.plans import Plans
from imagesync.run.situation import Outlook, Situation
from imagesync.run.survey import Survey

_FRESH, _OLD, _OLDEST = 1.0, 3.0, 10.0
"""Seconds for which all see the same; for which that is better than to wait; and as long as somebody looks anew."""

_LOOK = "look"


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
    """How things stand, looked at once a second at most however many ask. Safe to use from several threads.

    While many ask, nobody waits: they are shown the last look until the next one is done. ``forgotten`` says how often
    what had been seen was not to be shown any more.
    """

    def __init__(self, window: Window) -> None:
        """Look through ``window``."""
        self.window, self.background = window, Background()
        self.forgotten = 0
        self._lock = Lock()
        self._last: tuple[float, Situation] | None = None

    def situation(self) -> Situation:
        """Return how things stand.

        Raises:
            ConfigError: the password of the state cannot be read.
            StateError: the state cannot be read.
        """
        last = self._last
        age = time.monotonic() - last[0] if last else _OLDEST
        if last is None or age >= (_OLDEST if self.background.is_due(_LOOK) else _OLD):
            return self._look_unless(last)
        if age > _FRESH:
            self.background.do(_LOOK, partial(self._renew, last))
        return last[1]

    def _look_unless(self, before: tuple[float, Situation] | None) -> Situation:
        """Look, unless somebody did since ``before``."""
        with self._lock:
            if self._last is before or self._last is None:
                window = self.window
                found = window.survey.look(window.site().config, window.outlook(), window.clock())
                # From its end on: a look that takes long must not be old when it is there.
                self._last = (time.monotonic(), found)
            return self._last[1]

    def _renew(self, before: tuple[float, Situation]) -> None:
        try:
            self._look_unless(before)
        except Exception:  # noqa: BLE001 - who asks next is told why
            self.forget()

    def forget(self) -> None:
        """Let the next who asks see what is new."""
        with self._lock:
            self.forgotten += 1
            self._last = None
