"""What takes a while to make, is shown to many, and is made anew behind their backs."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Generic, TypeVar

from starlette.exceptions import HTTPException

from imagesync.daemon.web.background import Background
from imagesync.errors import ImagesyncError

_FRESH, _OLD, _OLDEST = 1.0, 3.0, 10.0
"""Seconds for which a value is good; for which it is better than to wait; and that as long as one is made anew."""

_Value = TypeVar("_Value")


class Renewed(Generic[_Value]):
    """A value that ``make`` gives, and gave. Of another ``version`` than now it is not shown.

    Safe to use from several threads: one makes it, and the others wait for that.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], _Value],
        background: Background,
        version: Callable[[], object] = lambda: None,
    ) -> None:
        """Have made nothing yet; ``background`` knows it by its ``name``."""
        self._name, self._create, self._background, self._version = name, make, background, version
        self._lock = Lock()
        self._kept: tuple[_Value, float, object] | None = None

    def at_hand(self) -> _Value | None:
        """Return what can be shown without waiting, if there is something, and let it be made anew if it is time."""
        kept = self._kept
        if kept is None:
            return None
        value, made, version = kept
        age = time.monotonic() - made
        if age >= (_OLDEST if self._background.is_due(self._name) else _OLD) or version != self._version():
            return None
        if age > _FRESH:
            self._background.do(self._name, self._renew)
        return value

    def get(self) -> _Value:
        """Return what is at hand, or make it.

        Raises:
            HTTPException: there is nothing to make.
            ConfigError: the password of the state cannot be read.
            StateError: the state cannot be read.
        """
        with self._lock:
            value = self.at_hand()
            return self._make() if value is None else value

    def _renew(self) -> None:
        with self._lock:
            kept = self._kept
            if kept is None or time.monotonic() - kept[1] <= _FRESH:
                return  # nobody wants it any more, or somebody did not wait
            with suppress(ImagesyncError, HTTPException):  # who asks next is told why
                self._make()

    def _make(self) -> _Value:
        version = self._version()
        try:
            value = self._create()
        except BaseException:
            self._kept = None
            raise
        # From its end on: what takes long to make must not be old when it is there.
        self._kept = (value, time.monotonic(), version)
        return value
