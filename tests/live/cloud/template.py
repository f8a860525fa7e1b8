"""Databases and keys of a fresh cloud, made once and copied at every start."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from cloud.configuration import (
    ADMIN_PASSWORD,
    FIRST_REGION,
    Address,
    glance_files,
    keystone_files,
    keystone_launch,
    write_files,
)
from cloud.process import Server, free_port
from cloud.software import HERE, NotInstalledError, Software, cache, digest_of, exclusive

SOURCES = ("requirements.txt", "configuration.py", "template.py", "provisioning.py")


def template() -> Path:
    """Return where the template is.

    Raises:
        NotInstalledError: it was not made yet.
    """
    found = _path()
    if not found.exists():
        raise NotInstalledError(f"{found} is missing: run .ci/cloud, or make test")
    return found


def make_template(servers: Software, provision: Callable[[Address], None]) -> Path:
    """Return the template, made when it is missing; ``provision`` fills a running Keystone."""
    wanted = _path()
    with exclusive(wanted.with_suffix(".lock")):
        if not wanted.exists():
            unfinished = wanted.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            _make(unfinished, servers, provision)
            unfinished.rename(wanted)
    return wanted


def _path() -> Path:
    return cache() / f"template-{digest_of(HERE / name for name in SOURCES)}"


def _make(home: Path, servers: Software, provision: Callable[[Address], None]) -> None:
    (keystone_port, _claim), (provider_port, _other) = free_port(), free_port()
    address = Address(keystone_port, provider_port)
    keystone = home / "keystone"
    write_files(keystone / "etc", keystone_files(keystone))
    write_files(home / "etc", glance_files(home, servers, address.identity, 9))
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(job, home, servers, address) for job in (_make_keystone, _make_glance)]
    for job in jobs:
        job.result()
    server = Server(keystone_launch(keystone, servers, address))
    server.spawn()
    try:
        server.wait()
        provision(address)
        server.stop()
    finally:
        server.kill()
    for database in (keystone / "keystone.db", home / "glance.db"):
        checkpoint(database)


def checkpoint(database: Path) -> None:
    """Leave all of a database in its one file, to be copied."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _make_keystone(home: Path, servers: Software, address: Address) -> None:
    keystone = home / "keystone"
    for folder in ("fernet-keys", "credential-keys"):
        (keystone / folder).mkdir(mode=0o700)
        for name in ("0", "1"):
            _write_key(keystone / folder / name)
    command = [servers.program("keystone-manage"), "--config-file", f"{keystone}/etc/keystone.conf"]
    run_tool([*command, "db_sync"], home / "keystone-db.log")
    urls = [word for kind in ("public", "internal", "admin") for word in (f"--bootstrap-{kind}-url", address.identity)]
    names = {"username": "admin", "project-name": "admin", "role-name": "admin", "region-id": FIRST_REGION}
    named = [word for name, value in names.items() for word in (f"--bootstrap-{name}", value)]
    secret = {"OS_BOOTSTRAP_PASSWORD": ADMIN_PASSWORD}
    run_tool([*command, "bootstrap", *named, *urls], home / "keystone-bootstrap.log", secret)


def _make_glance(home: Path, servers: Software, _address: Address) -> None:
    config = [word for name in ("glance-api.conf",) for word in ("--config-file", f"{home}/etc/{name}")]
    run_tool([servers.program("glance-manage"), *config, "db_sync"], home / "glance-db.log")


def _write_key(path: Path) -> None:
    from cryptography.fernet import Fernet

    with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as stream:
        stream.write(Fernet.generate_key())


def run_tool(command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
    """Run a command of a service; what it prints goes to ``log``.

    Raises:
        ChildProcessError: it failed.
    """
    with log.open("wb") as stream:
        done = subprocess.run(
            command, check=False, stdout=stream, stderr=stream, env={"PATH": os.environ["PATH"], **(environment or {})}
        )
    if done.returncode:
        raise ChildProcessError(f"{command[0]} ended with {done.returncode}: {log.read_text()[-3000:]}")
