"""Watching a machine while it runs, by way of QMP: what it does, says and shows, until a verdict or the time is over.

Every step has a deadline. A QEMU that crashes, hangs, refuses something or closes its control socket is evidence, not
an error; it is dead when this returns, whichever way.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import zlib
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from qemu.qmp import EventListener, ExecuteError, QMPClient, QMPError

from imagesync.boot.console import Capture, line, screen_text
from imagesync.boot.evidence import Evidence, Happening, Sample, Screen
from imagesync.boot.machine import Wires
from imagesync.boot.picture import MOST_POINTS, Picture, read_ppm
from imagesync.boot.rules import BLANK, judge
from imagesync.boot.verdict import Finding, Verdict
from imagesync.images.process import end, meaning

# What goes wrong is in the evidence; the client's own account of it has a traceback for whoever debugs the client.
# An end by the operator it even calls critical.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL + 1)

_EVENTS = ("RESET", "SHUTDOWN", "GUEST_PANICKED", "STOP", "POWERDOWN", "WATCHDOG", "BLOCK_IO_ERROR")
_MOST_EVENTS = 100
_PARTING = 3.0
_LAST = 5.0
_TICK = 1.0
_TEXT_SCREENS = {(720, 400), (640, 400)}
# All of the VGA's window: kernels scroll by moving the place in it from which the screen is shown.
_TEXT_AT, _TEXT_SIZE = 0xB8000, 1 << 15

# Whatever the other side of the socket sends ends in one of these: the client asserts and indexes as well.
_TROUBLE = (
    *(QMPError, EOFError, OSError, ValueError, TypeError, LookupError, AttributeError),
    *(AssertionError, ArithmeticError, RecursionError),
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds: in all, with nothing happening, for an answer of QEMU's, between two looks.

    A look, which asks several questions, may end a few seconds after the whole.
    """

    total: float = 120.0
    quiet: float = 15.0
    step: float = 10.0
    interval: float = 1.0

    def step_at(self, seconds: float) -> float:
        """Return how long an answer may take that is asked for after so many seconds."""
        return min(self.step, self.look_at(seconds))

    def look_at(self, seconds: float) -> float:
        """Return how long all answers of a look together may take that begins after so many seconds."""
        return max(self.total - seconds, _LAST)

    def scaled(self, *, translated: bool, load: float) -> Patience:
        """Return it for a machine whose processors have ``load`` tasks each to run, and translate the guest or not."""
        busy = min(max(load, 1.0), 2.0)
        slow = 5.0 if translated else 1.0
        silence = 2.0 if translated else 1.0
        return replace(
            self, total=self.total * slow * busy, quiet=self.quiet * silence * busy, step=self.step * slow * busy
        )


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start: a command line for given descriptors, in ``work``, an empty directory that QEMU may write to.

    ``tick`` is called about once a second with the seconds so far; what it raises ends the run.
    """

    command: Callable[[Wires], tuple[str, ...]]
    environment: Mapping[str, str]
    work: Path
    accelerator: str
    starts_from: tuple[str, ...]
    tick: Callable[[float], None] = lambda _seconds: None


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of a run, and the last screen with something on it."""

    finding: Finding
    evidence: Evidence
    picture: Picture | None


def _client() -> QMPClient:
    """Return a client whose own listener, which nobody asks, hears nothing: it would keep all that a guest causes."""
    client = QMPClient("boot")
    client.events.event_filter = lambda _event: False
    return client


def _listener() -> EventListener:
    """Return a listener for the first events that count: it keeps what it accepts, read or not."""
    listener = EventListener(names=_EVENTS)
    listener.event_filter = lambda _event: len(listener.history) < _MOST_EVENTS
    return listener


@dataclass(slots=True)
class _Run:
    """A running machine and all that was seen of it."""

    launch: Launch
    patience: Patience
    child: subprocess.Popen[bytes]
    started: float
    client: QMPClient = field(default_factory=_client)
    listener: EventListener = field(default_factory=_listener)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    console: Capture = field(default_factory=Capture)
    firmware: Capture = field(default_factory=Capture)
    errors: Capture = field(default_factory=lambda: Capture(2048, 2048))
    events: list[Happening] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    screen: Screen | None = None
    picture: Picture | None = None
    dark: bool = False
    clock: float = 0.0
    texts: tuple[int, int] = (0, 0)
    status: str = ""
    trouble: str = ""

    @property
    def seconds(self) -> float:
        return round(asyncio.get_running_loop().time() - self.started, 1)

    def evidence(self) -> Evidence:
        return Evidence(
            accelerator=self.launch.accelerator,
            starts_from=self.launch.starts_from,
            quiet=self.patience.quiet,
            seconds=self.seconds,
            over=self.seconds >= self.patience.total,
            trouble=self.trouble,
            console=self.console.text(),
            firmware=self.firmware.text(),
            screen=self.screen,
            dark=self.dark,
            events=tuple(self.events),
            samples=tuple(self.samples),
            status=self.status,
        )


def watch(launch: Launch, patience: Patience) -> Seen:
    """Run a machine and return what was seen of it."""
    try:
        return asyncio.run(_watch(launch, patience))
    except OSError as error:  # no process, no descriptor, no memory to be had
        evidence = Evidence(str(launch.accelerator), launch.starts_from, patience.quiet, over=True)
        evidence = replace(evidence, trouble=f"QEMU cannot be started: {error.strerror or error}")
        return Seen(judge(evidence) or Finding(Verdict.INCONCLUSIVE, "qemu-trouble", evidence.trouble), evidence, None)


async def _watch(launch: Launch, patience: Patience) -> Seen:
    ours, theirs = zip(*(socket.socketpair() for _ in range(3)), strict=True)
    with ExitStack() as stack:
        for wire in ours:
            stack.enter_context(wire)
        child = _started(launch, theirs)
        run = _Run(launch, patience, child, asyncio.get_running_loop().time())
        try:
            with _readers(run, ours):
                return await _followed(run, ours[0])
        finally:
            end(child)
            with suppress(*_TROUBLE):
                await asyncio.wait_for(run.client.disconnect(), _PARTING)


def _started(launch: Launch, wires: tuple[socket.socket, ...]) -> subprocess.Popen[bytes]:
    """Start QEMU with its ends of the sockets, which are closed here: it is the only one that holds them."""
    with ExitStack() as stack:
        for wire in wires:
            stack.enter_context(wire)
        numbers = tuple(wire.fileno() for wire in wires)
        return subprocess.Popen(
            launch.command(Wires(*numbers)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=numbers,
            cwd=launch.work,
            env=dict(launch.environment),
            start_new_session=True,
        )


@contextmanager
def _readers(run: _Run, ours: tuple[socket.socket, ...]) -> Iterator[None]:
    """Take what comes from the machine as it comes, and notice its end, while the context is open."""
    loop = asyncio.get_running_loop()
    errors = run.child.stderr.fileno() if run.child.stderr else -1
    alive = os.pidfd_open(run.child.pid)
    sources = {ours[1].fileno(): run.console, ours[2].fileno(): run.firmware, errors: run.errors}

    def take(source: int, into: Capture) -> None:
        with suppress(BlockingIOError):
            data = _received(source)
            into.feed(data)
            if not data:
                loop.remove_reader(source)

    def over() -> None:
        loop.remove_reader(alive)
        run.ended.set()

    for source, into in sources.items():
        os.set_blocking(source, False)
        loop.add_reader(source, take, source, into)
    loop.add_reader(alive, over)
    try:
        yield
    finally:
        for source in (*sources, alive):
            loop.remove_reader(source)
        os.close(alive)


def _received(source: int) -> bytes:
    try:
        return os.read(source, 1 << 16)
    except ConnectionResetError:
        return b""


async def _followed(run: _Run, control: socket.socket) -> Seen:
    try:
        run.client.register_listener(run.listener)
        await _attended(run, asyncio.wait_for(run.client.connect(control), run.patience.step_at(0.0)))
    except _TROUBLE as error:
        await _note(run, f"no answer from QEMU in {run.seconds:.0f} s", error)
    finding = None
    while finding is None:
        await _attended(run, _look(run))
        finding = judge(run.evidence())
        if finding is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(run.ended.wait(), run.patience.interval)
            run.launch.tick(run.seconds)
    seen = Seen(finding, run.evidence(), run.picture)
    await _stop(run, gently=finding.verdict.passed)
    return seen


async def _attended(run: _Run, step: Coroutine[Any, Any, object]) -> None:
    """Wait for a step, however long QEMU takes for it, and call the tick meanwhile."""
    task = asyncio.ensure_future(step)
    try:
        while not (await asyncio.wait({task}, timeout=_TICK))[0]:
            run.launch.tick(run.seconds)
        task.result()
    finally:
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError, *_TROUBLE):
                await task


async def _note(run: _Run, what: str, error: BaseException) -> None:
    """Say what went wrong with QEMU; its own end, and what it said then, tell more than a closed socket."""
    with suppress(TimeoutError):
        await asyncio.wait_for(run.ended.wait(), 0.2)
    if not run.ended.is_set():
        said = line(str(error))
        run.trouble = f"{what}: {said}" if said else what
        return
    status, killed = meaning(run.child.wait(), "")
    if killed == signal.SIGXFSZ:
        run.trouble = "the guest wrote more than the check keeps, 2 GiB"
        return
    how = f"was killed by {signal.Signals(killed).name}" if killed else f"ended with status {status}"
    said = line(run.errors.text()[-500:])
    run.trouble = f"QEMU {how}: {said}" if said else f"QEMU {how} without a word"


async def _look(run: _Run) -> None:
    """Take one look at everything."""
    if run.trouble:
        return
    try:
        async with asyncio.timeout(run.patience.look_at(run.seconds)):
            await _take_events(run)
            status = await _ask(run, "query-status")
            run.status = line(str(status["status"]))
            blocks = await _ask(run, "query-blockstats")
            await _take_screen(run)
            reads, size = _reads(blocks)
            run.samples.append(Sample(run.seconds, reads, size, run.console.count + run.texts[0]))
            await _take_events(run)
    except _TROUBLE as error:
        await _note(run, "QEMU stopped answering", error)


async def _take_events(run: _Run) -> None:
    while not run.listener.empty():
        event = await run.listener.get()
        data = cast("dict[str, Any]", event.get("data") or {})
        run.events.append(Happening(_time(run, event), str(event["event"]), line(str(data.get("reason", "")))))


def _time(run: _Run, event: Mapping[str, Any]) -> float:
    """Return when an event happened, in seconds of the run: the first when it is seen, the others by QEMU's clock."""
    stamp = event["timestamp"]
    at = int(stamp["seconds"]) + int(stamp["microseconds"]) / 1e6
    if not run.events:
        run.clock = at - run.seconds
    return round(max(at - run.clock, 0.0), 1)


async def _ask(run: _Run, command: str, arguments: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401 - JSON
    wait = run.patience.step_at(run.seconds)
    try:
        return await asyncio.wait_for(run.client.execute(command, arguments), wait)
    except TimeoutError as error:
        raise TimeoutError(f"{command} had no answer in {wait:.0f} s") from error


def _reads(blocks: Any) -> tuple[int, int]:  # noqa: ANN401 - JSON
    for block in blocks:
        if block.get("device") == "image":
            return int(block["stats"]["rd_operations"]), int(block["stats"]["rd_bytes"])
    return 0, 0


async def _take_screen(run: _Run) -> None:
    """Keep the screen if there is something on it, or if there was none yet."""
    shot = run.launch.work / "screen.ppm"
    try:
        await _ask(run, "screendump", {"filename": str(shot)})
    except ExecuteError:
        return  # a machine without a screen yet
    picture = read_ppm(_content(shot, MOST_POINTS * 3 + 64))
    if picture is None:
        return
    text = await _text(run, picture)
    if text and zlib.crc32(text.encode()) != run.texts[1]:
        run.texts = (run.texts[0] + 1, zlib.crc32(text.encode()))
    ink = round(picture.ink, 5)
    run.dark = ink < BLANK
    if run.screen is None or not run.dark:
        run.screen, run.picture = Screen(picture.width, picture.height, ink, text), picture


async def _text(run: _Run, picture: Picture) -> str:
    if (picture.width, picture.height) not in _TEXT_SCREENS:
        return ""
    file = run.launch.work / "text"
    await _ask(run, "pmemsave", {"val": _TEXT_AT, "size": _TEXT_SIZE, "filename": str(file)})
    return screen_text(_content(file, _TEXT_SIZE))


def _content(path: Path, most: int) -> bytes:
    """Return what QEMU wrote, and remove it; nothing if there is nothing. A link is not followed: QEMU makes none."""
    try:
        # For writing as well, which no directory can be opened for.
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    with os.fdopen(descriptor, "rb") as file:
        path.unlink()
        return file.read(most)


async def _stop(run: _Run, *, gently: bool) -> None:
    """End the machine: by its power button if it would know what that is, by ``quit``, and if need be by force."""
    wait = min(run.patience.step, _PARTING)
    with suppress(*_TROUBLE):
        if gently:
            await asyncio.wait_for(run.client.execute("system_powerdown"), wait)
            with suppress(TimeoutError):
                await asyncio.wait_for(_switched_off(run), wait)
        await asyncio.wait_for(run.client.execute("quit"), wait)
        await asyncio.wait_for(run.ended.wait(), wait)


async def _switched_off(run: _Run) -> None:
    while (await run.listener.get())["event"] != "SHUTDOWN":
        pass
