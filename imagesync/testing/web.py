"""A loopback web server that serves what a test gives it, keeps what it was asked, and misbehaves on demand. PUBLIC.

It knows what clients of lists and images rely on: ETag, Last-Modified, conditional requests (304), ranges (206, 416)
with If-Range, HEAD, and tokens::

    with WebServer(now) as server:
        server.put("/a.img", b"content")
        server.misbehave("/a.img", Status(503))
        ...
        assert [request.path for request in server.requests] == ["/a.img"]

Closing it ends every request, also a slow or endless one, and joins its threads.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from imagesync.testing.faults import Ending, Fault, Held, Reply, distort

logger = logging.getLogger(__name__)

_CHUNK = 1 << 16
_LINGER_ZERO = struct.pack("ii", 1, 0)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class Resource:
    """What stands at a path: bytes, or a file that is read when it is asked for. ``etag`` comes with its quotes."""

    data: bytes | Path
    modified: datetime
    etag: str
    content_type: str = "application/octet-stream"

    @property
    def size(self) -> int:
        """Return the number of bytes."""
        return self.data.stat().st_size if isinstance(self.data, Path) else len(self.data)

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from ``start`` up to, not including, ``stop``."""
        if isinstance(self.data, bytes):
            yield from (self.data[at : min(at + _CHUNK, stop)] for at in range(start, stop, _CHUNK))
            return
        with self.data.open("rb") as stream:
            stream.seek(start)
            for at in range(start, stop, _CHUNK):
                yield stream.read(min(_CHUNK, stop - at))


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came. ``path`` has no query; header names are in lower case; ``status`` is what was answered."""

    method: str
    path: str
    headers: Mapping[str, str]
    status: int


class WebServer:
    """The server. Paths begin with a slash; ``now`` is what its Date header says and may be set at any time."""

    def __init__(self, now: datetime, *, tls: ssl.SSLContext | None = None) -> None:
        """Prepare a server on a free port of 127.0.0.1; it answers once the context is entered."""
        self.now = now
        self.closing = threading.Event()
        self._tls = tls
        self._resources: dict[str, Resource] = {}
        self._faults: dict[str, tuple[Fault, int | None]] = {}
        self._gates: list[threading.Event] = []
        self._tokens: dict[str, str] = {}
        self._requests: list[Request] = []
        self._changed = threading.Condition()
        self._http = _Http(("127.0.0.1", 0), _Exchange)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), name="testing-web")

    def __enter__(self) -> Self:
        """Begin to answer."""
        if self._tls is not None:
            self._http.socket = self._tls.wrap_socket(
                self._http.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every request and stop."""
        self.closing.set()
        for gate in self._gates:
            gate.set()
        self._http.shutdown()
        self._thread.join()
        self._http.disconnect()
        self._http.server_close()

    @property
    def url(self) -> str:
        """Return the address without a slash at its end."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self._http.server_address[1]}"

    @property
    def requests(self) -> list[Request]:
        """Return what was asked so far, in the order of the answers."""
        with self._changed:
            return list(self._requests)

    def requests_for(self, path: str) -> list[Request]:
        """Return what was asked for ``path`` so far."""
        return [request for request in self.requests if request.path == path]

    def wait_for(self, path: str, timeout: float = 30) -> Request:
        """Return the first request for ``path``, waiting up to ``timeout`` seconds for it.

        Raises:
            TimeoutError: nobody asked.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: any(one.path == path for one in self._requests), timeout):
                raise TimeoutError(f"nobody asked for {path} within {timeout} s")
        return self.requests_for(path)[0]

    def put(self, path: str, data: bytes | Path, content_type: str = "application/octet-stream") -> str:
        """Serve ``data`` at ``path`` from now on, in place of what was there; return the URL.

        The ETag of bytes is made from them, that of a file from its size and time of change.
        """
        seed = data
        if isinstance(seed, Path):
            facts = seed.stat()
            seed = f"{facts.st_size} {facts.st_mtime_ns}".encode()
        etag = f'"{hashlib.sha256(seed).hexdigest()[:32]}"'
        with self._changed:
            self._resources[path] = Resource(data, self.now, etag, content_type)
        return f"{self.url}{path}"

    def remove(self, path: str) -> None:
        """Answer 404 for ``path`` from now on."""
        with self._changed:
            self._resources.pop(path, None)

    def protect(self, path: str, token: str) -> None:
        """Answer 401 for ``path`` unless the request brings ``token``: Basic with ``x-oauth-basic``, or Bearer."""
        with self._changed:
            self._tokens[path] = token

    def misbehave(self, path: str, fault: Fault, *, times: int | None = None) -> None:
        """Apply ``fault`` to ``path``: to the next ``times`` requests, or until ``behave``."""
        with self._changed:
            self._faults[path] = (fault, times)
            if isinstance(fault, Held):
                self._gates.append(fault.release)

    def behave(self, path: str | None = None) -> None:
        """Answer well again for ``path``, or for all paths."""
        with self._changed:
            for one in [path] if path is not None else list(self._faults):
                self._faults.pop(one, None)

    def answer(self, method: str, path: str, headers: Mapping[str, str]) -> Reply:
        """Return what to send for a request, and keep the request."""
        with self._changed:
            reply = self._right_answer(path, headers)
            fault = self._next_fault(path)
            reply = distort(fault, reply) if fault else reply
            self._requests.append(Request(method, path, headers, reply.status))
            self._changed.notify_all()
        return reply

    def _next_fault(self, path: str) -> Fault | None:
        fault, times = self._faults.get(path, (None, None))
        if fault is not None and times is not None:
            if times <= 1:
                del self._faults[path]
            else:
                self._faults[path] = (fault, times - 1)
        return fault

    def _right_answer(self, path: str, headers: Mapping[str, str]) -> Reply:
        token = self._tokens.get(path)
        if token is not None and headers.get("authorization", "") not in _authorizations(token):
            return Reply(401, {"WWW-Authenticate": 'Basic realm="testing"'}, iter([b"who are you?\n"]), 13)
        resource = self._resources.get(path)
        if resource is None:
            return Reply(404, {"Content-Type": "text/plain"}, iter([b"not found\n"]), 10)
        validators = {"ETag": resource.etag, "Last-Modified": _http_date(resource.modified)}
        if _unchanged(resource, headers):
            return Reply(304, validators, iter(()), None)
        return _content(resource, validators | {"Content-Type": resource.content_type}, headers)


def _authorizations(token: str) -> tuple[str, str]:
    pair = base64.b64encode(f"{token}:x-oauth-basic".encode()).decode("ascii")
    return (f"Basic {pair}", f"Bearer {token}")


def _http_date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def _unchanged(resource: Resource, headers: Mapping[str, str]) -> bool:
    """Say whether a conditional request is answered with 304 (RFC 9110, section 13.2.2: the ETag decides)."""
    tags = headers.get("if-none-match")
    if tags is not None:
        return tags.strip() == "*" or resource.etag in [tag.strip().removeprefix("W/") for tag in tags.split(",")]
    since = headers.get("if-modified-since")
    return since is not None and resource.modified.replace(microsecond=0) <= parsedate_to_datetime(since)


def _content(resource: Resource, headers: Mapping[str, str], asked: Mapping[str, str]) -> Reply:
    """Return the whole, or the part that a Range header with a fitting If-Range asks for (RFC 9110, section 14)."""
    size = resource.size
    bounds = _bounds(asked.get("range", ""), size)
    fits = asked.get("if-range", resource.etag) in (resource.etag, headers["Last-Modified"])
    if bounds is None or not fits:
        return Reply(200, {**headers, "Accept-Ranges": "bytes"}, resource.read(0, size), size)
    start, stop = bounds
    if start >= stop:
        return Reply(416, {"Content-Range": f"bytes */{size}"}, iter(()), 0)
    part = {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"}
    return Reply(206, part, resource.read(start, stop), stop - start)


def _bounds(text: str, size: int) -> tuple[int, int] | None:
    """Return start and stop of a single range; ``None`` if there is none or it cannot be read."""
    match = _RANGE.fullmatch(text.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


class _Http(ThreadingHTTPServer):
    """Knows its open connections, so that closing can end them."""

    daemon_threads = False
    block_on_close = True
    owner: WebServer

    def __init__(self, address: tuple[str, int], exchange: type[_Exchange]) -> None:
        super().__init__(address, exchange)
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's signature
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - the library's signature
        with self._guard:
            self._open.discard(request)
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(_LINGER_ZERO)) == _LINGER_ZERO:
            self.close_request(request)  # a shutdown would say FIN before the RST
        else:
            super().shutdown_request(request)

    def disconnect(self) -> None:
        """Shut every open connection down; the threads that serve them end by themselves."""
        with self._guard:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    logger.debug("connection was gone already")

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - the library's signature
        logger.debug("a request from %s failed", client_address)


class _Exchange(BaseHTTPRequestHandler):
    """One connection: reads requests, sends replies."""

    server: _Http
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def date_time_string(self, timestamp: float | None = None) -> str:  # noqa: ARG002 - the library's signature
        return _http_date(self.server.owner.now)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's signature
        logger.debug(format, *args)

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.owner.answer(self.command, self.path.partition("?")[0], headers)
        try:
            self._send(reply)
        except OSError:
            self.close_connection = True

    def _send(self, reply: Reply) -> None:
        if reply.status == 0:
            self.server.owner.closing.wait()
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self._announce(reply)
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(reply)
        self._finish(reply.ending)

    def _announce(self, reply: Reply) -> None:
        if reply.length is not None:
            self.send_header("Content-Length", str(reply.length))
        elif reply.status != 304:
            self.send_header("Connection", "close")  # which also tells the library to close it

    def _send_body(self, reply: Reply) -> None:
        closing = self.server.owner.closing
        for chunk in reply.body:
            if closing.wait(reply.pause) if reply.pause else closing.is_set():
                self.close_connection = True
                return
            self.wfile.write(chunk)

    def _finish(self, ending: Ending) -> None:
        if ending is Ending.FINISH:
            return
        self.close_connection = True
        if ending is Ending.RESET:
            # With a linger time of zero, closing sends RST instead of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
