"""Putting what happened into the outbox, in a thread of its own, so that no pass waits for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from threading import Event, Thread

from imagesync.config.schema import Config
from imagesync.daemon.notify.boundary import bounded
from imagesync.daemon.notify.inbox import Inbox
from imagesync.daemon.notify.writing import tell, tell_changes
from imagesync.errors import DefectError, ImagesyncError
from imagesync.run.wiring import open_configured_state
from imagesync.state.repository import Repository

_LOOK_EVERY = 10.0


class Teller(Thread):
    """Tells what is in the inbox, and what commands that ran beside the daemon, or before it, did to images."""

    def __init__(self, inbox: Inbox, clock: Callable[[], datetime], is_idle: Callable[[], bool]) -> None:
        """Tell nothing before there is a ``config``. While ``is_idle`` is false a pass has yet to say all it did."""
        super().__init__(name="teller", daemon=True)
        self.config: Config | None = None
        self.told: Callable[[], None] = lambda: None
        self.news = Event()
        self._inbox, self._clock, self._is_idle = inbox, clock, is_idle
        self._tidied: Config | None = None
        self._ended = Event()

    def end(self) -> None:
        """Let it end after what it is at: what is not told is kept in the state."""
        self._ended.set()
        self.news.set()

    def run(self) -> None:
        """Look whenever there is news, and now and then."""
        while not self._ended.is_set():
            self.news.clear()
            if self.config is not None:
                self._look(self.config)
            if not self._ended.is_set():  # which may have come just before the news were cleared
                self.news.wait(_LOOK_EVERY)

    def _look(self, config: Config) -> None:
        try:
            with bounded("notifications"), open_configured_state(config) as state:
                self._tidy(config, state)
                self._tell(config, state)
        except ImagesyncError as error:
            self._inbox.complain("outbox", error, self._clock())
        else:
            self._inbox.complain("outbox", "", self._clock())

    def _tidy(self, config: Config, state: Repository) -> None:
        """Forget messages for those who are not told any more."""
        if config is not self._tidied:
            state.drop_messages_but_of([receiver.name for receiver in config.notifications])
            self._tidied = config

    def _tell(self, config: Config, state: Repository) -> None:
        """Tell all there is.

        Raises:
            StateError: the state cannot be read or written; the rest is told later.
            DefectError: not all could be told. A pass of which this is so waits for the next one over its list.
        """
        defects: list[DefectError] = []
        for passed in self._inbox.waiting():
            try:
                with bounded(f"notifications of the pass over {passed.subscription}"):
                    self._note(told=tell(config, passed, state))
                self._inbox.drop(passed)
            except DefectError as error:
                defects.append(error)
        more = True
        while more and not self._ended.is_set():
            more = tell_changes(config, state, self._clock(), ended=not self._is_idle())
            self._note(told=more)
        if defects:
            raise defects[0]

    def _note(self, *, told: bool) -> None:
        if told:
            self.told()
