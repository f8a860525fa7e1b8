"""What can go wrong on a connection, one function per hazard."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from itertools import count

from imagesync.testing.hazards.server import Behaviour, Connection

_ZEROS = b"0" * 65536


# --- well-behaved ----------------------------------------------------------------------------------------------------
def answer(body: bytes, code: int = 200, headers: Mapping[str, str] | None = None) -> Behaviour:
    """Send ``body`` with its length; ``headers`` come on top and win."""

    def behave(connection: Connection) -> None:
        connection.head(code, {"Content-Length": str(len(body)), **(headers or {})})
        connection.send(body)

    return behave


def html() -> Behaviour:
    """Answer 200 with a web page, as captive portals and moved sites do."""
    return answer(b"<!DOCTYPE html><title>Welcome</title>\n", headers={"Content-Type": "text/html"})


def status(code: int, retry_after: str | None = None, headers: Mapping[str, str] | None = None) -> Behaviour:
    """Answer with a status and a short body."""
    extra = {"Retry-After": retry_after} if retry_after is not None else {}
    return answer(b"hazard\n", code, {**extra, **(headers or {})})


def redirect(location: str, code: int = 302, body: Behaviour | None = None) -> Behaviour:
    """Send the client elsewhere. ``body`` follows the headers where it is given."""

    def behave(connection: Connection) -> None:
        length = {} if body else {"Content-Length": "0"}
        connection.head(code, {"Location": location, **length})
        if body:
            body(connection)

    return behave


def redirect_loop() -> Behaviour:
    """Send the client to where it is."""

    def behave(connection: Connection) -> None:
        redirect(connection.request.target)(connection)

    return behave


def tunnel(port: int) -> Behaviour:
    """Answer CONNECT as a proxy does, and lead to a loopback port, whatever the request names."""

    def behave(connection: Connection) -> None:
        connection.head()
        connection.join(port)

    return behave


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Behave like the first on the first request, and so on; the last one stays."""

    def behave(connection: Connection) -> None:
        behaviours[min(connection.number, len(behaviours) - 1)](connection)

    return behave


# --- too much --------------------------------------------------------------------------------------------------------
def endless() -> Behaviour:
    """Send zeros without a length and without an end."""

    def behave(connection: Connection) -> None:
        connection.head()
        while True:
            connection.send(_ZEROS)

    return behave


def endless_chunks() -> Behaviour:
    """Send a chunked body without an end."""

    def behave(connection: Connection) -> None:
        connection.head(headers={"Transfer-Encoding": "chunked"})
        while True:
            connection.send(b"%x\r\n%s\r\n" % (len(_ZEROS), _ZEROS))

    return behave


def endless_headers() -> Behaviour:
    """Send headers without an end, as fast as they are taken."""

    def behave(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 Hazard\r\n")
        for number in count():
            connection.send(b"X-Hazard-%d: %s\r\n" % (number, b"x" * 1000))

    return behave


# --- too slow --------------------------------------------------------------------------------------------------------
def drip_headers(pause: float = 0.02) -> Behaviour:
    """Send one byte of a header, wait, and so on: no read timeout ever sees it."""

    def behave(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 Hazard\r\nX-Drip: ")
        _drip(connection, pause)

    return behave


def drip_body(pause: float = 0.02, length: int | None = None) -> Behaviour:
    """Send one byte of the body, wait, and so on. ``length`` is announced where it is given."""

    def behave(connection: Connection) -> None:
        connection.head(headers={"Content-Length": str(length)} if length is not None else {})
        _drip(connection, pause)

    return behave


def drip_chunk_header(pause: float = 0.02) -> Behaviour:
    """Begin a chunked body whose first size line never ends: bytes arrive, the body does not grow."""

    def behave(connection: Connection) -> None:
        connection.head(headers={"Transfer-Encoding": "chunked"})
        connection.send(b"5;extension=")
        _drip(connection, pause)

    return behave


def stall(body: bytes = b"", length: int | None = None, *, headers: bool = True) -> Behaviour:
    """Send headers (or nothing at all) and ``body``, of ``length`` announced bytes, and then nothing more."""

    def behave(connection: Connection) -> None:
        if headers:
            connection.head(headers={"Content-Length": str(length)} if length is not None else {})
            connection.send(body)
        connection.wait()

    return behave


def _drip(connection: Connection, pause: float) -> None:
    while True:
        connection.send(b"x")
        connection.wait(pause)


# --- broken ----------------------------------------------------------------------------------------------------------
def reset(body: bytes, length: int, headers: Mapping[str, str] | None = None) -> Behaviour:
    """Send ``body`` of ``length`` announced bytes, then a TCP reset."""

    def behave(connection: Connection) -> None:
        connection.head(headers={"Content-Length": str(length), **(headers or {})})
        connection.send(body)
        connection.reset()

    return behave


def truncated(body: bytes, length: int, headers: Mapping[str, str] | None = None) -> Behaviour:
    """Send ``body`` of ``length`` announced bytes, then close."""
    return answer(body, headers={"Content-Length": str(length), **(headers or {})})


def truncated_chunks(body: bytes) -> Behaviour:
    """Send ``body`` as one chunk, then close without the last one."""

    def behave(connection: Connection) -> None:
        connection.head(headers={"Transfer-Encoding": "chunked"})
        connection.send(b"%x\r\n%s\r\n" % (len(body), body))

    return behave


def without_length(body: bytes) -> Behaviour:
    """Send ``body`` without saying how long it is; closing is its end."""

    def behave(connection: Connection) -> None:
        connection.head()
        connection.send(body)

    return behave


def encoded(body: bytes, encoding: str = "gzip") -> Behaviour:
    """Send ``body`` compressed although nobody asked for it."""
    return answer(gzip.compress(body), headers={"Content-Encoding": encoding})


def gzip_bomb(size: int = 64 << 20) -> Behaviour:
    """Send a small body that would unfold to ``size`` zeros."""
    return encoded(bytes(size))


def two_lengths(body: bytes) -> Behaviour:
    """Announce two lengths: what reads one of them leaves bytes for the next request."""
    return answer(body, headers={"Content-Length": f"{len(body)}, {len(body) + 1}"})


def wrong_chunks(body: bytes) -> Behaviour:
    """Send a complete chunked answer of ``body``, whatever length it should have."""

    def behave(connection: Connection) -> None:
        connection.head(headers={"Transfer-Encoding": "chunked"})
        connection.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))

    return behave


def garbage() -> Behaviour:
    """Answer with what is no HTTP."""

    def behave(connection: Connection) -> None:
        connection.send(b"SSH-2.0-OpenSSH_9.2p1\r\n")

    return behave
