"""Starting an image before a target offers it, once for each file and machine however many targets ask."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import BoundedSemaphore

from imagesync.boot.check import Result, Wish, check, surroundings
from imagesync.boot.machine import asked, settings
from imagesync.boot.picture import png
from imagesync.boot.rules import EDITION
from imagesync.boot.session import Patience
from imagesync.boot.verdict import Verdict
from imagesync.errors import BootCheckError, ImagesyncError
from imagesync.images.artifact import Artifact, BootCheck
from imagesync.images.convert import short_name
from imagesync.images.store import Store
from imagesync.model import Format
from imagesync.plan.spec import Wanted
from imagesync.run.notebook import Notebook
from imagesync.run.settings import BootMode
from imagesync.state import BootRecord

log = logging.getLogger(__name__)

FAILED_AGAIN = timedelta(days=7)
"""For how long an image that did not start is not started again where nothing changed that imagesync knows of."""

_KVM_AGAIN = timedelta(days=1).total_seconds()
_THIS_START = Path("/proc/sys/kernel/random/boot_id")
_TICK = 1.0
_CONSOLE = 16_000
_SCREEN = 1 << 20
_ROOM = 2 << 30


@dataclass(frozen=True, slots=True)
class Bench:
    """What starting takes: room in the cache, the notebook, one turn after another, patience in seconds, a PATH.

    ``check`` starts an image; ``alone`` gives the turn of one file in one machine.
    """

    store: Store
    notebook: Notebook
    turn: BoundedSemaphore
    patience: float
    path: str
    check: Callable[[Wish, Path, Callable[[float], None]], Result] = check
    alone: Callable[[str], BoundedSemaphore] = lambda _file: BoundedSemaphore(1)


def start(bench: Bench, wanted: Wanted, artifact: Artifact, mode: BootMode, tick: Callable[[], None]) -> BootCheck:
    """Return what became of a file that was started now or before.

    ``tick`` is called about once a second; what it raises ends the run.

    Raises:
        BootCheckError: it has to pass, and did not.
        ImagesyncError: it has to pass, and could not be started: no room, a program is missing, the cache is broken.
    """
    machine = circumstances(bench, wanted, artifact.format)
    alone = bench.alone(f"{artifact.digest} {machine}")  # who is second waits for the verdict, not in a turn of its own
    with _held(alone, tick), _held(bench.turn, tick):
        known = bench.notebook.state.boots.one(artifact.digest, machine)
        if known is not None and _counts(known, bench):
            return _judged(wanted, known, mode, 0.0)
        try:
            result = _result(bench, wanted, artifact, tick)
        except ImagesyncError as error:
            # Neither our disk nor our programs are the image's fault: whoever only wants to be told is not held up.
            if mode is BootMode.REQUIRE:
                raise
            log.warning("%s could not be started: %s", wanted.title, error)
            return BootCheck(str(Verdict.INCONCLUSIVE), str(error), 0.0)
        machine = circumstances(bench, wanted, artifact.format)  # with what this start taught of KVM
        record = _record(bench, wanted, artifact, result, machine)
        _note(bench, record)
    return _judged(wanted, record, mode, result.seconds)


def hold_back(bench: Bench, wanted: Wanted, forms: tuple[Format, ...]) -> None:
    """Do nothing, unless it is known that what a target with ``forms`` would be given does not start.

    That spares getting and converting an image only to be told so again.

    Raises:
        BootCheckError: it did not pass before, and that still counts.
    """
    lines = {circumstances(bench, wanted, form) for form in forms}
    known = next((one for one in bench.notebook.state.boots.of({wanted.image.sha512}) if one.machine in lines), None)
    if known is not None and Verdict(known.verdict).failed and _counts(known, bench):
        _judged(wanted, known, BootMode.REQUIRE, 0.0)


@contextmanager
def _held(turn: BoundedSemaphore, tick: Callable[[], None]) -> Iterator[None]:
    while not turn.acquire(timeout=_TICK):
        tick()
    try:
        yield
    finally:
        turn.release()


def circumstances(bench: Bench, wanted: Wanted, form: Format) -> str:
    """Return, as one line, all that a verdict on an image depends on beside its file.

    What is asked of the machine, how long it is waited for, how and by which QEMU it runs, the edition of the rules.
    """
    properties = _properties(wanted)
    words = [settings(properties, wanted.image.ram_min, form), f"patience={bench.patience:g}"]
    words += [surroundings(properties, bench.path), f"rules={EDITION}"]
    words += ["without-kvm"] if _kvm_failed(bench) else []
    return " ".join(words)


def _properties(wanted: Wanted) -> Mapping[str, str]:
    # What Nova has no word for is in no property, and must not be taken for the usual.
    return asked({"architecture": wanted.image.architecture} | dict(wanted.metadata.properties))


def _counts(known: BootRecord, bench: Bench) -> bool:
    verdict, age = Verdict(known.verdict), bench.notebook.now - known.at
    is_of_this_pass = not age  # which does not do again what it did for another target
    wanted_again = bench.notebook.again and not is_of_this_pass
    return verdict.passed or (verdict.failed and abs(age) < FAILED_AGAIN and not wanted_again)


def _result(bench: Bench, wanted: Wanted, artifact: Artifact, tick: Callable[[], None]) -> Result:
    wish = Wish(
        artifact.path,
        artifact.format,
        short_name(wanted.image.sha512),
        properties=_properties(wanted),
        ram=wanted.image.ram_min,
        patience=Patience(total=bench.patience),
        kvm=not _kvm_failed(bench),
        path=bench.path,
    )
    store = bench.store
    # What the guest writes goes to a file without a name; the claim is on one that nobody makes, and stays whole.
    with store.workspace() as work, store.room(_ROOM, work / "written"), store.errors():
        result = bench.check(wish, work, lambda _seconds: tick())
    if result.kvm_failed:
        _remember(bench, result.kvm_failed)
    return result


def _kvm_failed(bench: Bench) -> bool:
    """Return whether KVM was of no use here during the last day, and this machine has not been started since."""
    try:
        said, at = _mark(bench).read_bytes(), _mark(bench).stat().st_mtime
        return said == _THIS_START.read_bytes() and abs(bench.notebook.now.timestamp() - at) < _KVM_AGAIN
    except OSError:
        return False


def _remember(bench: Bench, why: str) -> None:
    log.warning("KVM does not work here, images are started without it for a day: %s", why)
    with suppress(OSError):
        _mark(bench).write_bytes(_THIS_START.read_bytes())


def _mark(bench: Bench) -> Path:
    return bench.store.root / "kvm-failed"


def _record(bench: Bench, wanted: Wanted, artifact: Artifact, result: Result, machine: str) -> BootRecord:
    finding, evidence = result.finding, result.evidence
    return BootRecord(
        digest=artifact.digest,
        machine=machine,
        source=wanted.image.sha512,
        at=bench.notebook.now,
        verdict=str(finding.verdict),
        rule=finding.rule,
        why=finding.why,
        accelerator=evidence.accelerator,
        seconds=result.seconds,
        console=(evidence.console or evidence.firmware)[-_CONSOLE:],
        screen=png(result.screen, _SCREEN) if result.screen else None,
    )


def _note(bench: Bench, record: BootRecord) -> None:
    """Keep a check. One that says nothing takes the place of another such one, and of no verdict."""
    boots = bench.notebook.state.boots
    if record.verdict == Verdict.INCONCLUSIVE:
        known = boots.one(record.digest, record.machine)
        if known is not None and known.verdict != Verdict.INCONCLUSIVE:
            return
    boots.note(record)


def _judged(wanted: Wanted, record: BootRecord, mode: BootMode, seconds: float) -> BootCheck:
    """Return the check as the report has it.

    Raises:
        BootCheckError: it has to pass, and did not.
    """
    verdict = Verdict(record.verdict)
    log.log(
        logging.INFO if verdict.passed else logging.WARNING,
        "boot check of %s: %s (%s)",
        wanted.title,
        verdict,
        record.why,
    )
    if mode is BootMode.REQUIRE and not verdict.passed:
        raise BootCheckError(wanted.title, str(verdict), record.why, seconds)
    return BootCheck(str(verdict), record.why, seconds)
