"""Answers that are given again while nothing new is known, however many ask: passes need the processors more."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from threading import Lock

from starlette.requests import Request
from starlette.responses import Response

from imagesync.daemon.web.desk import Desk
from imagesync.run.situation import Situation

_MOST = 64

Answer = Callable[[Desk, Request], Response]


class Answers:
    """Answers by path, all of one look at how things stand. Safe to use from several threads."""

    def __init__(self, desk: Desk) -> None:
        """Answer at ``desk``."""
        self._desk = desk
        self._lock = Lock()
        self._of: Situation | None = None
        self._kept: dict[str, Response] = {}

    def give(self, answer: Answer, request: Request) -> Response:
        """Return what ``answer`` gives, or gave to somebody who asked for the same path.

        Raises:
            HTTPException: ``answer`` has none.
            ConfigError: the password of the state cannot be read.
            StateError: the state cannot be read.
        """
        now, path = self._desk.glances.situation(), request.scope["path"]
        with self._lock:
            if self._of is not now:
                self._of, self._kept = now, {}
            kept = self._kept
        found = kept.get(path)
        if found is None:
            found = answer(self._desk, request)
            if found.status_code == HTTPStatus.OK and len(kept) < _MOST:
                kept[path] = found
        return found
