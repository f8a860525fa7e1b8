"""What the page may see of the daemon, and the little that it may ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from imagesync.daemon.live import Live
from imagesync.daemon.passes import Site
from imagesync.daemon.web.background import Background
from imagesync.daemon.web.plans import Plans
from imagesync.daemon.web.renewed import Renewed
from imagesync.run.situation import Outlook, Situation
from imagesync.run.survey import Survey


@dataclass(frozen=True, slots=True)
class Window:
    """The daemon as its page sees it.

    ``hasten`` makes the pass over a list due now; ``is_alive`` says whether what is due is started; ``past`` is the
    number of the newest run of before the daemon, ``None`` where that is not known.
    """

    site: Callable[[], Site]
    outlook: Callable[[], Outlook]
    live: Live
    clock: Callable[[], datetime]
    hasten: Callable[[str], None]
    plans: Plans
    began: datetime
    is_alive: Callable[[], bool] = lambda: True
    past: Callable[[], int | None] = lambda: None
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
        self._look: Renewed[Situation] = Renewed("look", self._survey, self.background, lambda: self.forgotten)

    def situation(self) -> Situation:
        """Return how things stand.

        Raises:
            ConfigError: the password of the state cannot be read.
            StateError: the state cannot be read.
        """
        found = self._look.at_hand()
        return self._look.get() if found is None else found

    def forget(self) -> None:
        """Let the next who asks see what is new."""
        self.forgotten += 1

    def work(self) -> tuple[int, int]:
        """Return what is another one as soon as a pass is asked for, begins or ends."""
        return self.forgotten, self.window.live.changes

    def _survey(self) -> Situation:
        window = self.window
        return window.survey.look(window.site().config, window.outlook(), window.clock())
