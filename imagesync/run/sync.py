"""One pass: observe everything, decide everything, then change things. One boundary per target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from threading import Event

import structlog

from imagesync.backend import Backend, Context, ImageKey, Notice, OwnedImage, Progress
from imagesync.errors import BackendBrokenError, BackendRefusedError, ImagesyncError, TrustStoreUnusableError
from imagesync.images.artifact import Artifact
from imagesync.lists.anchors import Anchors
from imagesync.model import Accepted, ImageId, ListId, TrustedList
from imagesync.plan.diff import make_plan
from imagesync.plan.spec import Wanted
from imagesync.plan.values import ListView, Plan, TargetView
from imagesync.run.apply import Outcome, Workshop, apply
from imagesync.run.attempts import alarms, learn, unready
from imagesync.run.changes import Where, changes
from imagesync.run.denial import Denial, Facts, Remembered, remembered_list, revoked
from imagesync.run.hours import Hours
from imagesync.run.notice import Level
from imagesync.run.observe import Clock, FindFetch, Memory, Seen, accepted_from, judge_clock, observe
from imagesync.run.pausing import is_excused, note_targets, told, with_pauses
from imagesync.run.progress import Display, Silent
from imagesync.run.prune import lists_of, prune_plan
from imagesync.run.record import described, is_offered, memory, postponed
from imagesync.run.settings import Scope, Subscription, Target
from imagesync.run.settle import refused, settle
from imagesync.run.views import chosen, in_scope, of_abandoned, views, without_project
from imagesync.state import AttemptRecord, ImageRecord, PauseRecord
from imagesync.state.repository import Repository

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything outside that a pass touches. ``anchors`` may be why there are none: then no list is known.

    ``recalled`` is what is denied by now; ``expect`` hears of the images that ``prepare`` will be asked for.
    """

    fetch: FindFetch
    anchors: Anchors | TrustStoreUnusableError
    open_target: Callable[[Target, Context], AbstractContextManager[Backend]]
    prepare: Callable[[Wanted, Target, Progress, Progress], AbstractContextManager[Artifact]]
    state: Repository
    display: Display = field(default_factory=Silent)
    stop: Event = field(default_factory=Event)
    recalled: Callable[[], Sequence[Denial]] = tuple
    expect: Callable[[Target, Sequence[Wanted]], None] = lambda *_: None


@dataclass(frozen=True, slots=True)
class Task:
    """What one pass is to do. ``now`` is the only time it knows; ``dry`` plans and changes nothing.

    ``ahead`` images are prepared in parallel, at times for heavy work, which are the ``hours``; ``honour_back_off``
    leaves alone what failed a short time ago. ``check`` asks the targets for what would keep changes from being made.
    """

    instance: str
    now: datetime
    subscriptions: Sequence[Subscription]
    targets: Sequence[Target]
    denials: Sequence[Denial] = ()
    scope: Scope = field(default_factory=Scope)
    dry: bool = False
    ahead: int = 2
    hours: Hours = field(default_factory=Hours)
    honour_back_off: bool = False
    check: bool = False

    @property
    def names(self) -> frozenset[str]:
        """Return the names of all subscriptions that are configured."""
        return frozenset(item.name for item in self.subscriptions)


@dataclass(frozen=True, slots=True)
class TargetResult:
    """What became of one target. ``plan`` is ``None`` when it could not even be looked at.

    ``notices`` is what the operator should know although nothing failed. ``pause`` is why nothing was changed there.
    """

    name: str
    plan: Plan | None = None
    outcomes: tuple[Outcome, ...] = ()
    error: ImagesyncError | None = None
    notices: tuple[str, ...] = ()
    pause: PauseRecord | None = None


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass saw and did."""

    task: Task
    seen: tuple[Seen, ...]
    targets: tuple[TargetResult, ...]
    clock: Clock = Clock.TRUSTED
    state_lost: bool = False


@dataclass(frozen=True, slots=True)
class _Pass:
    """What is the same for every target of one pass."""

    task: Task
    ports: Ports
    seen: tuple[Seen, ...]
    trust_clock: bool


def run_pass(task: Task, ports: Ports) -> PassResult:
    """Make every target equal to what the trusted lists say, as far as this pass knows.

    Raises:
        StateError: the state cannot be read or written.
    """
    task = with_pauses(task, ports.state)
    state, now = ports.state, task.now
    ends = state.last_end(Clock.TRUSTED, at=now), state.last_end(Clock.TRUSTED, Clock.UNCHECKED, at=now)
    seen = settle(_observe_all(task, ports), task.names, partial(_records_everywhere, task, ports))
    clock = judge_clock([item.server_date for item in seen if item.server_date], *ends, task.now)
    for item in seen:
        _tell(item)
    if clock is Clock.CLOCK:
        log.error("clock is not trusted, nothing expires in this pass", now=task.now.isoformat())
    run = _Pass(task, ports, seen, trust_clock=clock is not Clock.CLOCK)
    results = tuple(_at(target, task, ports, partial(_converge, run, target)) for target in _chosen_targets(task))
    seen = tuple(_refused_by_plans(item, results) for item in seen)
    if not task.dry and not task.scope.recalls_only:
        note_targets(results, task, ports.state)
        _remember(seen, task, ports.state)
    return PassResult(task, seen, results, clock, ports.state.fresh)


def _tell(item: Seen) -> None:
    for notice in item.notices:
        say = log.error if notice.level is Level.CRITICAL else log.warning
        say("list needs attention", list=item.subscription.name, matter=str(notice.matter), reason=notice.text)


def prune_all(task: Task, ports: Ports, *, unsubscribed: bool) -> tuple[TargetResult, ...]:
    """Delete what is due on every target, and with ``unsubscribed`` retire what no active subscription names.

    With ``unsubscribed`` the state also forgets the images in projects where nothing of ours can be seen.
    """
    task = with_pauses(task, ports.state)
    names = {item.name for item in task.subscriptions if item.enabled}
    paused = {item.name for item in task.subscriptions if item.pause}
    paused |= {identifier for identifier, name in ports.state.pins().items() if name in paused}
    identifiers = {identifier for identifier, name in ports.state.pins().items() if name in names}
    subscribed = names | identifiers if unsubscribed else None

    def prune(target: Target, backend: Backend) -> TargetResult:
        taken = None if subscribed is None else subscribed - {name for name in names if not target.takes(name)}
        owned = tuple(image for image in backend.owned() if not target.pause and not lists_of(image) & paused)
        plan = prune_plan(target.name, owned, task.now, target.delete_after, taken)
        if unsubscribed:
            owners = {image.key.owner for image in owned}
            keys = (record.key for record in ports.state.images(target.name))
            ports.state.forget(target.name, {key for key in keys if key.owner not in owners})
        return TargetResult(target.name, plan, tuple(apply(plan, backend, _workshop(target, task, ports), owned, {})))

    return tuple(_at(target, task, ports, partial(prune, target)) for target in _chosen_targets(task))


def _chosen_targets(task: Task) -> list[Target]:
    return [target for target in task.targets if not task.scope.targets or target.name in task.scope.targets]


# --- observe ---------------------------------------------------------------------------------------------------------
def _observe_all(task: Task, ports: Ports) -> tuple[Seen, ...]:
    pins = ports.state.pins()
    chosen = [item for item in task.subscriptions if not task.scope.lists or item.name in task.scope.lists]
    known = {identifier: name for identifier, name in pins.items() if name in task.names}
    accepted = {one.subscription: one for one in ports.state.all_accepted()}
    memories = [_memory(item, ports.state, accepted.get(item.name), known) for item in chosen]

    def look(pair: tuple[Subscription, Memory]) -> Seen:
        subscription, memory = pair
        if not subscription.is_followed:
            return Seen(subscription, None, memory.accepted)
        return observe(subscription, ports.fetch, ports.anchors, memory, task.now)

    if not task.ahead:
        return tuple(map(look, zip(chosen, memories, strict=True)))
    with ThreadPoolExecutor(4, thread_name_prefix="observe") as pool:
        pairs = zip(chosen, memories, strict=True)
        futures = [pool.submit(copy_context().run, partial(look, pair)) for pair in pairs]
        return tuple(future.result() for future in futures)


def _memory(
    subscription: Subscription, state: Repository, accepted: Accepted | None, pins: Mapping[ListId, str]
) -> Memory:
    elsewhere = {identifier: name for identifier, name in pins.items() if name != subscription.name}
    if accepted is None:
        return Memory(None, None, elsewhere, floor_lifted=state.is_floor_lifted(subscription.name))
    return Memory(accepted, state.stored(subscription.name), elsewhere, earlier=state.earlier(subscription.name))


def _records_everywhere(task: Task, ports: Ports, vos: Mapping[ListId, str]) -> list[OwnedImage]:
    """Return the records on every target that answers; what the others say is heard when they are planned for."""
    return [image for target in task.targets for image in _look(target, task, ports, vos)]


def _look(target: Target, task: Task, ports: Ports, vos: Mapping[ListId, str]) -> tuple[OwnedImage, ...]:
    """Return the records on a target; where others may edit them, those of ``vos`` in their own projects."""
    try:
        with ports.open_target(target, Context(target.name, task.instance)) as backend:
            owned = tuple(backend.owned())
            if not backend.capabilities().editable:
                return owned
            owners = {identifier: _owners(backend, vo) for identifier, vo in vos.items()}
            return tuple(image for image in owned if image.key.owner in owners.get(image.key.list, ()))
    except ImagesyncError as error:
        log.warning("target could not be asked for versions", target=target.name, reason=str(error))
        return ()


def _owners(backend: Backend, vo: str) -> Sequence[str]:
    try:
        return backend.owners(vo)
    except BackendRefusedError:
        return ()


# --- one target ------------------------------------------------------------------------------------------------------
def _at(target: Target, task: Task, ports: Ports, work: Callable[[Backend], TargetResult]) -> TargetResult:
    """Do ``work`` with an opened target, under its lock unless the pass is dry.

    Whatever goes wrong is this target's result and stops no other. What was done stays in it if only leaving fails.
    """
    done = TargetResult(target.name)
    heard = {told(target.pause): None} if target.pause else dict[str, None]()
    with structlog.contextvars.bound_contextvars(target=target.name):
        try:
            lock = nullcontext() if task.dry else ports.state.lock(target.name, task.now)
            with lock, ports.open_target(target, _context(target, task, ports, partial(_hear, heard))) as backend:
                done = work(backend)
        except ImagesyncError as error:
            if is_excused(error, target, task):
                _hear(heard, f"could not be looked at: {error}")
            else:
                log.error("target failed", cause=error.reason, reason=str(error))
                done = replace(done, error=error)
        except Exception as error:
            log.exception("target failed unexpectedly")
            detail = f"unexpected {type(error).__name__}: {error}"
            done = replace(done, error=BackendBrokenError(target.name, detail, "report it with the log"))
    return replace(done, notices=(*done.notices, *heard), pause=target.pause)


def _context(target: Target, task: Task, ports: Ports, notice: Notice) -> Context:
    return Context(target.name, task.instance, notice, ports.state.owners(target.name), check=task.check)


def _hear(heard: dict[str, None], text: str) -> None:
    """Keep a notice for the report; the log has it at once."""
    if text not in heard:
        log.warning("notice", text=text)
        heard[text] = None


def _converge(run: _Pass, target: Target, backend: Backend) -> TargetResult:
    # Under the target's lock: else this would take back what was recalled and retired since the pass began.
    task = replace(run.task, denials=(*run.task.denials, *run.ports.recalled()))
    run, state = replace(run, task=task), run.ports.state
    target = replace(target, max_size=backend.capabilities().max_size)
    everything = backend.owned()
    owned = in_scope(everything, run.seen, task.scope)
    lists = views(run.seen, target, backend, task.denials, (task.instance, task.now))
    before = state.images(target.name)
    view = replace(_target_view(run, target, owned, lists, before), editable=backend.capabilities().editable)
    plan = make_plan(lists, view, task.now)
    plan = replace(plan, actions=tuple(action for action in plan.actions if chosen(action, task.scope)))
    notices = tuple(of_abandoned(everything, lists, before))
    if task.dry:
        return TargetResult(target.name, plan, notices=notices)
    names = {identifier: item.subscription.name for item in run.seen if (identifier := item.identifier)}
    rules = {identifier: target.guard(name) for identifier, name in names.items()}
    outcomes = apply(plan, backend, _workshop(target, task, run.ports), view.countable, rules)
    state.attempted(*learn(outcomes, _attempts(state), task.now))
    lasting = alarms(_attempts(state), [item for view in lists for item in view.wanted], task.now)
    for text in lasting:
        log.error("image cannot be got", reason=text)
    known = memory(outcomes, before, task.now)
    news = changes(outcomes, known.records, before, Where(target.name, task.now, names))
    state.record(target.name, known.records, news)
    state.forget(target.name, known.gone)
    state.describe(target.name, described(outcomes, state.described(target.name), task.now))
    state.remember(*known.artifacts)
    return TargetResult(target.name, plan, tuple(outcomes), without_project(lists, run.seen), (*notices, *lasting))


def _attempts(state: Repository) -> dict[tuple[ListId, ImageId], AttemptRecord]:
    return {(record.list, record.image): record for record in state.attempts()}


def _workshop(target: Target, task: Task, ports: Ports) -> Workshop:
    def prepare(wanted: Wanted, *steps: Progress) -> AbstractContextManager[Artifact]:
        return ports.prepare(wanted, target, *steps)

    return Workshop(prepare, ports.display, task.ahead, ports.stop, task.hours, partial(ports.expect, target))


def _target_view(
    run: _Pass,
    target: Target,
    owned: tuple[OwnedImage, ...],
    lists: Sequence[ListView],
    before: Sequence[ImageRecord],
) -> TargetView:
    made = run.ports.state.artifacts({image.fingerprint for image in owned})
    wanted = {item.key: item for view in lists for item in view.wanted}
    patient, now = run.task.honour_back_off, run.task.now
    put_off = postponed(before, wanted, now) | unready(_attempts(run.ports.state), wanted.values(), now)
    return TargetView(
        target.name,
        owned,
        recorded={fingerprint: record.digest for fingerprint, record in made.items()},
        revoked=_revoked(run, owned, before, wanted),
        postponed=put_off if patient else {},
        waiting=run.task.hours.objection(),
        delete_after=target.delete_after,
        trust_clock=run.trust_clock,
        subscriptions=run.task.names,
        expected=frozenset(record.key for record in before if is_offered(record)),
        remembered=frozenset(record.key for record in before),
        former=frozenset(image.key.owner for image in owned).difference(*(view.owners for view in lists)),
        paused=told(target.pause) if target.pause else "",
    )


def _revoked(
    run: _Pass, owned: Sequence[OwnedImage], before: Sequence[ImageRecord], wanted: Mapping[ImageKey, Wanted]
) -> dict[str, str]:
    """Return which records are denied locally, and why. The state is asked only where there are denials."""
    if not run.task.denials:
        return {}
    state, listed = run.ports.state, dict[tuple[ListId, ImageId], Facts]()
    for item in run.seen:
        if not isinstance(item.observation, TrustedList) and item.accepted is not None:
            stored = state.stored(item.subscription.name)
            listed |= remembered_list(item.accepted, stored.blob) if stored else {}
    digests = {record.key: record.digest for record in before}
    sources = state.sources({image.digest for image in owned if image.digest})
    return revoked(owned, run.task.denials, Remembered(digests, sources, listed), wanted)


# --- after the targets -----------------------------------------------------------------------------------------------
def _refused_by_plans(item: Seen, results: Sequence[TargetResult]) -> Seen:
    """Return what was seen of a list, refused when a target's records spoke against it."""
    plans = [result.plan for result in results if result.plan is not None]
    reasons = [reason for plan in plans for identifier, reason in plan.refused.items() if identifier == item.identifier]
    return refused(item, next(iter(reasons), ""))


def _remember(seen: Sequence[Seen], task: Task, state: Repository) -> None:
    """Accept what was trusted. Last of all: until then the versions on the records are the floor."""
    for item in seen:
        if isinstance(item.observation, TrustedList) and item.remember is not None:
            state.accept(accepted_from(item.observation, task.now), item.remember)
