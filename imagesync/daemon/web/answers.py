"""Answers that are given again, however many ask, and made anew behind their backs: passes need the processors more."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from imagesync.daemon.web.desk import Desk
from imagesync.daemon.web.renewed import Renewed

_MOST = 64

Answer = Callable[[Desk, Request], Response]
Version = Callable[[], object]


class Answers:
    """Answers by path. To be used in the event loop only."""

    def __init__(self, desk: Desk) -> None:
        """Answer at ``desk``."""
        self._desk = desk
        self._kept: OrderedDict[str, Renewed[Response]] = OrderedDict()

    async def give(self, answer: Answer, version: Version, request: Request) -> Response:
        """Return what ``answer`` gives, or gave to somebody who asked for the same path under the same ``version``.

        Raises:
            HTTPException: ``answer`` has none.
            ConfigError: the password of the state cannot be read.
            StateError: the state cannot be read.
        """
        path = request.scope["path"]
        one = self._kept.get(path) or Renewed(
            path, partial(answer, self._desk, request), self._desk.glances.background, version
        )
        at_hand = one.at_hand()
        response = await run_in_threadpool(one.get) if at_hand is None else at_hand
        if response.status_code == HTTPStatus.OK:
            self._keep(path, one)
        else:
            self._kept.pop(path, None)
        return response

    def _keep(self, path: str, one: Renewed[Response]) -> None:
        self._kept[path] = one
        self._kept.move_to_end(path)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)
