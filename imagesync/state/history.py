"""Runs and what they did."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from imagesync.state.records import ActionRecord, RunRecord
from imagesync.state.tables import action, run

_HEAD = (run.c.id, run.c.kind, run.c.started, run.c.finished, run.c.exit, run.c.number)
_NEWEST_FIRST = (run.c.number.desc(), run.c.id)


def begin(connection: sa.Connection, run_id: str, kind: str, at: datetime) -> None:
    """Note that a run began."""
    number = sa.select(sa.func.coalesce(sa.func.max(run.c.number), 0) + 1).scalar_subquery()
    connection.execute(sa.insert(run).values(id=run_id, kind=kind, started=at, number=number))


def finish(connection: sa.Connection, run_id: str, at: datetime, outcome: tuple[int, Mapping[str, Any]]) -> None:
    """Note that a run ended, with its exit code and report. Each action but those that keep becomes a row."""
    code, report = outcome
    values = {"finished": at, "exit": code, "report": dict(report), "clock": report.get("clock")}
    connection.execute(sa.update(run).where(run.c.id == run_id).values(values))
    rows = [_action_row(run_id, at, position, entry) for position, entry in enumerate(_actions(report))]
    if rows:
        connection.execute(sa.insert(action), rows)


def runs(connection: sa.Connection, limit: int) -> tuple[RunRecord, ...]:
    """Return the newest ``limit`` runs, the newest first."""
    rows = connection.execute(sa.select(*_HEAD, run.c.report).order_by(*_NEWEST_FIRST).limit(limit))
    return tuple(RunRecord(*row) for row in rows)


def heads(connection: sa.Connection, limit: int) -> tuple[RunRecord, ...]:
    """Return the newest ``limit`` runs without their reports, the newest first."""
    rows = connection.execute(sa.select(*_HEAD).order_by(*_NEWEST_FIRST).limit(limit))
    return tuple(RunRecord(*row, report=None) for row in rows)


def report(connection: sa.Connection, run_id: str) -> Mapping[str, Any] | None:
    """Return the report of one run, ``None`` if it has none."""
    found: Mapping[str, Any] | None = connection.execute(
        sa.select(run.c.report).where(run.c.id == run_id)
    ).scalar_one_or_none()
    return found


def find(connection: sa.Connection, run_id: str) -> RunRecord | None:
    """Return a run."""
    row = connection.execute(sa.select(*_HEAD, run.c.report).where(run.c.id == run_id)).one_or_none()
    return RunRecord(*row) if row else None


def last_end(connection: sa.Connection, clocks: Collection[str], at: datetime) -> datetime | None:
    """Return when the last run ended whose report says one of ``clocks`` of its clock.

    One that was going on ``at`` that time does not count.
    """
    overlaps = sa.and_(run.c.started <= at, run.c.finished > at)
    latest = sa.select(run.c.finished).where(run.c.clock.in_(clocks), run.c.finished.is_not(None), ~overlaps)
    return connection.execute(latest.order_by(run.c.finished.desc()).limit(1)).scalar_one_or_none()


def actions(connection: sa.Connection, key: str, limit: int) -> tuple[ActionRecord, ...]:
    """Return the newest ``limit`` actions about ``key``, on any target, the newest first."""
    columns = [column for column in action.c if column.name not in {"position", "key_sha256"}]
    wanted = sa.select(*columns).where(action.c.key_sha256 == _hash(key), action.c.key == key)
    rows = connection.execute(wanted.order_by(action.c.at.desc(), action.c.position.desc()).limit(limit))
    return tuple(ActionRecord(**row._mapping) for row in rows)  # noqa: SLF001 - SQLAlchemy's documented name


def actions_about(connection: sa.Connection, key: str, limit: int) -> tuple[ActionRecord, ...]:
    """Return the newest ``limit`` actions about ``list/image``, in any project and on any target, the newest first."""
    columns = [column for column in action.c if column.name not in {"position", "key_sha256"}]
    owned = action.c.key.endswith(f":{key}", autoescape=True)
    wanted = sa.select(*columns).where(sa.or_(action.c.key == key, owned))
    rows = connection.execute(wanted.order_by(action.c.at.desc(), action.c.position.desc()).limit(limit))
    return tuple(ActionRecord(**row._mapping) for row in rows)  # noqa: SLF001 - SQLAlchemy's documented name


def prune(connection: sa.Connection, before: datetime) -> int:
    """Forget runs that began before ``before``, with their actions, except the newest one. Return how many."""
    last = sa.select(run.c.id).order_by(*_NEWEST_FIRST).limit(1).scalar_subquery()
    return connection.execute(sa.delete(run).where(run.c.started < before, run.c.id != last)).rowcount


def _actions(report: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for target in report.get("targets", ()):
        for entry in target.get("actions", ()):
            if entry.get("kind") == "keep":
                continue  # a row per image and pass that says nothing would soon be most of the database
            yield {"target": target.get("name", ""), **entry}


def _action_row(run_id: str, at: datetime, position: int, entry: Mapping[str, Any]) -> dict[str, Any]:
    key = str(entry.get("key") or "")
    texts = {name: str(entry.get(name) or "") for name in ("target", "kind", "title", "reason", "outcome", "error")}
    return texts | {
        "run": run_id,
        "position": position,
        "at": at,
        "key": key,
        "key_sha256": _hash(key),
        "bytes_downloaded": int(entry.get("bytes_downloaded") or 0),
        "bytes_uploaded": int(entry.get("bytes_uploaded") or 0),
        "seconds": float(entry.get("seconds") or 0.0),
    }


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
