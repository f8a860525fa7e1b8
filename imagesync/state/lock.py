"""One lock per target, held while its plan is made and applied.

The lock is the operating system's or the database's own, so that it is free as soon as its holder is gone, however
that happened. What is written down beside it only says who holds it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from filelock import FileLock, Timeout

from imagesync.errors import LockedError, StateError
from imagesync.state.database import Database, converted, insert
from imagesync.state.tables import holder

_GLANCE = 0.1
"""Seconds for which somebody may have the lock who only looks whether it is held."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that took a lock, and when."""

    host: str
    pid: int
    since: datetime


def hold(database: Database, target: str, now: datetime) -> AbstractContextManager[None]:
    """Return a context manager that holds the lock of ``target``; ``now`` is when it was taken.

    Raises:
        LockedError: another process holds it; says which, and since when.
        StateError: the lock cannot be taken at all.
    """
    mine = Holder(socket.gethostname(), os.getpid(), now)
    if database.engine.dialect.name == "sqlite":
        return _hold_file(Path(f"{database.place}.locks"), target, mine)
    return _hold_advisory(database, target, mine)


def is_held(database: Database, target: str) -> bool:
    """Return whether somebody holds the lock of ``target``. It is not taken for that.

    Raises:
        StateError: it cannot be found out.
    """
    if database.engine.dialect.name == "sqlite":
        with converted(database.place):
            return _is_held_file(_lock_file(Path(f"{database.place}.locks"), target))
    number = _number(target) & ((1 << 64) - 1)
    halves = {"high": number >> 32, "low": number & 0xFFFFFFFF}
    query = sa.text(
        "select exists (select from pg_locks where locktype = 'advisory' and granted and objsubid = 1"
        " and classid = :high and objid = :low"
        " and database = (select oid from pg_database where datname = current_database()))"
    )
    with database.read() as connection:
        return bool(connection.execute(query, halves).scalar_one())


def _refusal(target: str, other: Holder | None, now: datetime) -> LockedError:
    hint = "wait until it is done"
    if other is None:
        return LockedError(target, "is locked by another process", hint)
    age = max(0, round((now - other.since).total_seconds()))
    return LockedError(target, f"is locked by process {other.pid} on {other.host} since {age} s", hint)


# --- a file beside the state -----------------------------------------------------------------------------------------
def _lock_file(directory: Path, target: str) -> Path:
    return directory / f"{quote(target, safe='')}.lock"


def _is_held_file(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def _hold_file(directory: Path, target: str, mine: Holder) -> Iterator[None]:
    path = _lock_file(directory, target)
    facts = path.with_suffix(".json")
    lock = FileLock(path, mode=0o600)
    try:
        with converted(str(directory)):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock.acquire(timeout=_GLANCE, poll_interval=_GLANCE / 4)
    except StateError as error:
        if isinstance(error.__cause__, Timeout):
            raise _refusal(target, _read(facts), mine.since) from None
        raise
    try:
        with converted(str(facts)):
            _write(facts, mine)
        yield
    finally:
        lock.release()


def _write(facts: Path, mine: Holder) -> None:
    temporary = facts.with_suffix(".new")
    temporary.write_text(json.dumps({"host": mine.host, "pid": mine.pid, "since": mine.since.isoformat()}))
    temporary.replace(facts)


def _read(facts: Path) -> Holder | None:
    """Return the holder, or ``None`` for the moment in which the lock is taken and nothing is written yet."""
    try:
        value = json.loads(facts.read_text())
        return Holder(value["host"], value["pid"], datetime.fromisoformat(value["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


# --- PostgreSQL ------------------------------------------------------------------------------------------------------
def _number(target: str) -> int:
    return int.from_bytes(hashlib.sha256(f"imagesync {target}".encode()).digest()[:8], signed=True)


@contextmanager
def _hold_advisory(database: Database, target: str, mine: Holder) -> Iterator[None]:
    # The lock lives as long as this one connection; outside a transaction, so that vacuum is not held up.
    number = _number(target)
    with converted(database.place):
        connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    with connection:
        with converted(database.place):
            taken = connection.execute(sa.select(sa.func.pg_try_advisory_lock(number))).scalar_one()
            if not taken:
                raise _refusal(target, _find(connection, target), mine.since)
            _note(connection, target, mine)
        try:
            yield
        finally:
            # A connection that broke has lost the lock already. Closing alone would free it, but only when the
            # server notices.
            with suppress(sa.exc.SQLAlchemyError):
                connection.execute(sa.select(sa.func.pg_advisory_unlock(number)))
            connection.invalidate()


def _note(connection: sa.Connection, target: str, mine: Holder) -> None:
    values = {"host": mine.host, "pid": mine.pid, "since": mine.since}
    statement = insert(connection, holder).values(target=target, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=[holder.c.target], set_=values))


def _find(connection: sa.Connection, target: str) -> Holder | None:
    row = connection.execute(sa.select(holder).where(holder.c.target == target)).one_or_none()
    return Holder(row.host, row.pid, row.since) if row else None
