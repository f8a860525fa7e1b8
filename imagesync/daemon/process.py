"""A pass in a process of its own: watched, and killed with its group when it shows no life.

The child is ``imagesync pass``. It is given its configuration in an anonymous file, so that it works with what the
daemon has validated, whatever became of the files since; it tells what it does in JSON lines through a pipe; and its
standard input is a lifeline: when it ends, because the daemon does, the child ends itself.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

import structlog

from imagesync.daemon.stop import Stop

log = structlog.get_logger(__name__)

_TICK = 0.5
_LONGEST_LINE = 1 << 20
_LAST_WORDS = 30.0
"""Seconds that a child has to end after it closed its pipe, and after it was killed."""

EventSink = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: without any event a child is stuck after ``silence``; nothing runs longer than ``deadline``."""

    silence: float
    deadline: float


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended.

    ``code`` is its exit code, or ``None`` if a signal ended it; ``why`` says in words what was wrong, or nothing;
    ``report`` is the last event, empty if the child had no last words.
    """

    code: int | None
    why: str = ""
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Launch:
    """How a child is started: command line and environment, and the text of its configuration files."""

    command: Sequence[str]
    environment: Mapping[str, str]
    files: str


def supervise(launch: Launch, patience: Patience, stop: Stop, sink: EventSink) -> Ending:
    """Run a child to its end and return how it ended. ``sink`` gets each event.

    When ``stop`` is asked for, the child is asked to end, and killed when the budget of children is spent. No process
    of its group is left, whatever happens.

    Raises:
        OSError: no process can be started.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        files = _anonymous(launch.files)
        try:
            child = _start(launch, writer, files)
        finally:
            os.close(files)
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as events:
        watched = _Watched(child, patience, stop, sink)
        try:
            why = watched.follow(events)
        finally:
            watched.end()
    return watched.ending(why)


def _anonymous(text: str) -> int:
    descriptor = os.memfd_create("imagesync-config", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(text.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _start(launch: Launch, writer: int, files: int) -> subprocess.Popen[bytes]:
    command = [*launch.command, "--events", str(writer), "--files", str(files)]
    return subprocess.Popen(
        command,
        env=dict(launch.environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=(writer, files),
        start_new_session=True,
    )


@dataclass(slots=True)
class _Watched:
    child: subprocess.Popen[bytes]
    patience: Patience
    stop: Stop
    sink: EventSink
    began: float = field(default_factory=time.monotonic)
    alive: float = field(default_factory=time.monotonic)
    asked: bool = False
    report: Mapping[str, Any] = field(default_factory=dict)
    rest: bytes = b""

    def follow(self, events: IO[bytes]) -> str:
        """Read events until the child closes the pipe; return why it has to be killed before, or nothing."""
        with selectors.DefaultSelector() as selector:
            selector.register(events, selectors.EVENT_READ)
            while True:
                if selector.select(_TICK) and not self._read(events):
                    return self._reap()
                if why := self._impatient():
                    return why

    def _read(self, events: IO[bytes]) -> bool:
        data = events.read(1 << 16)
        if not data:
            return False
        self.alive = time.monotonic()
        *lines, self.rest = (self.rest + data).split(b"\n")
        self.rest = self.rest[:_LONGEST_LINE]
        for line in lines:
            self._take(line)
        return True

    def _take(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            log.warning("a pass wrote an event that is no JSON", size=len(line))
            return
        if isinstance(event, dict):
            if event.get("event") == "end":
                self.report = event
            self.sink(event)

    def _impatient(self) -> str:
        now = time.monotonic()
        if self.stop.is_set() and not self.asked:
            self.asked = True
            self.child.terminate()
        if not self.stop.patience():
            return f"did not end {self.stop.budget.children:g} s after it was asked to"
        if now - self.alive > self.patience.silence:
            return f"showed no sign of life for {self.patience.silence:g} s"
        if now - self.began > self.patience.deadline:
            return f"was not done after {self.patience.deadline:g} s"
        return ""

    def _reap(self) -> str:
        closed = time.monotonic()
        while time.monotonic() - closed < _LAST_WORDS:
            with suppress(subprocess.TimeoutExpired):
                self.child.wait(_TICK)
                return ""
            if why := self._impatient():
                return why
        return f"did not end {_LAST_WORDS:g} s after its last words"

    def end(self) -> None:
        """Kill what is left of the group, and forget the child."""
        # While its leader is not reaped the group's number is nobody else's; afterwards it is while a member lives.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # the system itself may hold it: a mount or a disk that is dead
            self.child.wait(_LAST_WORDS)
        if self.child.stdin:
            self.child.stdin.close()

    def ending(self, why: str) -> Ending:
        """Return how it ended, when it has."""
        code: int | None = self.child.returncode
        if code is None:
            return Ending(None, f"{why}, and cannot be killed: a disk or mount that it waits for is dead", self.report)
        if why:
            return Ending(None, f"{why}, and was killed", self.report)
        if code < 0:
            return Ending(None, f"was ended by {_signal_name(-code)}", self.report)
        if not self.report and not self.asked:
            return Ending(code, f"ended with code {code} without a report", {})
        return Ending(code, "", self.report)


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
