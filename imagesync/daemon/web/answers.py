"""Answers that are given again, however many ask, and made anew behind their backs: passes need the processors more."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from threading import Lock

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from imagesync.daemon.web.desk import Desk

_FRESH, _OLD, _OLDEST = 1.0, 3.0, 10.0
"""Seconds for which an answer is good; for which it is better than to wait; and that as long as one is made anew."""

_MOST = 64

Answer = Callable[[Desk, Request], Response]


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer, when it was there, and how often things had been forgotten before."""

    response: Response
    made: float
    forgotten: int


class Answers:
    """Answers by path. Safe to use from several threads."""

    def __init__(self, desk: Desk) -> None:
        """Answer at ``desk``."""
        self._desk, self._background = desk, desk.glances.background
        self._making, self._keeping = Lock(), Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def give(self, answer: Answer, request: Request) -> Response:
        """Return what ``answer`` gives, or gave to somebody who asked for the same path.

        Raises:
            HTTPException: ``answer`` has none.
            ConfigError: the password of the state cannot be read.
            StateError: the state cannot be read.
        """
        path = request.scope["path"]
        kept = self._kept.get(path)
        if kept is None or not self._may_be_given(path, kept):
            return await run_in_threadpool(self._make_unless, kept, answer, request)
        if time.monotonic() - kept.made > _FRESH:
            self._background.do(path, partial(self._renew, answer, request))
        return kept.response

    def _may_be_given(self, path: str, kept: _Kept) -> bool:
        age = time.monotonic() - kept.made
        is_young = age < _OLD or (age < _OLDEST and self._background.is_due(path))
        return is_young and kept.forgotten == self._desk.glances.forgotten

    def _make_unless(self, before: _Kept | None, answer: Answer, request: Request) -> Response:
        """Make it, unless somebody did since ``before``."""
        with self._making:
            kept = self._kept.get(request.scope["path"])
            return kept.response if kept is not None and kept is not before else self._make(answer, request)

    def _make(self, answer: Answer, request: Request) -> Response:
        forgotten = self._desk.glances.forgotten
        response = answer(self._desk, request)
        if response.status_code == HTTPStatus.OK:
            with self._keeping:
                self._kept[request.scope["path"]] = _Kept(response, time.monotonic(), forgotten)
                while len(self._kept) > _MOST:
                    self._kept.popitem(last=False)
        return response

    def _renew(self, answer: Answer, request: Request) -> None:
        is_made = False
        with suppress(Exception):  # who asks next is told why
            is_made = self._make(answer, request).status_code == HTTPStatus.OK
        if not is_made:
            with self._keeping:
                self._kept.pop(request.scope["path"], None)
