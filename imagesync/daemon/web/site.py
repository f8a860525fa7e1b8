"""The page as the daemon keeps it: at the address that the configuration says, as soon as that is possible."""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from imagesync.config.daemon import OFF
from imagesync.config.schema import Config
from imagesync.daemon.stop import Stop
from imagesync.daemon.web.access import Rules, is_local
from imagesync.daemon.web.app import make_app
from imagesync.daemon.web.server import PATIENCE, Server
from imagesync.daemon.web.window import Window
from imagesync.errors import ConfigError

log = structlog.get_logger(__name__)

RETRY = 60.0
"""Seconds after which a page that could not be opened is tried again."""


@dataclass(frozen=True, slots=True)
class _Place:
    listen: str
    rules: Rules


class Web:
    """The web server, or why there is none. Passes go on without it."""

    def __init__(self, window: Window) -> None:
        """Show what is seen through ``window``. Nothing is opened before ``arrange``."""
        self._window = window
        self._server: Server | None = None
        self._place: _Place | None = None
        self._tried = 0.0
        self.complaint = ""

    @property
    def address(self) -> str:
        """Return where the page is: ``http://HOST:PORT`` or ``unix:PATH``; empty where it is not."""
        return self._server.address if self._server else ""

    def arrange(self, config: Config) -> None:
        """Be where ``config`` says. What is not possible is told in ``complaint`` and in the log."""
        self._tried = time.monotonic()
        try:
            place = _place(config)
            if place == self._place and self._server is not None and self._server.is_alive():
                return
            self.stop()
            if place.listen != OFF:
                self._server = Server(make_app(self._window, place.rules), place.listen)
                log.info("status page opened", address=self.address)
            self._place, self.complaint = place, ""
        except ConfigError as error:
            self.stop()
            if str(error) != self.complaint:
                log.error("the status page is not available, passes go on", reason=str(error))
            self.complaint = str(error)

    def tend(self, config: Config) -> None:
        """Try again, now and then, what was not possible, or ended by itself."""
        ended = self._server is not None and not self._server.is_alive()
        if (self.complaint or ended) and time.monotonic() - self._tried > RETRY:
            self.arrange(config)

    def end(self, stop: Stop) -> None:
        """Close the page, and wait for what it has begun, which ends by the same ``stop``."""
        self.stop(stop.patience())
        # What is killed when the budget of children is spent has yet to be reaped.
        self._window.plans.wait(min(stop.patience() + 1, PATIENCE))

    def stop(self, patience: float = PATIENCE) -> None:
        """Close the page within so many seconds."""
        if self._server is not None:
            self._server.stop(patience)
        self._server = self._place = None


def _place(config: Config) -> _Place:
    """Return where to listen and for whom.

    Raises:
        ConfigError: the secret cannot be read: then nobody may look.
    """
    daemon = config.daemon
    secret = daemon.auth.value() if daemon.auth and daemon.listen != OFF else ""
    return _Place(daemon.listen, Rules(secret, local=is_local(daemon.listen)))
