"""What an operator paused, what is said of it, and which failures of targets count.

While something is paused nothing is changed for it but what an endorser's dates and recalls want.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from imagesync.errors import BackendError, ImagesyncError, LockedError
from imagesync.plan.spec import timestamp
from imagesync.run.settings import Target
from imagesync.state import Pausable, PauseRecord
from imagesync.state.repository import Repository

if TYPE_CHECKING:
    from imagesync.run.sync import TargetResult, Task


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


# --- in a pass -------------------------------------------------------------------------------------------------------
def with_pauses(task: Task, state: Repository) -> Task:
    """Return ``task`` with what the operator paused."""
    pauses = in_force(state.pauses(), task.now)
    return replace(
        task,
        subscriptions=tuple(replace(item, pause=pauses.of_list(item.name)) for item in task.subscriptions),
        targets=tuple(replace(item, pause=pauses.of_target(item.name)) for item in task.targets),
    )


def is_excused(error: ImagesyncError, target: Target, task: Task) -> bool:
    """Return whether an error is no failure: a target that is paused may be away. A recall still has to reach it."""
    return target.pause is not None and isinstance(error, BackendError) and not task.scope.recalls_only


def note_targets(results: Sequence[TargetResult], task: Task, state: Repository) -> None:
    """Note since when targets fail, longer than the history of runs is looked back on."""
    results = [result for result in results if not isinstance(result.error, LockedError)]
    failed = {result.name for result in results if result.error is not None}
    good = {result.name for result in results} - failed
    if failed or good & state.failing().keys():
        state.note_targets(failed, good, task.now)
