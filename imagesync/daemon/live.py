"""What is going on now, for whoever looks while a pass runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from threading import Lock
from typing import Any

_MOST_TASKS = 64


@dataclass(frozen=True, slots=True)
class Task:
    """A step that is being done for an image: ``done`` of ``total`` bytes."""

    step: str
    title: str
    total: int
    done: int = 0

    @property
    def share(self) -> float:
        """Return how much is done, from 0 to 1."""
        return min(self.done / self.total, 1.0) if self.total else 0.0


@dataclass(frozen=True, slots=True)
class Running:
    """A pass that is going on."""

    name: str
    since: datetime
    tasks: Mapping[int, Task] = field(default_factory=dict)

    def after(self, event: Mapping[str, Any]) -> Running:
        """Return what it is after an event of its process. What is no such event changes nothing."""
        match event:
            case {"event": "task", "task": int(key), "step": str(step), "title": str(title), "total": int(total)}:
                return self._with(key, Task(step, title, total))
            case {"event": "progress", "task": int(key), "done": int(done)} if key in self.tasks:
                return self._with(key, replace(self.tasks[key], done=done))
            case {"event": "done", "task": int(key)}:
                return replace(self, tasks={other: task for other, task in self.tasks.items() if other != key})
            case _:
                return self

    def _with(self, key: int, task: Task) -> Running:
        if key not in self.tasks and len(self.tasks) >= _MOST_TASKS:
            return self
        return replace(self, tasks={**self.tasks, key: task})


class Live:
    """The passes that are going on, by name. Safe to use from several threads.

    ``changes`` is how many began and ended so far.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = Lock()
        self._running: dict[str, Running] = {}
        self.changes = 0

    def begin(self, name: str, at: datetime) -> None:
        """Note that a pass begins."""
        with self._lock:
            self._running[name] = Running(name, at)
            self.changes += 1

    def take(self, name: str, event: Mapping[str, Any]) -> None:
        """Note what a pass tells."""
        with self._lock:
            if name in self._running:
                self._running[name] = self._running[name].after(event)

    def end(self, name: str) -> None:
        """Note that a pass is over."""
        with self._lock:
            self._running.pop(name, None)
            self.changes += 1

    def running(self) -> tuple[Running, ...]:
        """Return the passes that are going on, the oldest first."""
        with self._lock:
            return tuple(self._running.values())
