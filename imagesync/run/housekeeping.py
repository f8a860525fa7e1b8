"""What the daemon does once a day: it trims history and cache. Images on targets are deleted by passes alone."""

from __future__ import annotations

from datetime import datetime

import structlog

from imagesync.config.schema import Config
from imagesync.run.observe import Clock, judge_clock
from imagesync.run.preparation import open_store
from imagesync.run.wiring import open_configured_state
from imagesync.state import Pruned
from imagesync.state.repository import Repository

log = structlog.get_logger(__name__)

_LOOKED_AT = 20
"""Runs among which there is one that ended."""


def keep_house(config: Config, now: datetime) -> tuple[Pruned, int]:
    """Remove what the cache needs no more, and old history if ``now`` can be believed; return how much.

    Raises:
        ConfigError: the password of the state cannot be read, or the cache cannot be used.
        StateError: the state cannot be read or written.
        StoreError: the cache cannot be written.
    """
    with open_configured_state(config) as state:
        believed = is_believed(now, state)
        forgotten = state.prune(now - config.history) if believed else Pruned(0, 0)
    if not believed:
        log.warning("history is kept: the clock is not believed", now=now.isoformat())
    return forgotten, len(open_store(config).prune())


def is_believed(now: datetime, state: Repository) -> bool:
    """Return whether the last pass believed the clock, and ``now`` fits to it. Without a pass nothing is known."""
    ended = (head for head in state.run_heads(_LOOKED_AT) if head.kind == "sync" and head.finished)
    last = next((state.report(head.id) for head in ended), None)
    if last is None or last.get("clock") == Clock.CLOCK:
        return False
    ends = state.last_end(Clock.TRUSTED, at=now), state.last_end(Clock.TRUSTED, Clock.UNCHECKED, at=now)
    return judge_clock((), *ends, now) is not Clock.CLOCK
