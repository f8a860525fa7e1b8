"""Running the pass of one subscription, and remembering how it went."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from imagesync.config.load import Files
from imagesync.config.schema import Config
from imagesync.daemon import due
from imagesync.daemon.live import Live
from imagesync.daemon.notify.events import Passed
from imagesync.daemon.notify.inbox import Inbox
from imagesync.daemon.process import Ending, Launch, Patience, supervise
from imagesync.daemon.schedule import Rhythm
from imagesync.daemon.stop import Stop
from imagesync.errors import ImagesyncError
from imagesync.run.exits import MILD
from imagesync.run.wiring import open_configured_state
from imagesync.state import PassRecord
from imagesync.state.repository import Repository

log = structlog.get_logger(__name__)

HOUSEKEEPING = "(housekeeping)"
"""The name of the job that removes what is due. No subscription can be called so."""

_LISTS_FIRST = timedelta(seconds=1)
"""By how much housekeeping lets lists go first that are due at the same time, as at a start."""


@dataclass(frozen=True, slots=True)
class Program:
    """The program itself, as a child is started: command line up to its command, environment, and the clock.

    ``new_run`` gives what the next run is called, or nothing where it finds a name itself.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    clock: Callable[[], datetime]
    new_run: Callable[[], str] = str


@dataclass(frozen=True, slots=True)
class Site:
    """A configuration that was validated, and the text that it was read from."""

    config: Config
    files: Files

    def rhythms(self) -> dict[str, Rhythm]:
        """Return what is to be done how often: enabled subscriptions by name, and housekeeping."""
        lists = {item.name: Rhythm(item.every, item.cron) for item in self.config.subscriptions if item.enabled}
        return {**lists, HOUSEKEEPING: Rhythm(self.config.daemon.housekeeping)}

    def is_about(self, subscription: str, target: str) -> bool:
        """Return whether passes look at that list and that target, one for the other; either may be empty for any."""
        if target:
            found = (one for one in self.config.targets if one.name == target)
            lists = {item.name for one in found for item in self.config.subscriptions_of(one) if item.enabled}
        else:
            lists = set(self.rhythms())
        return subscription in lists if subscription else bool(lists)

    def settings(self, name: str) -> str:
        """Return a digest of everything that decides what a pass of list ``name`` does."""
        return self.config.digest_of(name)

    def patience(self) -> Patience:
        """Return how long a pass may be silent and take."""
        daemon = self.config.daemon
        return Patience(daemon.silence.total_seconds(), daemon.deadline.total_seconds())


@dataclass(frozen=True, slots=True)
class Passes:
    """What runs passes. ``live`` shows what is going on; asking for a ``stop`` ends it.

    ``known`` is what is remembered of the last pass of each job, also where the state cannot be written; ``inbox``
    takes what receivers are to be told. ``troubles`` says what is wrong with passes, and ``since`` when that began.
    ``crashed`` counts passes without a report since the daemon began.
    """

    program: Program
    live: Live = field(default_factory=Live)
    stop: Stop = field(default_factory=Stop)
    known: dict[str, PassRecord] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)
    since: dict[str, datetime] = field(default_factory=dict)
    inbox: Inbox = field(default_factory=Inbox)
    crashed: Counter[str] = field(default_factory=Counter)

    def recall(self, site: Site) -> int | None:
        """Read from the state when the last passes were; return the number of the newest run, if it is known."""
        try:
            with open_configured_state(site.config) as state:
                self.known.update(state.last_passes())
                return max((head.number for head in state.run_heads(1)), default=0)
        except ImagesyncError as error:
            log.error("state cannot be read, every list is looked at", reason=str(error))
            return None

    def forget(self, site: Site) -> None:
        """Forget what was wrong with subscriptions and targets that are followed no more."""
        for name in self.troubles.keys() - site.rhythms().keys():
            self._is_over(name)
        try:
            with open_configured_state(site.config) as state:
                over = [one.key for one in state.troubles() if not site.is_about(one.subscription, one.target)]
                if over:
                    state.tell((), over, ())
        except ImagesyncError as error:
            log.error("state cannot be written", reason=str(error))

    def due(self, name: str, site: Site, now: datetime) -> datetime:
        """Return when ``name`` is due. Housekeeping that was never done is, after the lists."""
        last = self.known.get(name)
        regular = site.rhythms()[name].after(last.ended) if last else now
        at = due.due(last, site.settings(name), regular, now)
        at = due.spread(at, last, now, site.config.daemon.jitter)
        return at + _LISTS_FIRST if name == HOUSEKEEPING else at

    def run(self, name: str, site: Site) -> None:
        """Run one pass and note how it ended."""
        if self.stop.is_set():
            return
        run = self.program.new_run()
        with structlog.contextvars.bound_contextvars(**({"run": run} if run else {})):
            self.live.begin(name, self.program.clock())
            log.info("pass began", list=name)
            try:
                ending = self._supervise(name, site, run)
            finally:
                self.live.end(name)
            if self.stop.is_set() and "run" not in ending.report:
                log.info("pass interrupted", list=name)
                return
            self._log(name, ending)
        self._note(name, site, ending)

    def _supervise(self, name: str, site: Site, run: str) -> Ending:
        which = [] if name == HOUSEKEEPING else ["--list", name]
        which += ["--run", run] if run else []
        launch = Launch([*self.program.command, "pass", *which], self.program.environment, json.dumps(dict(site.files)))
        try:
            return supervise(launch, site.patience(), self.stop, lambda event: self.live.take(name, event))
        except OSError as error:
            return Ending(None, f"cannot be started: {error.strerror}")

    def _log(self, name: str, ending: Ending) -> None:
        why = ending.why or str(ending.report.get("error", ""))
        trouble = why or (f"ended with exit code {ending.code}" if ending.code else "")
        if trouble:
            self.troubles[name] = trouble
            self.since.setdefault(name, self.program.clock())
            self.crashed[name] += not ending.report
            say = log.error if ending.code not in MILD else log.warning
            say("pass failed", list=name, code="none" if ending.code is None else ending.code, reason=trouble)
        elif self._is_over(name):
            log.info("pass is good again", list=name)

    def _is_over(self, name: str) -> bool:
        """Forget what was wrong with a pass, and return whether anything was."""
        self.since.pop(name, None)
        return self.troubles.pop(name, None) is not None

    def _note(self, name: str, site: Site, ending: Ending) -> None:
        retry = ending.report.get("image_retry")
        at = datetime.fromisoformat(retry) if isinstance(retry, str) else None
        ended = due.Ended(self.program.clock(), ending.code, at, bool(ending.report.get("failed_beside_images")))
        self.known[name] = due.record(name, site.settings(name), self.known.get(name), ended)
        try:
            with open_configured_state(site.config) as state:
                state.note_pass(self.known[name])
                self.inbox.put(self._passed(name, ending, ended.at, state))
        except ImagesyncError as error:
            self.inbox.complain("pass", error, ended.at)
        else:
            self.inbox.complain("pass", "", ended.at)

    def _passed(self, name: str, ending: Ending, at: datetime, state: Repository) -> Passed:
        if name == HOUSEKEEPING:  # of which nobody expects a report
            return Passed(name, at, crash=self.troubles.get(name, ""))
        run = state.run(str(ending.report.get("run", "")))
        if run is None or run.report is None:
            return Passed(name, at, crash=self.troubles.get(name, "no report was found"))
        return Passed(name, at, run.report)
