"""PostgreSQL: an engine of which every wait ends, also where the server is there and does not answer.

A server that was stopped, hangs on its disk, or waits for a standby that is lost, acknowledges what it is sent: neither
TCP nor the timeouts that the server itself keeps end that. So the client hangs up.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Timer
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.abc import RV, PQGen

LOCKED_SECONDS = 30
"""How long somebody else's lock is waited for."""

STATEMENT_SECONDS = 50
MIGRATION_SECONDS = 300
"""How long the server may take for a statement, and for one that changes the schema."""

_LATE = 10.0
"""Seconds after which the client hangs up where the server should have ended a statement itself."""


class _Bounded(psycopg.Connection[Any]):
    """A connection that is closed when an answer does not come."""

    limit = STATEMENT_SECONDS + _LATE

    def wait(self, gen: PQGen[RV], *how: Any, **more: Any) -> RV:  # noqa: ANN401 - whatever its version takes
        """Do what psycopg does.

        Raises:
            psycopg.OperationalError: there is no answer within the limit, or as psycopg says.
        """
        with _hung_up_after(self.limit, self.fileno()) as late:
            try:
                return super().wait(gen, *how, **more)
            except psycopg.OperationalError as error:
                if late.is_set():
                    raise psycopg.OperationalError(f"no answer within {self.limit:g} s") from error
                raise


@contextmanager
def _hung_up_after(seconds: float, descriptor: int) -> Iterator[Event]:
    """Hang up when this takes longer, and set the event that is given."""
    late = Event()
    # Of its own: the number of the connection's may be somebody else's by then.
    with socket.socket(fileno=os.dup(descriptor)) as connection:

        def hang_up() -> None:
            late.set()
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

        timer = Timer(seconds, hang_up)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError as error:
            raise psycopg.OperationalError(f"nobody can watch over it: {error}") from error
        try:
            yield late
        finally:
            timer.cancel()
            timer.join()


def make_engine(url: sa.URL, *, readonly: bool) -> sa.Engine:
    """Return an engine for ``url``, of which each connection is bounded."""
    # A cluster that was made in the C locale has no encoding; without ours the driver would give bytes for text.
    client = {"client_encoding": "utf8", "connect_timeout": 10, "application_name": "imagesync"}
    # A server that is gone without a word must not hold passes up for ever.
    client |= {"tcp_user_timeout": LOCKED_SECONDS * 1000, "keepalives_idle": LOCKED_SECONDS}
    options = f"-c timezone=UTC -c default_transaction_read_only={'on' if readonly else 'off'}"
    options += f" -c lock_timeout={LOCKED_SECONDS}s -c statement_timeout={STATEMENT_SECONDS}s"
    engine = sa.create_engine(
        url,
        connect_args={"options": options} | client,
        pool_pre_ping=True,
        hide_parameters=True,
    )
    sa.event.listen(engine, "do_connect", _connect)
    sa.event.listen(engine, "checkin", _be_as_before)
    return engine


def _connect(_dialect: object, _record: object, positional: list[Any], named: dict[str, Any]) -> _Bounded:
    return _Bounded.connect(*positional, **named)


def _be_as_before(connection: _Bounded | None, _record: object) -> None:
    """Take the time to migrate away from a connection whose transaction is over."""
    if connection is not None:
        vars(connection).pop("limit", None)


def give_time_to_migrate(connection: sa.Connection) -> None:
    """Give the statements of a transaction the time of those that change the schema, until the client closes."""
    driver: Any = connection.connection.driver_connection
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{MIGRATION_SECONDS}s'")
    driver.limit = MIGRATION_SECONDS + _LATE
