"""Running one child to its end while watching that it gets on."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_TAIL = 4096
_TICK = 1.0
_PATIENCE = 10.0
_PERCENT = re.compile(rb"\((\d+(?:\.\d+)?)/100%\)")


@dataclass(frozen=True, slots=True)
class Watch:
    """What a child is held to. ``stall`` and ``deadline`` are in seconds; growth of ``output`` counts as progress.

    ``share`` is called with the share done, from 0 to 1, about once a second; what it raises ends the child.
    """

    output: Path
    stall: float
    deadline: float
    share: Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended. ``signal`` is the one that killed it or 0; ``gave_up`` says why we killed it, or nothing."""

    status: int
    signal: int
    stderr: str
    gave_up: str = ""


@dataclass(slots=True)
class _State:
    started: float
    moved: float
    share: float = 0.0
    size: tuple[int, int] = (0, 0)
    tails: dict[str, bytes] = field(default_factory=lambda: {"out": b"", "err": b""})


def run(command: Sequence[str], environment: dict[str, str], watch: Watch) -> Outcome:
    """Run ``command`` in the directory of ``watch.output``, in a process group of its own, and return how it ended.

    The whole group is killed on any way out, also by ``KeyboardInterrupt``.
    """
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=watch.output.parent,
        env=environment,
        start_new_session=True,
    )
    state = _State(time.monotonic(), time.monotonic())
    try:
        gave_up = _follow(child, watch, state)
    finally:
        end(child)
    return Outcome(*meaning(child.returncode, gave_up), one_line(state.tails["err"]), gave_up)


def answer(command: Sequence[str], environment: dict[str, str]) -> str:
    """Return what ``command`` prints within some seconds, or nothing if it fails."""
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=_PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout[:_TAIL].decode("utf-8", "replace")


def _follow(child: subprocess.Popen[bytes], watch: Watch, state: _State) -> str:
    """Read both pipes until the child ends; return why to give up before, or nothing. The child is not reaped yet."""
    ended = os.pidfd_open(child.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(ended, selectors.EVENT_READ, "")
            for pipe, name in ((child.stdout, "out"), (child.stderr, "err")):
                if pipe is not None:
                    os.set_blocking(pipe.fileno(), False)
                    selector.register(pipe, selectors.EVENT_READ, name)
            return _loop(selector, watch, state)
    finally:
        os.close(ended)


def _loop(selector: selectors.BaseSelector, watch: Watch, state: _State) -> str:
    while True:
        ready = [key for key, _events in selector.select(_TICK)]
        for key in ready:
            if key.data and not _read(key.fd, key.data, state):
                selector.unregister(key.fileobj)
        if any(not key.data for key in ready):
            for key in list(selector.get_map().values()):
                _ = key.data and _read(key.fd, key.data, state)
            return ""
        if reason := _look(watch, state):
            return reason


def _read(descriptor: int, name: str, state: _State) -> bool:
    """Keep the tail of what a pipe has now; return whether it can have more."""
    try:
        data = os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return True
    state.tails[name] = (state.tails[name] + data)[-_TAIL:]
    return bool(data)


def end(child: subprocess.Popen[bytes]) -> None:
    """Kill a child that leads a process group with all of the group, and reap it."""
    # While the leader is not reaped its number cannot be anybody else's.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()


def _look(watch: Watch, state: _State) -> str:
    now = time.monotonic()
    found = _PERCENT.findall(state.tails["out"])
    share = min(float(found[-1]) / 100, 1.0) if found else 0.0
    size = _growth(watch.output)
    if share > state.share or size != state.size:
        state.moved, state.size = now, size
    state.share = max(share, state.share)
    watch.share(state.share)
    if now - state.moved > watch.stall:
        return f"no progress for {watch.stall:.0f} s"
    return f"not done after {watch.deadline:.0f} s" if now - state.started > watch.deadline else ""


def _growth(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return status.st_size, status.st_blocks


def meaning(returncode: int, gave_up: str) -> tuple[int, int]:
    """Return (status, signal); a sandbox in between reports the signal of its child as 128 + number."""
    if gave_up or returncode == 0:
        return returncode, 0
    killed = -returncode if returncode < 0 else returncode - 128
    return returncode, killed if killed in set(signal.Signals) else 0


def one_line(tail: bytes) -> str:
    """Return the last lines of what a child said as one printable line."""
    lines = tail.decode("utf-8", "replace").split("\n")
    line = "; ".join(filter(None, map(str.strip, lines)))
    return "".join(c if c.isprintable() else "?" for c in line)[-1000:]
