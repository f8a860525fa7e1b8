"""The process that owns the servers of one cloud, and ends them when its last client is gone.

A client is a connection to the socket ``control`` in the cloud's directory. However a client dies, the kernel closes
its connection; however this process dies, the kernel kills its servers. Requests and answers are lines of JSON.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import socket
import sqlite3
import sys
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloud.configuration import (
    FIRST_REGION,
    GLANCE_FOLDERS,
    Address,
    glance_files,
    glance_launch,
    keystone_files,
    keystone_launch,
    write_files,
)
from cloud.process import Launch, Server, ServerError, free_port
from cloud.software import HERE, Software, exclusive, software
from cloud.template import template
from cloud.warming import warm_glance, warm_keystone

CONTROL = "control"
FIRST_CLIENT_LIMIT = 60.0


@dataclass(slots=True)
class Supervisor:
    """The servers of the cloud in ``directory``. Only the main thread may start them: they die with it."""

    directory: Path
    software: Software
    template: Path
    address: Address
    servers: dict[str, Server] = field(default_factory=dict)
    claims: list[socket.socket] = field(default_factory=list)

    def begin(self) -> None:
        """Start Keystone, the OpenID provider and the first Glance, unless that was done."""
        if self.servers:
            return
        glance = self._prepare_glance(FIRST_REGION, "")
        self._prepare_keystone(f"http://127.0.0.1:{_port(glance.launch)}")
        self._prepare_provider()
        self._launch(*self.servers.values())

    def obey(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out a request; return the facts of the server that it is about, or of all."""
        match request:
            case {"do": "facts"}:
                self.begin()
                return self._facts()
            case {"do": "glance", "region": str(region), "extra": str(extra)}:
                return self._glance(region, extra)
            case {"do": "reserve"}:
                return {"port": self._reserve()}
            case {"do": "add", **launch}:
                self._add(Server(Launch.of(launch)))
            case {"do": "start", "name": str(name), **more}:
                self._start(name, more.get("extra"))
            case {"do": "stop" | "kill" | "remove" as how, "name": str(name)}:
                self._end(name, how)
            case _:
                raise ServerError(f"unknown request {request}")
        return self._facts()

    def close(self) -> None:
        """Kill every server and remove their data; the logs stay."""
        for server in self.servers.values():
            server.kill()
        for claim in self.claims:
            claim.close()
        for home in self.directory.iterdir():
            if home.is_dir():
                log = home / "log"
                if log.exists():
                    log.rename(self.directory / f"{home.name}.log")
                shutil.rmtree(home)

    def _facts(self) -> dict[str, Any]:
        servers = {
            name: {"home": str(server.launch.home), "port": _port(server.launch), "pid": server.pid}
            for name, server in self.servers.items()
        }
        return {"identity": self.address.identity, "openid": self.address.openid, "servers": servers}

    def _glance(self, region: str, extra: str) -> dict[str, Any]:
        if f"glance-{region}" not in self.servers:
            server = self._prepare_glance(region, extra)
            try:
                self._launch(server)
            except ServerError:  # nobody else shall find it dead
                self._remove(server.launch.name)
                raise
        return self._facts()

    def _add(self, server: Server) -> None:
        """Start a server that the client prepared."""
        try:
            self._launch(server)
        except ServerError:
            server.kill()
            raise
        self.servers[server.launch.name] = server

    def _reserve(self) -> int:
        port, claim = free_port()
        self.claims.append(claim)
        return port

    def _remove(self, name: str) -> None:
        self.servers.pop(name).kill()
        shutil.rmtree(self.directory / name)

    def _start(self, name: str, extra: str | None) -> None:
        server = self.servers[name]
        if extra is not None:
            server.stop()
            files = glance_files(server.launch.home, self.software, self.address.identity, _port(server.launch), extra)
            write_files(server.launch.home / "etc", files)
        self._launch(server)

    def _end(self, name: str, how: str) -> None:
        match how:
            case "stop":
                self.servers[name].stop()
            case "kill":
                self.servers[name].kill()
            case _:
                self._remove(name)

    def _launch(self, *servers: Server) -> None:
        """Start servers at once, and wait until they serve many clients."""
        for server in servers:
            server.spawn()
        for server in servers:
            server.wait()
        if not self.servers["keystone"].running:
            return  # a test that starts Glance without it means it
        token = warm_keystone(self.address.identity)
        for server in servers:
            if server.launch.name.startswith("glance-"):
                warm_glance(f"http://127.0.0.1:{_port(server.launch)}", token)

    def _prepare_glance(self, region: str, extra: str) -> Server:
        name = f"glance-{region}"
        home = self.directory / name
        port = self._reserve()
        for folder in GLANCE_FOLDERS:
            (home / folder).mkdir(parents=True)
        write_files(home / "etc", glance_files(home, self.software, self.address.identity, port, extra))
        shutil.copy(self.template / "glance.db", home)
        self.servers[name] = Server(glance_launch(name, home, self.software, port))
        return self.servers[name]

    def _prepare_keystone(self, image_url: str) -> None:
        home = self.directory / "keystone"
        shutil.copytree(self.template / "keystone", home)
        write_files(home / "etc", keystone_files(home))
        with closing(sqlite3.connect(home / "keystone.db")) as database:
            for kind, url in (("identity", self.address.identity), ("image", image_url)):
                services = "SELECT id FROM service WHERE type = ?"
                database.execute(f"UPDATE endpoint SET url = ? WHERE service_id IN ({services})", (url, kind))
            database.commit()
        self.servers["keystone"] = Server(keystone_launch(home, self.software, self.address))

    def _prepare_provider(self) -> None:
        home = self.directory / "openid"
        home.mkdir()
        command = (sys.executable, "-m", "cloud.openid", str(self.address.provider))
        ready = f"{self.address.openid}/.well-known/openid-configuration"
        self.servers["openid"] = Server(Launch("openid", home, command, {"PYTHONPATH": str(HERE.parent)}, ready))


def _port(launch: Launch) -> int:
    return int(launch.ready.split(":")[2].split("/")[0])


def serve(supervisor: Supervisor, listener: socket.socket) -> None:
    """Answer clients until the last is gone, or the first did not come in time."""
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        clients = 0
        while ready := selector.select(None if clients else FIRST_CLIENT_LIMIT):
            for key, _ in ready:
                if key.data is None:
                    client, _address = listener.accept()
                    selector.register(client, selectors.EVENT_READ, (client, client.makefile("rwb")))
                    clients += 1
                elif not _answer(supervisor, key.data[1]):
                    clients -= 1
                    if not clients:
                        return  # its connection closes with this process: then nothing is left
                    selector.unregister(key.fileobj)
                    for end in reversed(key.data):
                        end.close()


def _answer(supervisor: Supervisor, stream: Any) -> bool:
    """Answer one request; return whether the client is still there."""
    with suppress(OSError):
        line = stream.readline()
        if not line:
            return False
        try:
            answer = supervisor.obey(json.loads(line))
        except (ServerError, OSError, KeyError, sqlite3.Error) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        stream.write(json.dumps(answer).encode() + b"\n")
        stream.flush()
        return True
    return False


def run(directory: Path, ready: int) -> None:
    """Own the cloud in ``directory``; close the descriptor ``ready`` once clients can connect."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with exclusive(directory / "owner.lock"), socket.socket(socket.AF_UNIX) as listener:
        os.chdir(directory)  # the path of a socket may have 108 characters only
        Path(CONTROL).unlink(missing_ok=True)
        listener.bind(CONTROL)
        listener.listen(64)
        os.write(ready, b"\n")
        os.close(ready)
        keystone, provider = free_port(), free_port()
        address = Address(keystone[0], provider[0])
        supervisor = Supervisor(directory, software(), template(), address, claims=[keystone[1], provider[1]])
        try:
            serve(supervisor, listener)
        finally:
            Path(CONTROL).unlink()
            supervisor.close()


def main() -> None:
    """Leave a supervisor of the given directory in the background; return once it can be asked."""
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        sys.exit(0 if os.read(reading, 1) else 1)
    os.close(reading)
    os.setsid()
    run(Path(sys.argv[1]), writing)


if __name__ == "__main__":
    main()
