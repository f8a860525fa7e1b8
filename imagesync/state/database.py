"""Connecting to a state, and bringing its schema up to date."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError, StatementError

from imagesync.errors import StateError
from imagesync.state.tables import HEAD, VERSION_TABLE, metadata

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

_LOST = (
    "move it away and run again: a new state begins. Lost are exact pins, back-off and history;"
    " images and their list versions and dates are read back from the targets"
)
_MIGRATION_LOCK = 0x696D616765737963
"""Any number that nobody else uses for an advisory lock of the same database."""

_BUSY_SECONDS = 30


class Database:
    """An opened database. Every error of SQLAlchemy or the driver comes out as ``StateError``."""

    def __init__(self, engine: sa.Engine, place: str, *, fresh: bool = False) -> None:
        """Keep ``engine``; ``place`` is what messages call it."""
        self.engine = engine
        # SQLite's own way to begin takes the write lock so late that two writers can deadlock.
        self._writer = engine.execution_options(imagesync_begin="BEGIN IMMEDIATE")
        self.place = place
        self.fresh = fresh

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Yield a connection that sees one state of the database.

        Raises:
            StateError: it cannot be read, or what is there makes no sense.
        """
        with converted(self.place), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Yield a connection inside a transaction that is committed unless something is raised.

        Raises:
            StateError: it failed, and nothing of the transaction was kept; of a server that did not answer at its very
                end nobody knows.
        """
        with converted(self.place), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def connect(url: str, password: str | None, *, readonly: bool) -> Database:
    """Return the database at ``url`` with an up-to-date schema.

    Raises:
        StateError: wrong URL, no access, damaged, not ours, or made by a newer imagesync.
    """
    parsed = _parse(url)
    place = parsed.database or "" if parsed.drivername == "sqlite" else parsed.render_as_string(hide_password=True)
    with converted(place):
        if parsed.drivername != "sqlite":
            engine = _postgresql(parsed.set(password=password), readonly=readonly)
        elif readonly and not Path(place).exists():
            return _nothing(place)
        else:
            engine = _sqlite(Path(place), readonly=readonly)
    database = Database(engine, place)
    with ExitStack() as unless_ready:
        unless_ready.callback(database.close)
        database.fresh = _make_current(database, readonly=readonly)
        unless_ready.pop_all()
    return database


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except ArgumentError as error:
        raise StateError("state", "is not an SQLAlchemy URL", "say sqlite:////absolute/path") from error
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "postgresql+psycopg"}:
        raise StateError("state", f"{parsed.drivername} is not supported", "use sqlite or postgresql+psycopg")
    if parsed.drivername == "sqlite" and not Path(parsed.database or "").is_absolute():
        raise StateError("state", "an SQLite state needs an absolute path", "say sqlite:////absolute/path")
    return parsed


def _sqlite(path: Path, *, readonly: bool) -> sa.Engine:
    if not readonly:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _create(path)
    uri = f"{path.as_uri()}?mode={'ro' if readonly else 'rw'}"
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(
            uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        ),
        poolclass=sa.QueuePool,
        hide_parameters=True,
    )
    sa.event.listen(engine, "connect", _prepare_readonly if readonly else _prepare)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _create(path: Path) -> None:
    """Make an empty database in WAL mode, for its owner only; SQLite gives its other files the same mode.

    Made aside, because the switch to WAL does not wait for others that do the same. Not opened by other means while
    SQLite has it open: closing such a descriptor would drop SQLite's locks (sqlite.org, "How to corrupt", 2.2).
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    try:
        with closing(sqlite3.connect(name)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()


def _nothing(place: str) -> Database:
    """Return an empty state in memory, for reading where none was written yet."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False})
    metadata.create_all(engine)
    return Database(engine, place, fresh=True)


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: sa.Connection) -> None:
    """Begin a transaction that also covers DDL, which the driver's own transactions leave out."""
    connection.exec_driver_sql(connection.get_execution_options().get("imagesync_begin", "BEGIN"))


def _prepare_readonly(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA query_only = ON")


def _postgresql(url: sa.URL, *, readonly: bool) -> sa.Engine:
    from imagesync.state.postgresql import make_engine

    return make_engine(url, readonly=readonly)


# --- schema ----------------------------------------------------------------------------------------------------------
def _make_current(database: Database, *, readonly: bool) -> bool:
    """Bring the schema to ``HEAD`` and return whether the state was made just now."""
    with database.read() as connection:
        version = _version(connection)
    if version == HEAD:
        return False
    if readonly:
        raise StateError(database.place, "was not brought up to date yet", "run imagesync state upgrade")
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            _be_alone(connection)
        # Somebody else may have been faster.
        version = _version(connection)
        if version is None and sa.inspect(connection).get_table_names():
            hint = "give imagesync a file, database or schema of its own"
            raise StateError(database.place, "is no state of imagesync", hint)
        if version != HEAD:
            _migrate(connection, version, database.place)
    return version is None


def _be_alone(connection: sa.Connection) -> None:
    """Keep others from migrating in this transaction, and give it the time for that."""
    from imagesync.state.postgresql import give_time_to_migrate

    give_time_to_migrate(connection)
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))


def _version(connection: sa.Connection) -> str | None:
    """Return the schema's revision, ``None`` for an empty database."""
    table = sa.table(VERSION_TABLE, sa.column("version_num", sa.String))
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(sa.select(table.c.version_num)).scalar_one_or_none()


def _migrate(connection: sa.Connection, version: str | None, place: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "imagesync.state:migrations")
    known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise StateError(place, f"was made by a newer imagesync (schema {version})", "upgrade imagesync")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


# --- statements ------------------------------------------------------------------------------------------------------
def insert(connection: sa.Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """Return an insert into ``table`` that knows ``ON CONFLICT``, in the connection's dialect."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


# --- errors ----------------------------------------------------------------------------------------------------------
@contextmanager
def converted(place: str) -> Iterator[None]:
    """Turn what the database, its driver or the file system raise into ``StateError``.

    A ``ValueError`` is stored text that is no JSON or no word that we know.
    """
    try:
        yield
    except StateError:
        raise
    except ImportError as error:
        detail = f"the driver for PostgreSQL is not usable: {error}"
        raise StateError(place, detail, "pip install imagesync[postgresql]") from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise _state_error(place, error) from error
    except ValueError as error:
        raise StateError(place, f"is damaged: {error}", _LOST) from error
    except OSError as error:
        raise StateError(place, f"cannot be used: {error.strerror}", "check the path and its permissions") from error


def _state_error(place: str, error: Exception) -> StateError:
    """Return what the driver said, without SQLAlchemy's statement and parameters."""
    cause: Any = error.orig if isinstance(error, StatementError) else error
    text = str(cause).strip().partition("\n")[0] or type(cause).__name__
    if isinstance(cause, sqlite3.Error):
        return StateError(place, *_explain_sqlite(cause, text))
    return StateError(place, text, "check the address, the credentials and the database")


def _explain_sqlite(error: sqlite3.Error, text: str) -> tuple[str, str]:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return f"is damaged: {text}", _LOST
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return f"cannot be used: {text}", "file and directory must be writable for the user that runs imagesync"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"is busy for more than {_BUSY_SECONDS} s: {text}", "see which process holds it"
        case sqlite3.SQLITE_FULL:
            return f"cannot be written: {text}", "make room on its file system"
        case _:
            return text, "check the file system below it"
