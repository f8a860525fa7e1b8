"""Ways in which a server can misbehave, for ``imagesync.testing.web.WebServer``. PUBLIC.

A fault turns the reply that would have been right into another one. Each says in its name what the client sees::

    server.misbehave(path, Status(503, retry_after=30))
    server.misbehave(path, BrokenOff(after=1000, reset=True), times=1)   # the next request is answered well again
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

_CHUNK = 1 << 16


class Ending(Enum):
    """How the server leaves a reply."""

    FINISH = "finish"
    """The connection stays open for the next request, if the length was announced."""
    CLOSE = "close"
    """The connection is closed, whatever was announced."""
    RESET = "reset"
    """The connection is reset: the client sees an error, not an end."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent. ``length`` is announced as Content-Length, ``None`` announces none; ``pause`` is in seconds."""

    status: int
    headers: Mapping[str, str]
    body: Iterator[bytes]
    length: int | None
    ending: Ending = Ending.FINISH
    pause: float = 0


@dataclass(frozen=True, slots=True)
class Status:
    """An error status (404, 503 ...), with a ``Retry-After`` in seconds or as the text of a date."""

    code: int
    retry_after: int | str | None = None
    body: bytes = b"no such luck\n"


@dataclass(frozen=True, slots=True)
class Replaced:
    """A complete answer with something else in it."""

    body: bytes
    content_type: str = "application/octet-stream"
    status: int = 200


@dataclass(frozen=True, slots=True)
class Redirect:
    """A redirect to ``location``."""

    location: str
    status: int = 302


@dataclass(frozen=True, slots=True)
class Endless:
    """The right body, and then ``filler`` for ever, without an announced length."""

    filler: bytes = b" "


@dataclass(frozen=True, slots=True)
class Slow:
    """The right body, ``chunk`` bytes at a time with ``pause`` seconds before each."""

    chunk: int = 1
    pause: float = 1.0


@dataclass(frozen=True, slots=True)
class Silent:
    """The request is read and never answered."""


@dataclass(frozen=True, slots=True)
class Shortened:
    """A complete HTTP answer with only the first ``keep`` bytes of the body."""

    keep: int


@dataclass(frozen=True, slots=True)
class BrokenOff:
    """The right headers, ``after`` bytes of the body, and the connection is closed or, with ``reset``, reset."""

    after: int
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Tampered:
    """One bit of the body changed: of byte ``at``, or of the last one if the body is shorter.

    Byte 600 of a list that ``ListServer`` published lies in its signed content.
    """

    at: int = 600


@dataclass(frozen=True, slots=True)
class Held:
    """The body stops after ``after`` bytes until ``release`` is set; ``reached`` is set when it stops.

    That is how to do something while a download is half-way.
    """

    after: int
    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


Fault = Status | Replaced | Redirect | Endless | Slow | Silent | Shortened | BrokenOff | Tampered | Held


def html_page() -> Replaced:
    """Return the fault of a portal or a proxy that answers with a page for people."""
    page = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n"
    return Replaced(page, "text/html; charset=utf-8")


def appdb_error() -> Replaced:
    """Return the fault by which AppDB says that there is no such list: status 200 and unsigned JSON."""
    return Replaced(b'{"egiappdb": {"error": "Not found", "errornum": 4}}\n', "application/json")


def distort(fault: Fault, reply: Reply) -> Reply:
    """Return what is sent instead of the right ``reply``."""
    match fault:
        case Status() | Replaced() | Redirect():
            return _instead(fault)
        case Endless(filler):
            endless = itertools.chain(reply.body, itertools.repeat(filler * (_CHUNK // len(filler))))
            return replace(reply, body=endless, length=None)
        case Slow(chunk, pause):
            return replace(reply, body=_rechunked(reply.body, chunk), pause=pause)
        case Silent():
            return replace(reply, status=0)
        case _:
            return _damaged(fault, reply)


def _instead(fault: Status | Replaced | Redirect) -> Reply:
    match fault:
        case Status(code, retry_after, body):
            headers = {"Content-Type": "text/plain"}
            if retry_after is not None:
                headers["Retry-After"] = str(retry_after)
            return Reply(code, headers, iter([body]), len(body))
        case Replaced(body, content_type, status):
            return Reply(status, {"Content-Type": content_type}, iter([body]), len(body))
        case Redirect(location, status):
            return Reply(status, {"Location": location}, iter(()), 0)


def _damaged(fault: Shortened | BrokenOff | Tampered | Held, reply: Reply) -> Reply:
    match fault:
        case Shortened(keep):
            return replace(reply, body=_first(reply.body, keep), length=min(keep, reply.length or 0))
        case BrokenOff(after, reset):
            ending = Ending.RESET if reset else Ending.CLOSE
            return replace(reply, body=_first(reply.body, after), ending=ending)
        case Tampered(at):
            return replace(reply, body=_flipped(reply.body, min(at, max(0, (reply.length or 1) - 1))))
        case Held():
            return replace(reply, body=_held(reply.body, fault))


def _rechunked(body: Iterator[bytes], size: int) -> Iterator[bytes]:
    for chunk in body:
        for start in range(0, len(chunk), size):
            yield chunk[start : start + size]


def _first(body: Iterator[bytes], count: int) -> Iterator[bytes]:
    for chunk in body:
        yield chunk[:count]
        count -= len(chunk)
        if count <= 0:
            return


def _flipped(body: Iterator[bytes], at: int) -> Iterator[bytes]:
    for chunk in body:
        if 0 <= at < len(chunk):
            yield chunk[:at] + bytes([chunk[at] ^ 1]) + chunk[at + 1 :]
        else:
            yield chunk
        at -= len(chunk)


def _held(body: Iterator[bytes], fault: Held) -> Iterator[bytes]:
    left = fault.after
    for chunk in body:
        if 0 <= left < len(chunk):
            yield chunk[:left]
            fault.reached.set()
            fault.release.wait()
            yield chunk[left:]
        else:
            yield chunk
        left -= len(chunk)
