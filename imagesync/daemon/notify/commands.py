"""Running a command of the operator's: to its end, or to that of its time, or of the daemon."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from imagesync.config.notifications import Receiver
from imagesync.daemon.stop import Stop
from imagesync.errors import DeliveryError
from imagesync.images.confine import STANDARD_PATH
from imagesync.plan.render import printable

_TAIL = 500
_KEPT = 1 << 16
_TICK = 0.5
_TO_DIE = 30.0


@dataclass(frozen=True, slots=True)
class Hook:
    """How commands are run: their environment, and the stop that none of them outlives."""

    environment: Mapping[str, str]
    stop: Stop


def run(receiver: Receiver, command: Sequence[str], hook: Hook, given: bytes) -> None:
    """Run a command to its end. What it leaves in the background ends with it, unless in a session of its own.

    Raises:
        DeliveryError: it could not be run, took too long, or ended with another status than 0.
    """
    try:
        with _started(command, hook, given) as child:
            said, late = _heard(child, receiver.seconds, hook.stop)
    except (OSError, ValueError) as error:
        raise DeliveryError(receiver.name, f"cannot be run: {error}", "check the command") from error
    if late is not None:
        raise DeliveryError(receiver.name, f"was not done after {late:g} s, and was killed", "make it faster")
    if child.returncode:
        tail = printable(" ".join(said.decode(errors="replace").split()))[-_TAIL:]
        raise DeliveryError(receiver.name, f"ended with status {child.returncode}: {tail or 'without a word'}")


@contextmanager
def _started(command: Sequence[str], hook: Hook, given: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command, and end it with its group in any case."""
    # In memory: that the disk is full may be what it is to tell.
    with os.fdopen(os.memfd_create("imagesync-message", os.MFD_CLOEXEC), "w+b") as stdin:
        stdin.write(given)
        stdin.seek(0)
        child = subprocess.Popen(
            [*_mortal(command, hook), *command],
            env=dict(hook.environment),
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        _end(child)


def _mortal(command: Sequence[str], hook: Hook) -> Sequence[str]:
    """Return what has the kernel kill a command when the daemon is killed; nothing if the command is not there."""
    path = hook.environment.get("PATH", os.defpath)
    setpriv = shutil.which("setpriv", path=STANDARD_PATH)
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv and shutil.which(command[0], path=path) else []


def _heard(child: subprocess.Popen[bytes], seconds: float, stop: Stop) -> tuple[bytes, float | None]:
    """Return the last words of a command when it has ended, or after how many seconds it has to be killed.

    It is not reaped yet. Whoever else holds its standard error is not waited for.
    """
    said, began = b"", time.monotonic()
    with selectors.DefaultSelector() as selector:
        ended, pipe = os.pidfd_open(child.pid), child.stderr.fileno() if child.stderr else -1
        try:
            os.set_blocking(pipe, False)
            selector.register(ended, selectors.EVENT_READ)
            selector.register(pipe, selectors.EVENT_READ)
            while (spent := time.monotonic() - began) < seconds and stop.patience():
                ready = {key.fd for key, _ in selector.select(min(_TICK, seconds - spent))}
                more = _read(pipe) if pipe in ready else b""
                said = (said + more)[-_KEPT:]
                if ended in ready:
                    return said, None
                if pipe in ready and not more:
                    selector.unregister(pipe)
        finally:
            os.close(ended)
    return said, round(min(spent, seconds), 1)


def _read(pipe: int) -> bytes:
    with suppress(BlockingIOError):
        return os.read(pipe, _KEPT)
    return b""


def _end(child: subprocess.Popen[bytes]) -> None:
    # While the leader is not reaped its number cannot be anybody else's.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):  # the system itself may hold it: a mount or a disk that is dead
        child.wait(_TO_DIE)
    if child.stderr:
        child.stderr.close()
