"""The daemon's main thread: signals, reloading, and what the service manager is told."""

from __future__ import annotations

import os
import queue
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import FrameType

import structlog

from imagesync.daemon.live import Task
from imagesync.daemon.notify.commands import Hook
from imagesync.daemon.notify.outbox import Outbox
from imagesync.daemon.passes import Passes, Site
from imagesync.daemon.schedule import Schedule
from imagesync.daemon.systemd import Notifier
from imagesync.daemon.web.plans import Plans
from imagesync.daemon.web.site import Web
from imagesync.daemon.web.window import Window
from imagesync.errors import ConfigError, ImagesyncError
from imagesync.plan.render import short
from imagesync.run.situation import Outlook
from imagesync.signals import ENDING, hearing

log = structlog.get_logger(__name__)

_TITLE = 40
"""Characters of a title in the line that systemctl shows, which has room for 200."""

_TICK = 1.0
_STEP = 30.0
"""Seconds by which the clock must have been set for that to matter."""

_STUCK = 300.0
"""Seconds in which a pass begins whose turn it is, and what is over is noted: a state that hangs is given up sooner."""

_SIGNALS = (*ENDING, signal.SIGHUP)


@dataclass(slots=True)
class _State:
    """What is so now: the configuration in force, why the newest one is not, and which passes somebody waits for.

    ``complained`` is since when there is a complaint.
    """

    site: Site
    complaint: str = ""
    complained: datetime | None = None
    fed: float = 0.0
    status: str = ""
    past: int | None = None
    hastened: set[str] = field(default_factory=set)
    offset: float = 0.0
    moved: float = field(default_factory=time.monotonic)
    received: queue.SimpleQueue[int] = field(default_factory=queue.SimpleQueue)


class Service:
    """The daemon."""

    def __init__(self, site: Site, passes: Passes, read: Callable[[], Site], notifier: Notifier) -> None:
        """Work with ``site`` until ``read`` gives another one, which it is asked for on SIGHUP."""
        self.passes = passes
        self.schedule = Schedule(self._run)
        self._read, self._notifier = read, notifier
        hook, live = Hook(passes.program.environment, passes.stop), passes.live
        self._outbox = Outbox(passes.program.clock, hook, passes.inbox, lambda: not live.running())
        self._state = _State(site)
        self.web = Web(self._window())

    @property
    def site(self) -> Site:
        """Return the configuration in force."""
        return self._state.site

    @property
    def complaint(self) -> str:
        """Return why the newest configuration is not in force, or nothing."""
        return self._state.complaint

    def serve(self) -> None:
        """Run until SIGTERM or Ctrl-C. Must be called in the main thread; returns within the budget of the stop."""
        with hearing(lambda _: self.passes.stop.ask()), self._receiving():
            self._state.past = self.passes.recall(self.site)
            self._arrange(self.site)
            self.schedule.start()
            self.web.arrange(self.site.config)
            self._notifier.tell("READY=1")
            log.info("daemon started", lists=len(self.site.rhythms()) - 1, pid=os.getpid())
            while self._next_signal() not in ENDING:
                self._look()

    @contextmanager
    def _receiving(self) -> Iterator[None]:
        """Receive signals, and end everything before they are given back to those who received them."""
        before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        try:
            yield
        finally:
            self._end()
            for number, receiver in before.items():
                signal.signal(number, receiver)

    def is_alive(self) -> bool:
        """Return whether what is due begins: the scheduler lives, and nothing holds its turn without being a pass."""
        return self.schedule.is_alive() and time.monotonic() - self._state.moved < _STUCK

    def _end(self) -> None:
        self._notifier.tell("STOPPING=1")
        self._notifier.status("ending")
        self.passes.stop.ask()
        self._outbox.stop()
        self.web.end(self.passes.stop)
        self.schedule.stop()
        self._outbox.wait()
        log.info("daemon ended")

    # --- passes ---
    def _run(self, name: str) -> None:
        """Run what is due, and move it to when it is due again: by the configuration that is in force by then."""
        self._state.hastened.discard(name)
        if name not in self.site.rhythms():
            return  # waited for its turn, and is followed no more
        self.passes.run(name, self.site)
        self._outbox.wake()
        if self.passes.stop.is_set():
            return
        if name in self._state.hastened:
            self.schedule.move(name, self.passes.program.clock())
        elif name in self.site.rhythms():
            self.schedule.move(name, self.passes.due(name, self.site, self.passes.program.clock()))

    def _hasten(self, name: str) -> None:
        """Let ``name`` be due now, or right after the pass that is going on: what that has seen may be old."""
        self._state.hastened.add(name)
        self.schedule.move(name, self.passes.program.clock())

    def _arrange(self, site: Site) -> None:
        now = self.passes.program.clock()
        self._outbox.arrange(site.config)
        self.passes.forget(site)
        self.schedule.arrange(site.rhythms(), site.config.daemon.jitter)
        for name in site.rhythms():
            self.schedule.move(name, self.passes.due(name, site, now))

    # --- signals ---
    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a receiver
        self._state.received.put(number)

    def _next_signal(self) -> int:
        """Return the next signal, or 0 after a while: a receiver runs only when the main thread does."""
        try:
            number = self._state.received.get(timeout=_TICK)
        except queue.Empty:
            return 0
        if number == signal.SIGHUP:
            self._reload()
        return number

    def _reload(self) -> None:
        """Go on with the configuration as it is now, if it is good; with the old one otherwise, whatever happens."""
        self._notifier.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        before = self.site
        why = _failure(lambda: self._put_in_force(self._read_anew()))
        if why:
            self._state.complained = self._state.complained or self.passes.program.clock()
            self._state.complaint = f"configuration not reloaded: {why}"
            log.error("configuration not reloaded, the old one goes on", reason=why)
            if self.site is not before:
                _failure(lambda: self._put_in_force(before))
        else:
            self._state.complaint, self._state.complained = "", None
            log.info("configuration reloaded")
        self._notifier.tell("READY=1")

    def _read_anew(self) -> Site:
        """Return the configuration as it is now.

        Raises:
            ConfigError: with every problem found; or it names another state than that which the daemon has locked.
        """
        site = self._read()
        if site.config.state.url != self.site.config.state.url:
            text = "is another one now: restart the daemon"
            raise ConfigError(site.config.place("state"), text, "its lock is in the one of before")
        return site

    def _put_in_force(self, site: Site) -> None:
        self._state.site = site
        self._arrange(site)
        self.web.arrange(site.config)

    # --- looking around ---
    def _window(self) -> Window:
        """Return what the page sees: never more than values, and what may be called from any thread."""
        program = self.passes.program
        return Window(
            site=lambda: self.site,
            outlook=self._outlook,
            live=self.passes.live,
            clock=program.clock,
            hasten=self._hasten,
            plans=Plans(program, lambda: self.site, self.passes.stop),
            began=program.clock(),
            is_alive=self.is_alive,
            past=lambda: self._state.past,
        )

    def _outlook(self) -> Outlook:
        passes = self.passes
        return Outlook(
            self.schedule.next_times(),
            dict(passes.troubles),
            self.complaint,
            passes.inbox.complaint,
            dict(passes.crashed),
            since=dict(passes.since),
            complaint_since=self._state.complained,
            state_since=passes.inbox.since,
        )

    def _look(self) -> None:
        if self.schedule.is_idle() or self.passes.live.running():
            self._state.moved = time.monotonic()
        self._watch_clock()
        self._feed()
        self.web.tend(self.site.config)
        text = self._text()
        if text != self._state.status:
            self._state.status = text
            self._notifier.status(text)

    def _watch_clock(self) -> None:
        """Plan anew when the clock was set: every time that is waited for was meant by the one before."""
        now = self.passes.program.clock()
        offset = now.timestamp() - time.monotonic()
        before, self._state.offset = self._state.offset or offset, offset
        if abs(offset - before) > _STEP:
            log.warning("the clock was set", seconds=round(offset - before))
            self.schedule.wake(now)
            self._arrange(self.site)

    def _feed(self) -> None:
        """Tell the watchdog that all is well, while passes begin when they are due."""
        now = time.monotonic()
        due = now - self._state.fed >= self._notifier.watchdog / 3
        if self._notifier.watchdog and due and self.is_alive():
            self._notifier.tell("WATCHDOG=1")
            self._state.fed = now

    def _text(self) -> str:
        parts = [f"pass of {one.name}: {_doing(one.tasks.values())}" for one in self.passes.live.running()]
        if self.schedule.is_idle() and (times := self.schedule.next_times()):
            name, at = min(times.items(), key=lambda item: item[1])
            parts = [f"next: {name} at {at:%Y-%m-%d %H:%M} UTC"]
        troubles = [f"{name}: {trouble}" for name, trouble in sorted(self.passes.troubles.items())]
        state = f"the state cannot be used: {why}" if (why := self.passes.inbox.complaint) else ""
        return "; ".join([*filter(None, [self.complaint, self.web.complaint, state]), *troubles, *parts])


def _failure(action: Callable[[], None]) -> str:
    """Do ``action`` and return why it failed, or nothing."""
    try:
        action()
    except ImagesyncError as error:
        return str(error)
    except Exception as error:  # the boundary of a reload: what goes on must not end by what is new
        log.exception("a configuration cannot be put in force")
        return f"unexpected {type(error).__name__}: {error}"
    return ""


def _doing(tasks: Iterable[Task]) -> str:
    texts = [f"{task.step} {short(task.title, _TITLE)} {task.share:.0%}" for task in tasks]
    return ", ".join(texts) or "looking"
