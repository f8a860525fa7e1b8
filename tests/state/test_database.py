from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from imagesync.errors import StateError
from imagesync.model import Accepted
from imagesync.state import StoredList, open_state
from imagesync.state.database import connect
from imagesync.state.repository import Repository
from imagesync.state.tables import HEAD, VERSION_TABLE, metadata


def script() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", "imagesync.state:migrations")
    return ScriptDirectory.from_config(config)


def statement(place: Any, text: str) -> None:
    database = connect(place.url, place.password, readonly=False)
    with database.write() as connection:
        connection.exec_driver_sql(text)
    database.close()


def test_the_head_in_code_is_the_newest_revision() -> None:
    assert script().get_current_head() == HEAD


def test_models_and_migrations_build_the_same(place: Any) -> None:
    database = connect(place.url, place.password, readonly=False)
    with database.read() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    database.close()


def _put_back(place: Any, revision: str | None, *statements: str) -> None:
    """Make the state one of an earlier ``revision``, with what ``statements`` put there."""
    engine = connect(place.url, place.password, readonly=False).engine
    with engine.begin() as connection:
        for table in reversed(sa.inspect(connection).get_sorted_table_and_fkc_names()):
            if table[0]:
                connection.exec_driver_sql(f"DROP TABLE {table[0]}")
    if revision:
        config = Config()
        config.set_main_option("script_location", "imagesync.state:migrations")
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            for statement in statements:
                connection.exec_driver_sql(statement)
    engine.dispose()


def test_every_revision_upgrades_to_the_newest(place: Any) -> None:
    for revision in [None, *(entry.revision for entry in script().walk_revisions())]:
        _put_back(place, revision)
        with place.open() as repository:
            assert repository.runs(1) == ()


def test_runs_of_before_they_were_numbered_keep_their_order(place: Any) -> None:
    insert = "INSERT INTO run (id, kind, started) VALUES ('{}', 'sync', '2026-03-0{} 12:00:00+00')"
    _put_back(place, "0008", *(insert.format(name, day) for name, day in (("b", 2), ("c", 3), ("a", 1))))
    with place.open() as repository:
        repository.begin_run("d", "sync", datetime(2026, 1, 1, tzinfo=UTC))
        assert [(run.id, run.number) for run in repository.run_heads(9)] == [("d", 4), ("c", 3), ("b", 2), ("a", 1)]


def test_opening_a_current_state_imports_no_alembic(place: Any) -> None:
    place.open().__exit__(None, None, None)
    code = (
        "import sys; from imagesync.state import open_state; import os\n"
        "with open_state(sys.argv[1], os.environ.get('PASSWORD')) as state: state.runs(1)\n"
        "assert 'alembic' not in sys.modules"
    )
    environment = os.environ | ({"PASSWORD": place.password} if place.password else {})
    subprocess.run([sys.executable, "-c", code, place.url], check=True, env=environment, timeout=60)


def test_importing_the_package_imports_no_sqlalchemy() -> None:
    code = "import sys, imagesync.state; assert 'sqlalchemy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_new_state_says_that_it_is_fresh_and_an_old_one_does_not(place: Any) -> None:
    with place.open() as first:
        assert first.fresh
    with place.open() as second:
        assert not second.fresh


def test_several_may_make_the_state_at_once(place: Any) -> None:
    def opened(_: int) -> bool:
        with place.open() as repository:
            repository.begin_run(f"run-{_}", "sync", datetime(2026, 1, 1, tzinfo=UTC))
            return repository.fresh

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(opened, range(6))) == 1
    with place.open() as repository:
        assert len(repository.runs(10)) == 6


def test_a_state_of_a_newer_imagesync_is_refused(place: Any) -> None:
    place.open().__exit__(None, None, None)
    statement(place, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(StateError, match=r"newer imagesync \(schema 9999\) \(upgrade imagesync\)"):
        place.open()


def test_somebody_elses_database_is_refused_and_left_alone(place: Any) -> None:
    place.open().__exit__(None, None, None)
    statement(place, f"DROP TABLE {VERSION_TABLE}")
    with pytest.raises(StateError, match="is no state of imagesync"):
        place.open()


def test_reading_needs_no_state_and_makes_none(sqlite_place: Any, tmp_path: Path) -> None:
    with sqlite_place.open(readonly=True) as repository:
        assert repository.fresh
        assert repository.all_accepted() == ()
        assert repository.runs(1) == ()
    assert list(tmp_path.iterdir()) == []


def test_reading_writes_nothing(place: Any, now: datetime) -> None:
    with place.open() as writing:
        writing.begin_run("one", "sync", now)
    with place.open(readonly=True) as repository:
        assert repository.runs(1)[0].id == "one"
        with pytest.raises(StateError):
            repository.begin_run("two", "sync", now)
        with pytest.raises(StateError, match="reading only"):
            repository.lock("site", now)


def test_reading_an_empty_database_asks_for_an_upgrade(postgresql_place: Any) -> None:
    with pytest.raises(StateError, match="run imagesync state upgrade"):
        postgresql_place.open(readonly=True)


def test_the_file_is_for_its_owner_only(sqlite_place: Any, tmp_path: Path) -> None:
    with sqlite_place.open():
        files = list((tmp_path / "state").iterdir())
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert "state.db-wal" in {file.name for file in files}


@pytest.mark.parametrize(
    "content", [b"this is no database at all, only text" * 100, None], ids=["text", "damaged page"]
)
@pytest.mark.parametrize("readonly", [False, True])
def test_a_corrupt_file_is_a_state_error_that_says_what_is_lost(
    sqlite_place: Any, tmp_path: Path, content: bytes | None, readonly: bool
) -> None:
    sqlite_place.open().__exit__(None, None, None)
    file = tmp_path / "state" / "state.db"
    damaged = bytearray(file.read_bytes())
    damaged[100:4096] = b"\xff" * 3996
    file.write_bytes(content or bytes(damaged))
    with pytest.raises(StateError, match=r"is damaged.*Lost are exact pins.*read back from the targets"):
        sqlite_place.open(readonly=readonly)


def test_damage_that_shows_later_is_a_state_error_too(
    sqlite_place: Any, now: datetime, make_accepted: Callable[..., Accepted]
) -> None:
    with sqlite_place.open() as repository:
        repository.accept(make_accepted(), StoredList(b"blob"))
        statement(sqlite_place, "UPDATE accepted SET expiries = '{{{'")
        with pytest.raises(StateError, match="is damaged"):
            repository.accepted("fedcloud")


def test_an_unwritable_directory_is_a_state_error() -> None:
    with pytest.raises(StateError, match=r"/proc/imagesync/state.db: cannot be used.*permissions"):
        open_state("sqlite:////proc/imagesync/state.db")


def test_a_path_below_a_file_is_a_state_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot be used"):
        open_state(f"sqlite:///{tmp_path}/file/state.db")


def test_a_full_disk_is_a_state_error(sqlite_place: Any, now: datetime) -> None:
    with sqlite_place.open() as repository:
        repository.runs(1)
        with repository._database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 30")
        repository.begin_run("one", "sync", now)
        with pytest.raises(StateError, match="make room"):
            repository.finish_run("one", now, 0, {"text": "x" * 1_000_000})


def test_an_unreachable_server_is_a_state_error_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(StateError) as caught:
        open_state(f"postgresql+psycopg://me@/state?host={tmp_path}", "s3cret-word")
    assert "s3cret-word" not in str(caught.value)
    assert "check the address" in caught.value.hint


def test_a_wrong_password_is_a_state_error(postgresql_place: Any) -> None:
    with pytest.raises(StateError, match="password authentication failed"):
        open_state(postgresql_place.url, "wrong")


def test_a_database_without_an_encoding_serves_too(postgresql: str, now: datetime) -> None:
    with psycopg.connect(f"host={postgresql} user=imagesync password=s3cret dbname=postgres", autocommit=True) as admin:
        admin.execute("CREATE DATABASE plain ENCODING 'SQL_ASCII' TEMPLATE template0")
    with open_state(f"postgresql+psycopg://imagesync@/plain?host={postgresql}", "s3cret") as repository:
        repository.begin_run("eins äöü", "sync", now)
        assert repository.runs(1)[0].id == "eins äöü"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("nonsense", "not an SQLAlchemy URL"),
        ("mysql://host/db", "mysql is not supported"),
        ("sqlite://", "absolute path"),
        ("sqlite:///relative.db", "absolute path"),
    ],
)
def test_a_wrong_url_is_a_state_error(url: str, problem: str) -> None:
    with pytest.raises(StateError, match=problem):
        open_state(url)


def test_times_come_back_aware_in_utc_and_naive_ones_are_refused(repository: Repository) -> None:
    local = datetime(2499, 12, 31, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    repository.begin_run("one", "sync", local)
    started = repository.runs(1)[0].started
    assert started == local
    assert started.tzinfo is UTC
    with pytest.raises(StateError, match="no time zone"):
        repository.begin_run("two", "sync", datetime(2026, 1, 1))  # noqa: DTZ001


def test_sqlite_is_in_wal_mode(sqlite_place: Any, tmp_path: Path) -> None:
    sqlite_place.open().__exit__(None, None, None)
    connection = sqlite3.connect(tmp_path / "state" / "state.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


# --- a server that does not answer -----------------------------------------------------------------------------------
@pytest.fixture
def freeze(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[sa.Connection], None]]:
    """Return a function that stops the server's process for a connection until the test ends. We are impatient."""
    from imagesync.state import postgresql

    monkeypatch.setattr(postgresql._Bounded, "limit", 0.5)
    stopped = []

    def stop(connection: sa.Connection) -> None:
        stopped.append(connection.execute(sa.text("select pg_backend_pid()")).scalar_one())
        os.kill(stopped[-1], signal.SIGSTOP)

    yield stop
    for process in stopped:
        os.kill(process, signal.SIGCONT)


def test_an_answer_that_does_not_come_is_a_state_error(postgresql_place: Any, freeze: Any) -> None:
    database = connect(postgresql_place.url, postgresql_place.password, readonly=False)
    with pytest.raises(StateError, match=r"no answer within 0\.5 s"), database.read() as connection:
        freeze(connection)
        connection.execute(sa.select(1))

    with database.read() as connection:  # another one
        assert connection.execute(sa.select(1)).scalar_one() == 1
    database.close()


def test_a_commit_that_is_not_answered_is_a_state_error(postgresql_place: Any, freeze: Any) -> None:
    database = connect(postgresql_place.url, postgresql_place.password, readonly=False)
    with pytest.raises(StateError, match=r"no answer within 0\.5 s"), database.write() as connection:
        freeze(connection)
    database.close()


def test_a_statement_that_takes_long_is_ended_by_the_server(postgresql_place: Any) -> None:
    database = connect(postgresql_place.url, postgresql_place.password, readonly=False)
    with pytest.raises(StateError, match="statement timeout"), database.read() as connection:
        connection.exec_driver_sql("SET LOCAL statement_timeout = '100ms'")
        connection.exec_driver_sql("SELECT pg_sleep(30)")
    database.close()


def test_statements_have_less_time_than_migrations_and_the_client_waits_for_both(postgresql_place: Any) -> None:
    from imagesync.state.postgresql import MIGRATION_SECONDS, STATEMENT_SECONDS, give_time_to_migrate

    database = connect(postgresql_place.url, postgresql_place.password, readonly=False)
    with database.write() as connection:
        driver: Any = connection.connection.driver_connection

        def times() -> tuple[str, float]:
            return connection.exec_driver_sql("SHOW statement_timeout").scalar_one(), driver.limit

        assert times() == (f"{STATEMENT_SECONDS}s", STATEMENT_SECONDS + 10)
        give_time_to_migrate(connection)
        assert times() == (f"{MIGRATION_SECONDS // 60}min", MIGRATION_SECONDS + 10)
    assert driver.limit == STATEMENT_SECONDS + 10
    database.close()
