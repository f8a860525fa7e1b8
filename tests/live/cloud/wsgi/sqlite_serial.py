"""Make SQLite stand concurrent requests. Import it before the service.

oslo.db begins every transaction with a plain BEGIN. Two requests that read first and write later then lock each other
out, and SQLite refuses the second at once, whatever the time-out: so begin by taking the lock to write.
"""

from typing import Any

import sqlalchemy
from sqlalchemy.engine import Engine


@sqlalchemy.event.listens_for(Engine, "connect")
def _set_up(connection: Any, _record: object) -> None:
    if type(connection).__module__.startswith("sqlite3"):
        connection.execute("PRAGMA busy_timeout = 60000")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")


@sqlalchemy.event.listens_for(Engine, "before_cursor_execute", retval=True)
def _begin(connection: Any, _cursor: object, statement: str, parameters: Any, *_: object) -> tuple[str, Any]:
    if statement == "BEGIN" and connection.dialect.name == "sqlite":
        statement = "BEGIN IMMEDIATE"
    return statement, parameters
