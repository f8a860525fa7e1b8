"""A client's connection to the supervisor of a cloud: what holds the servers alive."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from cloud.process import START_LIMIT, ServerError
from cloud.software import HERE, exclusive, software
from cloud.template import template

CONTROL = "control"
_LIMIT = 2 * START_LIMIT
_CLEARING_LIMIT = 600.0
"""Seconds for removing what the servers kept: after a benchmark many GiB, perhaps on a slow disk."""


@dataclass(slots=True)
class Connection:
    """An open connection; requests may come from several threads."""

    directory: Path
    _socket: socket.socket
    _stream: Any
    _lock: Any

    def ask(self, do: str, **more: object) -> dict[str, Any]:
        """Return the answer to a request.

        Raises:
            ServerError: it could not be done.
        """
        with self._lock:
            self._stream.write(json.dumps({"do": do, **more}).encode() + b"\n")
            self._stream.flush()
            line = self._stream.readline()
        if not line:
            raise ConnectionResetError(f"the supervisor of {self.directory} is gone")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ServerError(answer["error"])
        return answer

    def close(self) -> None:
        """Leave; when nobody else is there, return after all servers ended and their data are gone."""
        with exclusive(self.directory / "clients.lock"):
            self._socket.settimeout(_CLEARING_LIMIT)
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                self._stream.read()
            self._stream.close()
            self._socket.close()


def connect(directory: Path) -> tuple[Connection, dict[str, Any]]:
    """Return a connection to the cloud in ``directory`` and the facts of its servers; the first client starts them."""
    software().check()
    template()
    with exclusive(directory / "clients.lock"):
        until = time.monotonic() + _LIMIT
        while True:
            with suppress(ConnectionError, FileNotFoundError):
                return _open(directory)
            if time.monotonic() > until:
                raise ServerError(f"no supervisor in {directory}, see its log there")
            _launch(directory)


def _open(directory: Path) -> tuple[Connection, dict[str, Any]]:
    plug = socket.socket(socket.AF_UNIX)
    try:
        plug.settimeout(_LIMIT)
        folder = os.open(directory, os.O_PATH)
        try:
            # The path of a socket may have 108 characters only, a test's directory more.
            plug.connect(f"/proc/self/fd/{folder}/{CONTROL}")
        finally:
            os.close(folder)
        connection = Connection(directory, plug, plug.makefile("rwb"), Lock())
        return connection, connection.ask("facts")
    except BaseException:
        plug.close()
        raise


def _launch(directory: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST"))}
    with (directory / "supervisor.log").open("ab") as log:
        subprocess.run(
            [sys.executable, "-m", "cloud.supervisor", str(directory)],
            env={**environment, "PYTHONPATH": str(HERE.parent)},
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            timeout=_LIMIT,
        )
