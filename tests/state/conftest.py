from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from imagesync.model import Accepted, Digest, Identity, ImageId, ListId, Signer
from imagesync.state import open_state
from imagesync.state.repository import Repository

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Place:
    """Where a test's state is."""

    url: str
    password: str | None = None

    def open(self, *, readonly: bool = False) -> Repository:
        return open_state(self.url, self.password, readonly=readonly)


def _program(name: str) -> str:
    found = [*sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), *filter(None, [shutil.which(name)])]
    if not found:
        pytest.fail("PostgreSQL is not installed: apt-get install postgresql")
    return str(found[0])


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A PostgreSQL of the test session on a socket in a directory of its own; yields that directory."""
    user = "postgres" if os.geteuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="imagesync-pg-"))
    (home / "password").write_text("s3cret")
    if user:
        shutil.chown(home, user)

    def run(program: str, *arguments: str) -> None:
        command = [_program(program), "-D", str(home / "data"), *arguments]
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
        with (home / "log").open("ab") as log:
            subprocess.run(
                command, user=user, cwd=home, env=environment, check=True, stdout=log, stderr=log, timeout=120
            )

    try:
        run(
            "initdb",
            "--username=imagesync",
            "--auth=scram-sha-256",
            f"--pwfile={home / 'password'}",
            "--encoding=UTF8",
            "--no-sync",
        )
        options = f"-c listen_addresses='' -c fsync=off -c unix_socket_directories={home}"
        run("pg_ctl", "start", "--wait", "--options", options, "--log", str(home / "server.log"))
        yield str(home)
    finally:
        if (home / "data" / "postmaster.pid").exists():
            run("pg_ctl", "stop", "--mode=immediate", "--wait")
        shutil.rmtree(home)


@pytest.fixture
def postgresql_place(postgresql: str) -> Place:
    name = f"t{uuid4().hex}"
    with psycopg.connect(f"host={postgresql} user=imagesync password=s3cret dbname=postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    return Place(f"postgresql+psycopg://imagesync@/{name}?host={postgresql}", "s3cret")


@pytest.fixture
def sqlite_place(tmp_path: Path) -> Place:
    return Place(f"sqlite:///{tmp_path}/state/state.db")


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Place:
    """Where a state is: every test that takes it runs on SQLite and on PostgreSQL."""
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


@pytest.fixture
def repository(place: Place) -> Iterator[Repository]:
    with place.open() as opened:
        yield opened


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def make_accepted() -> Callable[..., Accepted]:
    def make(subscription: str = "fedcloud", **changes: object) -> Accepted:
        values: dict[str, object] = {
            "subscription": subscription,
            "list": ListId(f"list-of-{subscription}"),
            "version": "2026.03.01",
            "digest": Digest("a" * 128),
            "created": datetime(2026, 2, 28, tzinfo=UTC),
            "expires": datetime(2499, 12, 31, 23, 59, 59, tzinfo=UTC),
            "accepted_at": NOW,
            "signer": Signer(
                Identity("/CN=endorser", "/CN=ca"), datetime(2027, 1, 1, tzinfo=UTC), "b" * 64, expects_pin=True
            ),
            "expiries": {ImageId("one"): None, ImageId("two"): datetime(2499, 1, 1, tzinfo=UTC)},
        }
        return Accepted(**(values | changes))  # type: ignore[arg-type]

    return make
