"""When passes begin: APScheduler with one job per subscription, one for housekeeping, and a pulse.

A job's own trigger goes on whatever happens to a pass; the daemon only moves its next time: to now at the start and
after a change, and closer when something is to be tried again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, EVENT_JOB_SUBMITTED, JobEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

_PULSE = "(pulse)"
_BEAT = 5.0
_LATE = 6
"""Beats that may be missed before the scheduler counts as dead."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often something is done: each ``every``, or by a ``cron`` expression in local time."""

    every: timedelta
    cron: str | None = None

    def trigger(self, jitter: timedelta) -> BaseTrigger:
        """Return the trigger; ``jitter`` is not more than a tenth of the interval."""
        seconds = int(jitter.total_seconds())
        if self.cron:
            return _crontab(self.cron, seconds)
        every = max(self.every.total_seconds(), 1.0)
        return IntervalTrigger(seconds=every, jitter=min(seconds, int(every / 10)) or None, timezone=UTC)

    def after(self, last: datetime) -> datetime:
        """Return the first time after ``last``, without jitter."""
        if self.cron is None:
            return last + self.every
        found: datetime | None = _crontab(self.cron, 0).get_next_fire_time(last, last + timedelta(seconds=1))
        return found or datetime.max.replace(tzinfo=UTC)


def _crontab(expression: str, jitter: int) -> BaseTrigger:
    names = ("minute", "hour", "day", "month", "day_of_week")
    return CronTrigger(**dict(zip(names, expression.split(), strict=True)), jitter=jitter or None)


class Schedule:
    """The scheduler. One pass runs at a time: those of one target would wait for its lock anyway."""

    def __init__(self, run: Callable[[str], None], *, beat: float = _BEAT) -> None:
        """Call ``run`` with the name of what is due; show life every ``beat`` seconds."""
        self._run, self._every = run, beat
        self._turn, self._counting = Lock(), Lock()
        self._beat = time.monotonic()
        self._scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(1), "pulse": ThreadPoolExecutor(1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone=UTC,
        )
        self._begun, self._ended = Counter[str](), Counter[str]()
        self._scheduler.add_listener(self._note, EVENT_JOB_SUBMITTED | EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
        self._scheduler.add_job(self._pulse, IntervalTrigger(seconds=beat), id=_PULSE, executor="pulse")

    def start(self) -> None:
        """Begin."""
        self._pulse()
        self._scheduler.start()

    def stop(self) -> None:
        """End, waiting for what runs."""
        if self._scheduler.running:
            # Not waiting itself: it would hold the lock that whoever runs needs to be moved.
            self._scheduler.shutdown(wait=False)
        with self._turn:
            return

    def arrange(self, jobs: Mapping[str, Rhythm], jitter: timedelta) -> None:
        """Have exactly these jobs. One that is there already is due no later than it was, nor than a new one is."""
        before = self.next_times()
        for name in self._names() - jobs.keys():
            self._scheduler.remove_job(name)
        for name, rhythm in jobs.items():
            trigger = rhythm.trigger(jitter)
            self._scheduler.add_job(self._take, trigger, args=(name,), id=name, replace_existing=True)
        for name, at in self.next_times().items():
            if name in before and before[name] < at:
                self.move(name, before[name])

    def move(self, name: str, at: datetime) -> None:
        """Let ``name`` be due at a time; its own rhythm goes on from there. What is not arranged is left alone."""
        try:
            self._scheduler.modify_job(name, next_run_time=at)
        except JobLookupError:
            return

    def wake(self, now: datetime) -> None:
        """Go by the clock that was set to ``now``: who waits for a time of before may wait for long."""
        self._scheduler.modify_job(_PULSE, next_run_time=now)

    def next_times(self) -> dict[str, datetime]:
        """Return when each job is due next."""
        return {job.id: at for job in self._jobs() if (at := getattr(job, "next_run_time", None))}

    def is_idle(self) -> bool:
        """Return whether nothing runs or waits for its turn."""
        with self._counting:
            return self._begun == self._ended

    def is_alive(self) -> bool:
        """Return whether the scheduler starts jobs when they are due."""
        return time.monotonic() - self._beat < self._every * _LATE

    def _take(self, name: str) -> None:
        with self._turn:
            self._run(name)

    def _pulse(self) -> None:
        self._beat = time.monotonic()

    def _note(self, event: JobEvent) -> None:
        if event.job_id == _PULSE:
            return
        # That a job ended may be told before that it was submitted, so that only counts can be compared.
        with self._counting:
            (self._begun if event.code == EVENT_JOB_SUBMITTED else self._ended)[event.job_id] += 1

    def _names(self) -> set[str]:
        return {job.id for job in self._jobs()}

    def _jobs(self) -> list[Any]:
        return [job for job in self._scheduler.get_jobs() if job.id != _PULSE]
