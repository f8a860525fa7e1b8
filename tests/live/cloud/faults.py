"""What the proxy can do to an exchange, and when."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus


@dataclass(frozen=True, slots=True)
class Status:
    """An answer with an error. The service is not asked, unless ``forward``: then it acts, and its answer is lost.

    ``html`` is the body of a web server in front of the service; else it is JSON, as Glance and Keystone make it.
    ``location`` is where a redirect leads.
    """

    code: int
    retry_after: int | None = None
    html: bool = False
    forward: bool = False
    message: str = "made by the test's proxy"
    location: str = ""

    def render(self) -> bytes:
        """Return the whole answer."""
        title = HTTPStatus(self.code).phrase
        if self.html:
            kind, body = "text/html", f"<html><h1>{self.code} {title}</h1>{self.message}</html>".encode()
        else:
            kind = "application/json"
            body = json.dumps({"message": self.message, "code": f"{self.code} {title}", "title": title}).encode()
        lines = [f"HTTP/1.1 {self.code} {title}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        if self.retry_after is not None:
            lines.append(f"Retry-After: {self.retry_after}")
        if self.location:
            lines.append(f"Location: {self.location}")
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


@dataclass(frozen=True, slots=True)
class Delay:
    """The request reaches the service after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ResetRequest:
    """Both connections are reset once ``after`` bytes of the request's body went on."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class ResetAnswer:
    """The client's connection is reset once it has ``after`` bytes of the answer's body; the service has acted."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class CutAnswer:
    """The client's connection ends, in good order, after ``after`` bytes of the answer's body."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class ShortenAnswer:
    """The client gets ``after`` bytes of the answer's body, and a length in its head that says that this is all."""

    after: int


@dataclass(frozen=True, slots=True)
class Flood:
    """The answer begins like JSON and never ends; the service is not asked."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing more is read or sent once ``after`` bytes of the request's body went on, until the proxy closes."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """``action`` is called once ``after`` bytes of the request's body went on; then the exchange goes on.

    With ``answer`` it is called after the service answered, before the client hears of it.
    """

    action: Callable[[], object]
    after: int = 0
    answer: bool = False


@dataclass(frozen=True, slots=True)
class Intercept:
    """``action`` is called in place of the service, which never hears of the request; the connection is reset."""

    action: Callable[[], object]


Fault = Status | Delay | ResetRequest | ResetAnswer | CutAnswer | ShortenAnswer | Flood | Hang | Meanwhile | Intercept

ANY = "*"
"""Stands for every method in a rule."""


@dataclass(slots=True)
class Rule:
    """A fault for requests with a method, or ``ANY``, whose path matches a pattern as a whole.

    It strikes from the ``nth`` match on, ``times`` times or, with None, for ever.
    """

    method: str
    path: str
    fault: Fault
    nth: int = 1
    times: int | None = 1
    matched: int = 0

    def strikes(self, method: str, path: str) -> bool:
        """Count the request when it matches, and return whether the fault is for it."""
        if self.method not in {method, ANY} or not re.fullmatch(self.path, path):
            return False
        self.matched += 1
        return self.nth <= self.matched and (self.times is None or self.matched < self.nth + self.times)

    @property
    def struck(self) -> int:
        """Return how often the fault was used."""
        found = max(0, self.matched - self.nth + 1)
        return found if self.times is None else min(found, self.times)
