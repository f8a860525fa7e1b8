"""``imagesync state upgrade``: what an upgrade runs before it trusts the new version with the state."""

import sqlite3
from contextlib import closing

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from imagesync.state.tables import HEAD, VERSION_TABLE


def _made_by(path, revision):
    """Make a state as the version with this schema made it."""
    config = Config()
    config.set_main_option("script_location", "imagesync.state:migrations")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def _schema(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()[0]


def test_an_older_state_is_brought_to_this_version_and_stays_so(provider):
    path = provider.root / "state.db"
    _made_by(path, "0001")
    assert provider.given("status", "--from-state").code == 5

    first = provider.given("state", "upgrade", "--json")
    second = provider.given("state", "upgrade")

    assert (first.code, first.json) == (0, {"exit": 0, "schema": HEAD, "fresh": False})
    assert (second.code, second.out) == (0, f"the state is up to date (schema {HEAD})\n")
    assert _schema(path) == HEAD
    assert "not brought up to date" not in provider.given("status", "--from-state").err


def test_the_state_of_a_newer_version_is_refused_and_left_as_it_was(provider):
    path = provider.root / "state.db"
    _made_by(path, HEAD)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")

    refused = provider.given("state", "upgrade")

    assert refused.code == 5
    assert "was made by a newer imagesync (schema 9999)" in refused.err
    assert _schema(path) == "9999"


def test_an_upgrade_that_breaks_leaves_the_state_as_it_was(provider):
    path = provider.root / "state.db"
    _made_by(path, "0001")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE pause (somebody TEXT)")

    broken = provider.given("state", "upgrade")

    assert broken.code == 5
    assert "table pause already exists" in broken.err
    assert _schema(path) == "0001"
