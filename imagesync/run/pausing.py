"""What an operator paused, and what is said of it. Pure.

While something is paused nothing is changed for it but what an endorser's dates and recalls want.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from imagesync.plan.spec import timestamp
from imagesync.state import Pausable, PauseRecord


@dataclass(frozen=True, slots=True)
class Pauses:
    """The pauses that are in force."""

    records: tuple[PauseRecord, ...] = ()

    def of_list(self, name: str) -> PauseRecord | None:
        """Return the pause of a subscription, its own or that of all."""
        return self._of(Pausable.LIST, name)

    def of_target(self, name: str) -> PauseRecord | None:
        """Return the pause of a target, its own or that of all."""
        return self._of(Pausable.TARGET, name)

    def _of(self, scope: Pausable, name: str) -> PauseRecord | None:
        fitting = (one for one in self.records if (one.scope, one.name) in {(scope, name), (Pausable.ALL, "")})
        return max(fitting, key=lambda one: one.scope is scope, default=None)


def in_force(records: Iterable[PauseRecord], now: datetime) -> Pauses:
    """Return the pauses whose end has not come."""
    return Pauses(tuple(one for one in records if one.until is None or one.until > now))


def told(pause: PauseRecord) -> str:
    """Return what is said of a pause, as a clause."""
    end = f"until {timestamp(pause.until)}" if pause.until else "until imagesync resume"
    return f"paused {end} by {pause.who} since {timestamp(pause.since)}: {pause.reason}"


def as_json(pause: PauseRecord | None) -> dict[str, str | None] | None:
    """Return a pause as values for JSON, ``None`` if there is none."""
    if pause is None:
        return None
    until = timestamp(pause.until) if pause.until else None
    return {"reason": pause.reason, "by": pause.who, "since": timestamp(pause.since), "until": until}
