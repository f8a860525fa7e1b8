"""The server behind the hazards: one behaviour per path, one thread per connection."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Self

_HEAD_LIMIT = 64 << 10
_PATIENCE = 10.0
_TLS_HANDSHAKE = b"\x16\x03"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent. Header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]


class Connection:
    """A client's connection with the request that was read from it; ``number`` counts requests of that path from 0."""

    def __init__(self, link: socket.socket, request: Request, number: int, over: threading.Event) -> None:
        self.request = request
        self.number = number
        self._link = link
        self._over = over

    def send(self, data: bytes) -> None:
        """Send all of ``data``. Ends the behaviour when the client or the server is gone."""
        self._link.sendall(data)

    def head(self, code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send a status line and headers, with the empty line."""
        lines = [f"HTTP/1.1 {code} Hazard", *(f"{name}: {value}" for name, value in (headers or {}).items())]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def wait(self, seconds: float | None = None) -> None:
        """Wait, and end the behaviour when the server is closed or the client has gone away.

        ``None`` waits for one of these.
        """
        self._link.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            if not self._link.recv(1):
                raise ConnectionError
        self._link.settimeout(_PATIENCE)
        if self._over.is_set():
            raise ConnectionError

    def join(self, port: int) -> None:
        """Pass everything between the client and a loopback port, until one of them closes."""
        with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as there:
            sides = {self._link: there, there: self._link}
            while not self._over.is_set():
                for side in select.select(list(sides), [], [], _PATIENCE)[0]:
                    data = side.recv(_HEAD_LIMIT)
                    if not data:
                        return
                    sides[side].sendall(data)

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self._link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._link.close()


Behaviour = Callable[[Connection], None]


class HazardServer:
    """A loopback server with a behaviour per path. A context manager; listens when it is entered.

    ``requests`` has every request in the order it was read, ``connections`` the number of connections made.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self._tls = tls
        self._behaviours: dict[str, Behaviour] = {}
        self._counters: dict[str, count[int]] = {}
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._asked = threading.Condition()
        self._links: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Listen on a free port."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, name="hazard-accept", daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End every connection and wait for every thread."""
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        with self._lock:
            for link in self._links:
                with contextlib.suppress(OSError):
                    link.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def at(self, path: str, behaviour: Behaviour) -> str:
        """Let ``path`` behave like that from now on; return its URL. What has no behaviour answers 404."""
        self._behaviours[path] = behaviour
        self._counters[path] = count()
        return self.url(path)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        """Return the URL of ``path``, with ``host`` as the spelling of the loopback address."""
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def targets(self) -> list[str]:
        """Return the targets of all requests so far."""
        return [request.target for request in self.requests]

    def has_read(self, count: int, timeout: float = _PATIENCE) -> bool:
        """Return whether so many requests were read, after waiting for them: a client may give up before the server."""
        with self._asked:
            return self._asked.wait_for(lambda: len(self.requests) >= count, timeout)

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(link,), name="hazard", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, link: socket.socket) -> None:
        # ConnectionError, TimeoutError and SSLError are OSErrors: the client's or our own end of it.
        with contextlib.suppress(OSError), self._secured(link) as secured:
            with self._lock:
                self._links.add(secured)
            try:
                if not self._over.is_set():
                    self._answer(secured)
            finally:
                with self._lock:
                    self._links.discard(secured)

    def _secured(self, link: socket.socket) -> socket.socket:
        link.settimeout(_PATIENCE)
        if self._tls is None:
            return link
        try:
            return self._tls.wrap_socket(link, server_side=True)
        except OSError:
            link.close()
            raise

    def _answer(self, link: socket.socket) -> None:
        request = _read(link)
        if request is None:
            return
        with self._asked:
            self.requests.append(request)
            self._asked.notify_all()
        path = request.target.partition("?")[0]
        behaviour = self._behaviours.get(path, _missing)
        behaviour(Connection(link, request, next(self._counters.get(path, count())), self._over))


def _missing(connection: Connection) -> None:
    connection.head(404, {"Content-Length": "0"})


def _read(link: socket.socket) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data and len(data) < _HEAD_LIMIT:
        more = link.recv(4096)
        if not more:
            return None
        data += more
        if data.startswith(_TLS_HANDSHAKE):
            link.sendall(b"HTTP/1.1 400 Hazard\r\nContent-Length: 0\r\n\r\n")
            return None
    lines = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, target, *_ = [*lines[0].split(" "), ""]
    headers = (line.partition(":") for line in lines[1:])
    return Request(method, target, {name.strip().lower(): value.strip() for name, _, value in headers})
