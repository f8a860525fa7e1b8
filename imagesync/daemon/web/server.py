"""Listening, in a thread of its own that yields to whatever else the machine has to do."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from imagesync.errors import ConfigError

CONNECTIONS = 100
"""How many are open at once; a newer one takes the place of another."""

IDLE = 5.0
"""Seconds after which a connection is looked at; one that asked for nothing between two looks is closed."""

_NICE = 5
PATIENCE = 10.0
"""Seconds for which the start of the thread is waited for, and at most its end."""

_HINT = "say where in daemon.listen; off is possible"


class Server:
    """A web server at an address, from its making until it is stopped."""

    def __init__(self, app: ASGIApp, listen: str) -> None:
        """Listen at ``HOST:PORT`` or ``unix:/PATH``; requests are answered when this returns.

        Raises:
            ConfigError: it is not possible to listen there.
        """
        self._socket = _listening(listen)
        self.address = _address(self._socket)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            loop="asyncio",
            http=Connection,
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()
        self._server.ready.wait(PATIENCE)

    def stop(self, patience: float = PATIENCE) -> None:
        """End within ``patience`` seconds. Who is being answered is given one; the thread ends with the process."""
        self._server.should_exit = True
        self._thread.join(min(patience, PATIENCE))
        self._socket.close()
        if self.address.startswith("unix:"):
            Path(self.address.removeprefix("unix:")).unlink(missing_ok=True)

    def is_alive(self) -> bool:
        """Return whether requests are answered."""
        return self._thread.is_alive()

    def _run(self) -> None:
        # The thread and those that it starts, not the process: passes and the scheduler come first.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        self._server.run(sockets=[self._socket])


class Connection(H11Protocol):
    """One that does not stay without a request, and goes when there are too many: silent ones must cost nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it, and let go of another one if there are enough."""
        super().connection_made(cast("asyncio.Transport", transport))
        self.began, self._was_idle, self._last = self.loop.time(), False, self.cycle
        self._timer = self.loop.call_later(IDLE, self._look)
        if len(self.connections) > CONNECTIONS:
            others = [one for one in self.connections if one is not self and isinstance(one, Connection)]
            # Whoever asks for nothing goes first, then whoever is there the longest.
            min(others, key=lambda one: (not one.is_idle(), one.began)).let_go()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._timer.cancel()
        super().connection_lost(exc)

    def is_idle(self) -> bool:
        """Return whether nothing was asked for completely, or it was answered."""
        return self.cycle is None or self.cycle.response_complete

    def let_go(self) -> None:
        """Close it at once, and do not choose it again."""
        self.connections.discard(self)
        self.transport.abort()

    def _look(self) -> None:
        # Idle at both times, but not between them, is whoever asks again and again and gets quick answers.
        if self.is_idle() and self._was_idle and self.cycle is self._last:
            self.let_go()
        self._was_idle, self._last = self.is_idle(), self.cycle
        self._timer = self.loop.call_later(IDLE, self._look)


class _Server(uvicorn.Server):
    """One that tells when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def _listening(listen: str) -> socket.socket:
    try:
        if listen.startswith("unix:"):
            return _unix(Path(listen.removeprefix("unix:")))
        host, _, port = listen.rpartition(":")
        return _internet(host.strip("[]"), int(port))
    except (OSError, ValueError) as error:  # that a name cannot be one is a ValueError
        why = (error.strerror if isinstance(error, OSError) else "") or error
        raise ConfigError("daemon.listen", f"cannot listen on {listen}: {why}", _HINT) from error


def _internet(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(CONNECTIONS)
    except BaseException:
        listening.close()
        raise
    return listening


def _unix(path: Path) -> socket.socket:
    """Return a listening socket that owner and group may use. What a dead process left at ``path`` is removed."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.lstat().st_mode) and _is_dead(path):
            path.unlink()
        listening.bind(str(path))
        path.chmod(0o660)
        listening.listen(CONNECTIONS)
    except BaseException:
        listening.close()
        raise
    return listening


def _is_dead(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        try:
            caller.connect(str(path))
        except OSError:
            return True
    return False


def _address(listening: socket.socket) -> str:
    name = listening.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    return f"http://{f'[{name[0]}]' if ':' in name[0] else name[0]}:{name[1]}"
