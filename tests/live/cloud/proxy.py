"""A proxy between imagesync and a real service that breaks what a test tells it to, and counts requests.

::

    with Proxy(cloud.glance_url()) as proxy:
        proxy.add("PUT", r"/v2/images/[^/]+/file", ResetRequest(after=1000))
        ...  # with an endpoint override of proxy.url, or cloud.add_region("name", proxy.url)
        assert proxy.count("POST", "/v2/images") == 1

Bodies pass in pieces, whatever their size. Each connection serves one request.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from cloud.faults import Fault, Rule
from cloud.process import free_port
from cloud.relay import Relay, Wire

LIMIT = 120.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request as far as it has come. ``status`` is what the client was sent, 0 when nothing.

    ``sent`` and ``received`` are the bytes of the two bodies. What the client can know is here before it knows.
    """

    method: str
    path: str
    query: str
    status: int
    sent: int
    received: int
    over: bool


class Proxy:
    """Stands before the service at ``upstream``, on a free port of 127.0.0.1; ``url`` has the same path."""

    def __init__(self, upstream: str, tls: ssl.SSLContext | None = None) -> None:
        """Begin to accept connections, over TLS when a server's context is given."""
        parts = urlsplit(upstream)
        self._upstream = (str(parts.hostname), int(parts.port or 80))
        self._tls = tls
        self._port, self._claim = free_port()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._port}{parts.path.rstrip('/')}"
        self._rules: list[Rule] = []
        self._relays: list[Relay] = []
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._wires: set[Wire] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.start()

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def start(self) -> None:
        """Accept connections again after ``stop``."""
        self._closing.clear()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self._port))
        self._listener.listen(64)
        self._threads = [threading.Thread(target=self._accept, args=(self._listener,), name="proxy")]
        self._threads[0].start()

    def stop(self) -> None:
        """Refuse connections from now on, and reset those that are open: the service is down."""
        if self._listener is None:
            return
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        self._listener = None
        with self._changed:
            for wire in self._wires:
                wire.interrupt()
        for thread in self._threads[1:]:
            thread.join()

    def close(self) -> None:
        """End every exchange and give the port back."""
        self.stop()
        self._claim.close()

    def add(self, method: str, path: str, fault: Fault, *, nth: int = 1, times: int | None = 1) -> Rule:
        """Return a new rule; of several that match a request, the one that was added last decides."""
        rule = Rule(method, path, fault, nth, times)
        with self._changed:
            self._rules.insert(0, rule)
        return rule

    def clear(self) -> None:
        """Forget all rules and exchanges."""
        with self._changed:
            self._rules.clear()
            self._relays.clear()

    @property
    def exchanges(self) -> list[Exchange]:
        """Return the exchanges in the order of their beginnings, with those that are under way."""
        with self._changed:
            return [_exchange(relay) for relay in self._relays]

    def count(self, method: str | None = None, path: str | None = None) -> int:
        """Return how many exchanges had a method and a path, where given."""
        return sum((method or one.method) == one.method and (path or one.path) == one.path for one in self.exchanges)

    def wait_for(self, count: int, limit: float = LIMIT) -> None:
        """Return once so many exchanges are over.

        Raises:
            TimeoutError: there are fewer after ``limit`` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: sum(relay.over for relay in self._relays) >= count, limit):
                raise TimeoutError(f"{self._relays}: not {count} are over after {limit:.0f} s")

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                plug, _ = listener.accept()
            except OSError:
                return  # stopped
            thread = threading.Thread(target=self._serve, args=(plug,), name="proxy exchange")
            self._threads = [one for one in self._threads if one.is_alive()] + [thread]
            thread.start()

    def _serve(self, plug: socket.socket) -> None:
        if self._tls:  # the handshake comes with the first read, where ``stop`` can end it
            plug = self._tls.wrap_socket(plug, server_side=True, do_handshake_on_connect=False)
        with suppress(OSError), self._open(plug) as client:
            request = client.read_request()
            if request is None:
                return
            relay = Relay(client, request, self._closing)
            with self._changed:
                self._relays.append(relay)
            with suppress(OSError), self._open(socket.socket()) as upstream:
                relay.run(upstream, self._upstream, self._fault(request.method, request.path))
            with self._changed:
                relay.over = True
                self._changed.notify_all()

    @contextmanager
    def _open(self, plug: socket.socket) -> Iterator[Wire]:
        with Wire(plug) as wire:
            with self._changed:
                self._wires.add(wire)
            try:
                yield wire
            finally:
                with self._changed:
                    self._wires.discard(wire)

    def _fault(self, method: str, path: str) -> Fault | None:
        with self._changed:
            return next((rule.fault for rule in self._rules if rule.strikes(method, path)), None)


def _exchange(relay: Relay) -> Exchange:
    asked = relay.request
    return Exchange(asked.method, asked.path, asked.query, relay.status, relay.sent, relay.received, relay.over)
