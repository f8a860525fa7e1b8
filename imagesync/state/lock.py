"""One lock per target, held while its plan is made and applied.

The lock is the operating system's or the database's own, so that it is free as soon as its holder is gone, however
that happened. What is written down beside it only says who holds it.
"""

from __future__ import annotations

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


def _refusal(target: str, other: Holder | None, now: datetime) -> LockedError:
    hint = "wait until it is done"
    if other is None:
        return LockedError(target, "is locked by another process", hint)
    age = max(0, round((now - other.since).total_seconds()))
    return LockedError(target, f"is locked by process {other.pid} on {other.host} since {age} s", hint)


# --- a file beside the state -----------------------------------------------------------------------------------------
@contextmanager
def _hold_file(directory: Path, target: str, mine: Holder) -> Iterator[None]:
    name = quote(target, safe="")
    facts = directory / f"{name}.json"
    lock = FileLock(directory / f"{name}.lock", mode=0o600)
    try:
        with converted(str(directory)):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock.acquire(timeout=0)
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
@contextmanager
def _hold_advisory(database: Database, target: str, mine: Holder) -> Iterator[None]:
    # The lock lives as long as this one connection; outside a transaction, so that vacuum is not held up.
    number = int.from_bytes(hashlib.sha256(f"imagesync {target}".encode()).digest()[:8], signed=True)
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
