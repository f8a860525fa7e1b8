"""One HTTP exchange over two connections, for the proxy: request and answer pass piece by piece."""

from __future__ import annotations

import select
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from cloud.faults import (
    CutAnswer,
    Delay,
    Fault,
    Flood,
    Hang,
    Intercept,
    Meanwhile,
    ResetAnswer,
    ResetRequest,
    ShortenAnswer,
    Status,
)

_PIECE = 1 << 16
_LINGER_ZERO = struct.pack("ii", 1, 0)
_DRAIN_LIMIT = 30.0


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request. ``length`` is that of the body, None when it comes in chunks."""

    method: str
    path: str
    query: str
    head: bytes
    length: int | None


class Wire:
    """An open connection."""

    def __init__(self, plug: socket.socket) -> None:
        """Take over a socket."""
        self.plug = plug
        self.reader = plug.makefile("rb")

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, with a reset when that was asked for."""
        with suppress(OSError):
            self.reader.close()
        self.plug.close()

    def reset(self) -> None:
        """Let closing send a reset in place of an end."""
        with suppress(OSError):
            self.plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)

    def interrupt(self) -> None:
        """Wake up whoever waits for this connection, from another thread; closing will reset it."""
        self.reset()
        with suppress(OSError):
            socket.socket.shutdown(self.plug, socket.SHUT_RDWR)  # not that of TLS, which is not for two threads

    def finish(self) -> None:
        """End our side, and read what the other still sends: closing before that would reset the connection."""
        with suppress(OSError, TimeoutError):
            socket.socket.shutdown(self.plug, socket.SHUT_WR)
            self.plug.settimeout(_DRAIN_LIMIT)
            while self.reader.read1(_PIECE):
                pass

    def send_unless_answered(self, data: bytes) -> bool:
        """Send ``data``; return False when the other side says something, or ends, before all is gone."""
        rest = memoryview(data)
        while rest:
            if select.select([self.plug], [self.plug], [])[0]:
                return False
            rest = rest[self.plug.send(rest) :]
        return True

    def read_head(self) -> list[bytes]:
        """Return the lines up to the empty one; none when the connection ended before."""
        lines = []
        while (line := self.reader.readline()) not in {b"\r\n", b"\n"}:
            if not line:
                return []
            lines.append(line)
        return lines

    def read_request(self) -> Request | None:
        """Return the head of a request, set to be the last of its connection; None when none came."""
        lines = self.read_head()
        if not lines:
            return None
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
        if headers.get(b"expect", b"").lower() == b"100-continue":
            self.plug.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        method, target, _ = lines[0].decode().split()
        path, _, query = target.partition("?")
        length = None if b"transfer-encoding" in headers else int(headers.get(b"content-length", 0))
        return Request(method, path, query, _last_of_connection(lines), length)


def _last_of_connection(lines: list[bytes]) -> bytes:
    dropped = (b"connection:", b"expect:", b"keep-alive:")
    return b"".join(line for line in lines if not line.lower().startswith(dropped)) + b"Connection: close\r\n\r\n"


@dataclass(slots=True)
class Relay:
    """An exchange with a client. What it has come to is in ``status``, ``sent`` and ``received``."""

    client: Wire
    request: Request
    closing: threading.Event
    status: int = 0
    sent: int = 0
    received: int = 0
    over: bool = False
    _rest_of_chunk: int = field(default=0)

    def run(self, upstream: Wire, address: tuple[str, int], fault: Fault | None) -> None:
        """Do the exchange; whatever breaks on the service's side breaks for the client as well."""
        try:
            if isinstance(fault, Intercept):
                fault.action()
                self.client.reset()
            elif isinstance(fault, Flood):
                self._flood()
            elif isinstance(fault, Status) and not fault.forward:
                self._answer_with(fault)
            elif self._send_request(upstream, address, fault):
                self._relay_answer(upstream, fault)
        except OSError:
            self.client.reset()
            raise

    def _answer_with(self, fault: Status) -> None:
        self.status = fault.code
        self.client.plug.sendall(fault.render())
        self.client.finish()

    def _flood(self) -> None:
        """Answer until the client leaves."""
        self.status = 200
        self.client.plug.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n[")
        while True:
            self.client.plug.sendall(b"0," * (_PIECE // 2))
            self.received += _PIECE

    def _send_request(self, upstream: Wire, address: tuple[str, int], fault: Fault | None) -> bool:
        """Return whether there will be an answer."""
        if isinstance(fault, Delay) and self.closing.wait(fault.seconds):
            return False
        upstream.plug.connect(address)
        upstream.plug.sendall(self.request.head)
        match fault:
            case ResetRequest(after):
                self._pass_body(upstream, after)
                upstream.reset()
                self.client.reset()
                return False
            case Hang(after):
                self._pass_body(upstream, after)
                self.closing.wait()
                return False
            case Meanwhile(action, after, answer=False):
                self._pass_body(upstream, after)
                action()
        self._pass_body(upstream, None)
        return True

    def _relay_answer(self, upstream: Wire, fault: Fault | None) -> None:
        lines = upstream.read_head()
        if not lines:
            raise ConnectionResetError("the service ended without an answer")
        match fault:
            case Status():
                self._answer_with(fault)
                return
            case Meanwhile(action, answer=True):
                action()
            case ShortenAnswer(after):
                lines = [line for line in lines if not line.lower().startswith(b"content-length:")]
                lines.append(b"Content-Length: %d\r\n" % after)
        self.status = int(lines[0].split()[1])
        self.client.plug.sendall(_last_of_connection(lines))
        match fault:
            case ResetAnswer(after):
                self._pass_answer(upstream, after)
                self.client.reset()
            case CutAnswer(after) | ShortenAnswer(after):
                self._pass_answer(upstream, after)
            case _:
                self._pass_answer(upstream, None)
                self.client.finish()

    def _pass_body(self, upstream: Wire, until: int | None) -> None:
        """Pass the request's body on, up to a number of bytes, or all, or until the service answers."""
        chunked = self.request.length is None
        while until is None or self.sent < until:
            piece = self._read(_PIECE if until is None else min(_PIECE, until - self.sent))
            if not piece:
                if chunked:
                    upstream.send_unless_answered(b"0\r\n\r\n")
                return
            framed = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
            if not upstream.send_unless_answered(framed):
                return
            self.sent += len(piece)

    def _read(self, most: int) -> bytes:
        """Return the next bytes of the request's body, none at its end."""
        if self.request.length is not None:
            rest = self.request.length - self.sent
            return self._some(min(most, rest)) if rest else b""
        if not self._rest_of_chunk:
            self._rest_of_chunk = int(self.client.reader.readline().split(b";")[0] or b"0", 16)
            if not self._rest_of_chunk:
                self.client.read_head()  # trailers
                return b""
        piece = self._some(min(most, self._rest_of_chunk))
        self._rest_of_chunk -= len(piece)
        if not self._rest_of_chunk:
            self.client.reader.readline()
        return piece

    def _some(self, most: int) -> bytes:
        piece: bytes = self.client.reader.read1(most)
        if not piece:
            raise ConnectionResetError("the client ended in the middle of its request")
        return piece

    def _pass_answer(self, upstream: Wire, until: int | None) -> None:
        """Pass the answer's body on, up to a number of bytes, or all."""
        while until is None or self.received < until:
            piece = upstream.reader.read1(_PIECE if until is None else min(_PIECE, until - self.received))
            if not piece:
                return
            self.received += len(piece)
            self.client.plug.sendall(piece)
