"""Carry out a plan: for each image fetch, convert, upload, verify, publish, and only then retire.

Rules this module keeps:

* A failure of one image becomes an ``Outcome`` of that image; the others go on.
* What adds comes before what removes, but for local recalls. When an addition failed, the guard judges the removals
  again.
* Images are prepared ahead by a bounded number of threads, so that the next one downloads or converts while one is
  uploaded; the target itself is used by one thread only. The smallest come first: they are of use soonest.
* When the time for heavy work is over, what is being prepared is finished and nothing more is begun.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from threading import Event

import structlog

from imagesync.backend import Backend, ImageKey, Metadata, OwnedImage, Progress, Retirement, State
from imagesync.errors import (
    BackendBrokenError,
    BackendConflictError,
    BootCheckError,
    ImagesyncError,
    NoSpaceError,
    StoredDigestError,
)
from imagesync.images.artifact import Artifact, BootCheck
from imagesync.model import ListId
from imagesync.plan.guard import guard
from imagesync.plan.spec import File, Wanted, complete, fingerprint
from imagesync.plan.values import BESIDE_ANOTHER, Action, Cause, GuardRules, Kind, Plan
from imagesync.plan.waiting import put_off
from imagesync.run.hours import Hours
from imagesync.run.progress import Display, Step, both, interruptible, lazily

log = structlog.get_logger(__name__)

Prepare = Callable[[Wanted, Progress, Progress], AbstractContextManager[Artifact]]
"""Bring a wanted image into a form that the target takes, and keep it there while the context is open.

The first progress counts the bytes of the download, the second counts up to the image's size during a conversion.
"""

_UPLOADS = frozenset({Kind.REGISTER, Kind.REPLACE})
_CHANGES_OF_RECORDS = frozenset({Kind.RESTORE, Kind.UPDATE})
_BEFORE_REMOVALS = _UPLOADS | _CHANGES_OF_RECORDS


class Ending(StrEnum):
    """How an action, or all of a target, ended. The values are words of the report."""

    DONE = "done"
    FAILED = "failed"
    HELD = "held"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one action. Bytes and seconds as spent."""

    action: Action
    outcome: Ending
    error: ImagesyncError | None = None
    downloaded: int = 0
    uploaded: int = 0
    seconds: float = 0.0
    file: File | None = None
    boot: BootCheck | None = None


@dataclass(frozen=True, slots=True)
class Workshop:
    """What carrying out a plan needs beside the target.

    ``ahead`` images are prepared in parallel before their turn; with 0 everything happens in the calling thread.
    ``expect`` hears before all of them which are going to be prepared, the last one first.
    """

    prepare: Prepare
    display: Display
    ahead: int = 2
    stop: Event = field(default_factory=Event)
    hours: Hours = field(default_factory=Hours)
    expect: Callable[[Sequence[Wanted]], None] = lambda _: None

    def begun(self, action: Action) -> Action:
        """Return the upload as it is to be done now, or as waiting."""
        return put_off(action, self.hours.objection())


def apply(
    plan: Plan, backend: Backend, workshop: Workshop, owned: Sequence[OwnedImage], rules: Mapping[ListId, GuardRules]
) -> list[Outcome]:
    """Carry out ``plan`` and return what became of each of its actions, in the order in which they were done."""
    first = [action for action in plan.actions if _comes_first(action)]
    uploads = sorted((action for action in plan.actions if action.kind in _UPLOADS), key=_size)
    restores = [action for action in plan.actions if action.kind in _CHANGES_OF_RECORDS]
    outcomes = [_carry_out(action, backend, plan) for action in first]
    workshop.expect([action.wanted for action in reversed(uploads) if action.wanted])
    outcomes += _upload_all(uploads, plan, backend, workshop)
    outcomes += [_carry_out(action, backend, plan) for action in restores]
    missed = {outcome.action.key for outcome in outcomes if _is_missed(outcome)}
    judged = guard(_without_missed(plan.actions, missed), owned, rules, plan.at)
    rest = (action for action in judged if action.kind not in _BEFORE_REMOVALS and not _comes_first(action))
    return outcomes + [_carry_out(action, backend, plan) for action in rest]


def _comes_first(action: Action) -> bool:
    """Return whether it is a recall, which waits for no download, or clean-up, which frees room."""
    return (action.kind, action.cause) in {(Kind.RETIRE, Cause.REVOKED), (Kind.DELETE, Cause.LEFTOVER)}


def _size(action: Action) -> int:
    return action.wanted.image.size if action.wanted else 0


def _is_missed(outcome: Outcome) -> bool:
    return outcome.outcome is Ending.FAILED or outcome.action.cause is Cause.WAITING


def _without_missed(actions: Sequence[Action], missed: set[ImageKey]) -> list[Action]:
    adding = _UPLOADS | {Kind.RESTORE}
    return [action for action in actions if not (action.kind in adding and action.key in missed)]


# --- actions that need the bytes -------------------------------------------------------------------------------------
def _upload_all(actions: Sequence[Action], plan: Plan, backend: Backend, workshop: Workshop) -> Iterator[Outcome]:
    with closing(_prepared(actions, workshop)) as ready:
        for action, artifact in ready:
            if action.kind in _UPLOADS:
                yield _attempt(action, partial(_upload, action, artifact, plan, (backend, workshop)))
            else:
                yield _carry_out(action, backend, plan)


def _upload(action: Action, ready: _Ready, plan: Plan, tools: tuple[Backend, Workshop]) -> Outcome:
    with ready() as artifact:
        return _transfer(action, artifact, plan, tools)


def _transfer(action: Action, artifact: Artifact, plan: Plan, tools: tuple[Backend, Workshop]) -> Outcome:
    backend, workshop = tools
    file = _file(action, artifact)
    spec = replace(complete(_wanted(action), file, plan.at), linkable=artifact.linkable)
    sent: list[int] = []  # nothing, when the target has these bytes already
    with workshop.display.task(Step.UPLOAD, action.title, artifact.size) as progress:
        stored = backend.upload(spec, artifact.path, both(sent.append, interruptible(progress, workshop.stop)))
    if stored.digest != artifact.digest:
        if stored.state in {State.PARTIAL, State.STAGED}:  # what is or was published is never ours to drop here
            backend.delete(stored.ref)
        raise StoredDigestError(action.title, "the target stored other bytes than were sent", "the upload is repeated")
    backend.publish(stored.ref)
    for old in action.superseded:
        if old.ref != stored.ref:
            backend.retire(old.ref, Retirement(plan.at, str(Cause.SUPERSEDED), superseded=True))
    log.info("published", bytes=sum(sent))
    outcome = Outcome(action, Ending.DONE, downloaded=artifact.downloaded, uploaded=sum(sent), file=file)
    return replace(outcome, boot=artifact.boot)


def _file(action: Action, artifact: Artifact) -> File:
    form = fingerprint(_wanted(action).image.sha512, artifact.format, artifact.tag)
    return File(form, artifact.digest, artifact.size, artifact.virtual_size, artifact.format, artifact.source_format)


def _wanted(action: Action) -> Wanted:
    if action.wanted is None:
        raise BackendBrokenError(action.title, f"the plan wants to {action.kind} it without saying what is wanted")
    return action.wanted


_Ready = Callable[[], AbstractContextManager[Artifact]]


def _prepared(actions: Sequence[Action], workshop: Workshop) -> Generator[tuple[Action, _Ready]]:
    """Yield each action, or that it waits, with what gives its artifact, while the next ones are being prepared."""
    if not workshop.ahead:
        yield from ((action, partial(_prepare, action, workshop)) for action in map(workshop.begun, actions))
        return
    waiting = deque(actions)
    running: deque[tuple[Action, Future[_Held]]] = deque()
    with ThreadPoolExecutor(workshop.ahead, thread_name_prefix="prepare") as pool, ExitStack() as cleanup:
        cleanup.callback(_abandon, running, workshop.stop)
        while waiting or running:
            while waiting and len(running) < workshop.ahead:
                action = workshop.begun(waiting.popleft())
                if action.kind in _UPLOADS:
                    running.append((action, pool.submit(copy_context().run, _open, action, workshop)))
                else:
                    yield action, partial(_prepare, action, workshop)
            if running:
                action, future = running.popleft()
                yield action, partial(_taken, action, future, workshop)


_Held = tuple[ExitStack, Artifact]


def _open(action: Action, workshop: Workshop) -> _Held:
    with _about(action), ExitStack() as stack:
        artifact = stack.enter_context(_prepare(action, workshop))
        return stack.pop_all(), artifact


@contextmanager
def _taken(action: Action, future: Future[_Held], workshop: Workshop) -> Iterator[Artifact]:
    """Yield what was prepared ahead. What found no room then may find it now: those before have let go of theirs."""
    try:
        stack, artifact = future.result()
    except NoSpaceError as error:
        log.info("prepared once more at its turn", reason=str(error))
        stack, artifact = _open(action, workshop)
    with stack:
        yield artifact


@contextmanager
def _prepare(action: Action, workshop: Workshop) -> Iterator[Artifact]:
    wanted = _wanted(action)
    show = partial(lazily, workshop.display, title=action.title, total=wanted.image.size)
    with ExitStack() as stack:
        with show(step=Step.DOWNLOAD) as downloading, show(step=Step.CONVERT) as converting:
            steps = (interruptible(progress, workshop.stop) for progress in (downloading, converting))
            artifact = stack.enter_context(workshop.prepare(wanted, *steps))
        yield artifact


def _abandon(running: Iterable[tuple[Action, Future[_Held]]], stop: Event) -> None:
    """Stop what was prepared ahead but will not be used, and let go of what it holds."""
    for _, future in running:
        stop.set()
        if not future.cancel() and future.exception() is None:
            future.result()[0].close()


# --- actions that only change records --------------------------------------------------------------------------------
def _carry_out(action: Action, backend: Backend, plan: Plan) -> Outcome:
    if not action.changes:
        return _change(action, backend, plan)
    return _attempt(action, partial(_change, action, backend, plan))


def _change(action: Action, backend: Backend, plan: Plan) -> Outcome:
    match action:
        case Action(kind=Kind.SKIP):
            return Outcome(action, Ending.SKIPPED)
        case Action(kind=Kind.HOLD):
            return Outcome(action, Ending.HELD)
        case Action(kind=Kind.DELETE, image=image) if image is not None:
            return _delete(action, image, backend)
        case Action(kind=Kind.RETIRE, image=image) if image is not None:
            superseded = action.cause in BESIDE_ANOTHER
            cause = Cause.SUPERSEDED if superseded else action.cause
            backend.retire(image.ref, Retirement(plan.at, str(cause), superseded=superseded))
        case Action(kind=Kind.UPDATE, image=image, metadata=metadata) if image is not None and metadata is not None:
            backend.update(image.ref, metadata)
        case Action(kind=Kind.RESTORE, image=image, metadata=metadata) if image is not None and metadata is not None:
            _restore(action, image, metadata, backend, plan)
    if action.changes:
        log.info("done", cause=str(action.cause))
    return Outcome(action, Ending.DONE)


def _delete(action: Action, image: OwnedImage, backend: Backend) -> Outcome:
    """Delete a record. One that is in use is no failure: it stays until it is not (design, rule 4)."""
    try:
        backend.delete(image.ref)
    except BackendConflictError as conflict:
        log.info("not deleted yet", reason=str(conflict))
        return Outcome(action, Ending.HELD, conflict)
    log.info("done", cause=str(action.cause))
    return Outcome(action, Ending.DONE)


def _restore(action: Action, image: OwnedImage, metadata: Metadata, backend: Backend, plan: Plan) -> None:
    backend.update(image.ref, metadata)
    backend.publish(image.ref)
    for old in action.superseded:
        backend.retire(old.ref, Retirement(plan.at, str(Cause.SUPERSEDED), superseded=True))


def _about(action: Action) -> AbstractContextManager[None]:
    """Bind what every line about this image says."""
    properties = action.image.metadata.properties if action.image else {}
    name = action.wanted.subscription if action.wanted else properties.get("imagesync_subscription", "")
    return structlog.contextvars.bound_contextvars(
        list=name, image=str(action.key), title=action.title, step=action.kind
    )


# --- the boundary of one image ---------------------------------------------------------------------------------------
def _attempt(action: Action, work: Callable[[], Outcome]) -> Outcome:
    """Return what became of ``work``: whatever it raises is an outcome of this image and stops no other."""
    started = time.monotonic()
    with _about(action):
        if action.cause is Cause.TAMPERED:
            log.error("somebody put other bytes in the place of an image", reason=action.reason)
        try:
            outcome = work()
        except ImagesyncError as error:
            log.error("image failed", cause=error.reason, reason=str(error))
            outcome = Outcome(action, Ending.FAILED, error, boot=_failed_check(error))
        except Exception as error:
            log.exception("image failed unexpectedly")
            detail = f"unexpected {type(error).__name__}: {error}"
            outcome = Outcome(action, Ending.FAILED, BackendBrokenError(action.title, detail, "report it with the log"))
    return replace(outcome, seconds=round(time.monotonic() - started, 3))


def _failed_check(error: ImagesyncError) -> BootCheck | None:
    return BootCheck(error.verdict, error.why, error.seconds) if isinstance(error, BootCheckError) else None
