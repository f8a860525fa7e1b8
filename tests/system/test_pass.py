"""What one pass does, through fakes at its ports; each test is a rule or a failure of the peers."""

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from imagesync.backend import DEACTIVATED, Format, Retirement, State
from imagesync.errors import (
    BackendRefusedError,
    BackendUnavailableError,
    DigestMismatchError,
    HttpStatusError,
    NoSpaceError,
    UnreachableError,
)
from imagesync.lists.source import Fetched, NotModified
from imagesync.model import TrustedList
from imagesync.run.denial import Denial
from imagesync.run.hours import Hours
from imagesync.run.record import memory
from imagesync.run.report import as_json, exit_code, has_failed_beside_images
from imagesync.run.settings import Scope, Target
from imagesync.run.sync import prune_all
from imagesync.state import open_state


def actions(result):
    return [(str(o.action.kind), str(o.action.cause), o.outcome) for t in result.targets for o in t.outcomes]


# --- unknown is not empty ---
@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_error_of_the_list_server_loses_nothing(site, status):
    site.offer(a="one", b="two").publish().sync()

    result = site.down(status).sync()

    assert set(site.published()) == {"a", "b"}
    assert exit_code(result) == 5
    assert {outcome for _, _, outcome in actions(result)} == {"held"}


def test_forged_list_changes_nothing_and_is_an_alarm(site):
    site.offer(a="one").publish().sync()

    result = site.offer(b="evil").publish(signer=site.trust.stranger).sync()

    assert set(site.published()) == {"a"}
    assert exit_code(result) == 3
    assert "wrong-endorser" in result.seen[0].observation.reason


def test_older_list_is_refused_after_the_state_was_lost(site):
    site.offer(a="one", b="two").publish()
    old = site.blob
    site.offer(c="three").publish().sync()
    (site.root / "state.db").unlink()
    site.blob = old

    for _ in range(2):
        result = site.sync()
        assert set(site.published()) == {"a", "b", "c"}
        assert exit_code(result) == 3
        assert "rollback" in as_json(result, "r")["lists"][0]["reason"]


def test_same_version_with_other_content_is_refused(site):
    site.offer(a="one").publish().sync()
    site.version -= 1

    assert exit_code(site.offer(a="evil").publish().sync()) == 3


def test_list_of_another_vo_is_refused(site):
    assert exit_code(site.offer(a="one").publish(**{"ad:vo": "other.example"}).sync()) == 3


def test_unexpected_error_while_looking_at_a_list_is_only_that_lists(site):
    site.failure = RuntimeError("a defect")

    result = site.publish().sync()

    assert result.seen[0].observation.verdict == "unavailable"
    assert "RuntimeError" in result.seen[0].observation.reason


# --- publish before retire ---
def test_failed_download_keeps_the_old_version(site):
    site.offer(a="old").publish().sync()
    site.broken = {"a": DigestMismatchError("a", "other bytes")}

    result = site.offer(a="new", b="two").publish().sync()

    assert set(site.published()) == {"a", "b"}
    assert exit_code(result) == 1
    assert [kind for kind, _, outcome in actions(result) if outcome == "failed"] == ["replace"]


@pytest.mark.parametrize("method", ["upload", "publish"])
def test_failed_replacement_keeps_the_old_version_and_is_finished_later(site, method):
    site.offer(a="old").publish().sync()
    old = site.published()
    site.cloud.faults = {method: [BackendUnavailableError("fake", "reset")]}

    site.offer(a="new").publish().sync()

    assert site.published() == old
    site.sync()
    assert site.published() == site.endorsed()
    assert site.states() == [("a", "published"), ("a", "retired")]


def test_target_that_stores_other_bytes_keeps_the_old_version(site, monkeypatch):
    site.offer(a="old").publish().sync()
    backend = type(site.cloud.open_backend({}, site.context()).__enter__())
    upload = backend.upload
    monkeypatch.setattr(backend, "upload", lambda *args: replace(upload(*args), digest="f" * 128))

    result = site.offer(a="new").publish().sync()

    assert set(site.published()) == {"a"}
    assert result.targets[0].outcomes[0].error.reason == "stored-digest"


def test_a_backend_that_answers_with_the_published_record_does_not_lose_it(site, monkeypatch):
    site.offer(a="old").publish().sync()
    backend = type(site.cloud.open_backend({}, site.context()).__enter__())
    monkeypatch.setattr(backend, "upload", lambda self, *_: self.owned()[0])

    result = site.offer(a="new").publish().sync()

    assert set(site.published()) == {"a"}
    assert result.targets[0].outcomes[0].error.reason == "stored-digest"


# --- guard ---
def test_removals_that_relied_on_an_addition_that_failed_are_held(site):
    site.offer(a="one").publish().sync()
    del site.images["a"]
    site.broken = {"b": DigestMismatchError("b", "other bytes")}

    result = site.offer(b="two").publish().sync()

    assert set(site.published()) == {"a"}
    assert exit_code(result) == 4
    assert ("hold", "guard", "held") in actions(result)


def test_additions_of_a_list_whose_removals_are_held_are_done(site):
    site.guard = {"min_images": 4}
    site.offer(a="1", b="2", c="3", d="4").publish().sync()
    site.images.clear()

    result = site.offer(e="5").publish().sync()

    assert set(site.published()) == set("abcde")
    assert exit_code(result) == 4


def test_allowed_removals_pass(site):
    site.guard = {"min_images": 4}
    site.offer(a="1", b="2", c="3", d="4").publish().sync()
    site.images.clear()
    site.guard = {"min_images": 4, "allowed": 4}

    assert exit_code(site.publish().sync()) == 0
    assert site.published() == {}


# --- expiry ---
def test_image_retires_at_its_own_date_while_the_server_is_down(site):
    site.offer(a=("one", site.now + timedelta(days=1)), b="two").publish().sync()
    site.now += timedelta(days=2)

    site.down().sync()

    assert set(site.published()) == {"b"}


def test_images_retire_after_the_grace_when_their_list_expired(site):
    site.lifetime = timedelta(days=1)
    site.offer(a="one").publish().sync()
    site.now += timedelta(days=3)

    result = site.sync()
    assert exit_code(result) == 3
    assert set(site.published()) == {"a"}
    assert "retirement is due" in result.targets[0].outcomes[0].action.reason

    site.now += timedelta(days=1, seconds=1)
    site.sync()
    assert site.published() == {}


def test_dates_on_the_records_count_when_the_state_was_lost(site):
    site.offer(a=("one", site.now + timedelta(days=1))).publish().sync()
    (site.root / "state.db").unlink()
    site.now += timedelta(days=2)

    result = site.down().sync()

    assert site.published() == {}
    assert as_json(result, "r")["state"] == "lost"


def test_nothing_expires_when_the_servers_have_another_time(site):
    site.offer(a=("one", site.now + timedelta(days=1)), b="two").publish().sync()
    site.now += timedelta(days=2)
    fetch = site.fetch
    site.fetch = lambda request: replace(fetch(request), server_date=site.now - timedelta(days=2))

    result = site.sync()

    assert set(site.published()) == {"a", "b"}
    assert as_json(result, "r")["clock"] == "clock"
    assert exit_code(result) == 1


def test_nothing_expires_when_the_clock_lies_before_the_last_pass(site):
    site.offer(a=("one", site.now + timedelta(days=1))).publish()
    with open_state(f"sqlite:///{site.root}/state.db") as state:
        state.begin_run("r1", "sync", site.now + timedelta(days=9))
        state.finish_run("r1", site.now + timedelta(days=9), 0, {"targets": [], "clock": "trusted"})

    assert site.sync().clock == "clock"


# --- only ours ---
def test_images_of_a_switched_off_subscription_are_held_until_their_dates(site):
    site.offer(a="one", b=("two", site.now + timedelta(days=1))).publish().sync()
    site.now += timedelta(days=2)

    site.sync(subscriptions=(site.subscription(enabled=False),))

    assert set(site.published()) == {"a"}


def test_images_of_a_removed_subscription_are_held_and_pruned_on_request(site):
    site.offer(a="one").publish().sync()

    result = site.sync(subscriptions=())
    assert actions(result) == [("hold", "unsubscribed", "held")]

    with open_state(f"sqlite:///{site.root}/state.db") as state:
        prune_all(replace(result.task, ahead=0), site.ports(state), unsubscribed=False)
        assert set(site.published()) == {"a"}
        prune_all(replace(result.task, ahead=0), site.ports(state), unsubscribed=True)
    assert site.published() == {}


def test_pruning_keeps_what_is_subscribed(site):
    result = site.offer(a="one").publish().sync()

    with open_state(f"sqlite:///{site.root}/state.db") as state:
        prune_all(result.task, site.ports(state), unsubscribed=True)

    assert set(site.published()) == {"a"}


def test_pruning_deletes_what_is_due_whatever_is_known_of_its_list(site):
    site.guard = {"share": 1}
    site.offer(a="one", b="two").publish().sync()
    del site.images["b"]
    site.publish().sync()
    site.now += timedelta(days=31)
    result = site.down().sync()
    assert ("b", "retired") in site.states()

    with open_state(f"sqlite:///{site.root}/state.db") as state:
        prune_all(result.task, site.ports(state), unsubscribed=False)

    assert site.states() == [("a", "published")]


def test_converted_image_that_nobody_remembers_is_made_again_and_compared(site):
    """Where others may edit records: the bytes are right, so nothing is uploaded, and the next pass knows them."""
    site.converts = site.cloud.editable = True
    site.offer(a="one").publish().sync()
    before = dict(site.cloud.records)
    site.lose_state()

    result = site.sync()

    actions = [(o.action.kind, o.action.cause, o.outcome, o.uploaded) for o in result.targets[0].outcomes]
    assert actions == [("replace", "unverified", "done", 0)]
    assert site.cloud.records == before
    assert [a.kind for a in site.sync().targets[0].plan.actions] == ["keep"]


def test_forged_record_of_a_converted_image_is_replaced_after_the_state_was_lost(site):
    site.converts = site.cloud.editable = True
    site.offer(a="one").publish().sync()
    [ref] = site.cloud.records
    site.cloud.tamper(ref, b"forged")
    site.lose_state()

    site.sync()

    assert [image.ref == ref for image in site.cloud.published()] == [False]
    assert site.states() == [("a", "published"), ("a", "retired")]


def test_image_in_use_is_deleted_on_a_later_pass(site):
    site.guard = {"share": 1}
    site.offer(a="one", b="two").publish().sync()
    del site.images["b"]
    site.publish().sync()
    site.now += timedelta(days=31)
    site.cloud.in_use = set(site.cloud.records)

    result = site.sync()
    [held] = [outcome for outcome in result.targets[0].outcomes if outcome.outcome == "held"]
    assert (exit_code(result), str(held.error)) == (0, f"{held.action.image.ref}: is in use (it is tried again later)")
    assert [(state, "is in use" in reason) for state, reason in site.remembered("b")] == [("retired", True)]
    site.now += timedelta(minutes=1)
    assert {a.kind for a in site.sync(honour_back_off=True).targets[0].plan.actions} == {"keep"}
    site.cloud.in_use = set()
    assert exit_code(site.sync()) == 0
    assert site.states() == [("a", "published")]
    assert site.remembered("b") == []


def test_a_retired_record_that_is_put_right_is_remembered_as_retired(site):
    site.guard = {"share": 1}
    site.offer(a="one", b="two").publish().sync()
    del site.images["b"]
    site.publish().sync()
    [(ref, record)] = [(ref, one) for ref, one in site.cloud.records.items() if one.image.key.image == "b"]
    site.cloud.records[ref] = replace(record, image=replace(record.image, drift=("members",)))

    result = site.sync()

    assert ("update", "metadata", "done") in actions(result)
    assert [state for state, _ in site.remembered("b")] == ["retired"]
    assert site.states() == [("a", "published"), ("b", "retired")]


# --- what others did on the target ---
def test_image_that_somebody_removed_is_registered_again_and_said_so(site):
    site.offer(a="one", b="two").publish().sync()
    site.cloud.records = {ref: record for ref, record in site.cloud.records.items() if record.image.key.image != "a"}

    actions = {a.key.image: a for a in site.sync().targets[0].plan.actions}

    assert (actions["a"].kind, actions["a"].cause) == ("register", "gone")
    assert "somebody else removed it" in actions["a"].reason
    assert site.published() == site.endorsed()


def test_image_that_somebody_deactivated_is_published_again_and_said_so(site):
    site.offer(a="one").publish().sync()
    [(ref, record)] = site.cloud.records.items()
    by_hand = replace(record.image, state=State.RETIRED, retirement=Retirement(site.now, DEACTIVATED))
    site.cloud.records[ref] = replace(record, image=by_hand)

    [action] = site.sync().targets[0].plan.actions

    assert (action.kind, action.cause) == ("restore", "deactivated")
    assert list(site.cloud.records) == [ref]
    assert site.published() == site.endorsed()


# --- local word ---
def test_denied_image_is_retired_and_stays_so_while_its_list_is_down(site):
    site.offer(a="one", b="two").publish().sync()
    denials = (Denial((("identifier", "a"),), "CVE-2026-1"),)

    site.down().sync(denials=denials)
    assert set(site.published()) == {"b"}

    site.failure = None
    result = site.sync(denials=denials)
    assert set(site.published()) == {"b"}
    assert exit_code(result) == 0


def test_denied_image_is_never_registered(site):
    denials = (Denial((("mpuri", "*image/a:*"),), ""),)

    site.offer(a="one", b="two").publish().sync(denials=denials)

    assert set(site.published()) == {"b"}
    assert "a" not in site.prepared


# --- scope ---
def test_image_selector_touches_nothing_else(site):
    site.offer(a="one", b="two").publish().sync(scope=Scope(images=("image B",)))

    assert set(site.published()) == {"b"}


def test_list_selector_leaves_other_lists_alone(site):
    site.offer(a="one").publish().sync()

    result = site.sync(
        subscriptions=(site.subscription(), site.subscription(name="other", url="https://lists.example/other")),
        scope=Scope(lists=frozenset({"other"})),
    )

    assert exit_code(result) == 3
    assert set(site.published()) == {"a"}
    assert actions(result) == []


# --- boundaries ---
def test_broken_target_stops_no_other(site):
    site.offer(a="one").publish()
    targets = [Target(name, "fake", (Format.QCOW2,)) for name in ("broken", "site")]
    opened = site.open_target

    def open_target(target):
        if target.name == "broken":
            raise BackendUnavailableError("broken", "connection refused")
        return opened(target)

    site.open_target = open_target
    result = site.sync(targets=targets)

    assert set(site.published()) == {"a"}
    assert [target.error is None for target in result.targets] == [False, True]
    assert exit_code(result) == 1


def test_target_that_cannot_be_left_has_failed_but_its_changes_are_reported(site):
    @contextmanager
    def open_target(target):
        with site.cloud.open_backend({}, site.context()) as backend:
            yield backend
        raise BackendUnavailableError("site", "updates cannot be written")

    site.offer(a="one").publish().open_target = open_target
    result = site.sync()

    assert actions(result) == [("register", "new", "done")]
    assert [str(target.error) for target in result.targets] == ["site: updates cannot be written"]
    assert exit_code(result) == 1


def test_pass_that_reaches_no_target_has_done_nothing(site):
    site.cloud.is_down = True

    assert exit_code(site.offer(a="one").publish().sync()) == 5


def test_vo_without_project_is_an_error_of_its_list_and_removes_nothing(site):
    site.offer(a="one").publish().sync()
    site.cloud.projects = {}

    result = site.sync()

    assert set(site.published()) == {"a"}
    assert isinstance(result.targets[0].error, BackendRefusedError)
    assert exit_code(result) == 1


def test_vo_with_two_projects_gets_a_copy_in_each(site):
    site.cloud.projects = {"vo.example": ["p1", "p2"]}

    site.offer(a="one").publish().sync()

    assert sorted(image.key.owner for image in site.cloud.published()) == ["p1", "p2"]


def test_unexpected_error_of_one_image_is_only_that_images(site):
    site.broken = {"a": RuntimeError("a defect")}

    result = site.offer(a="one", b="two").publish().sync()

    assert set(site.published()) == {"b"}
    assert exit_code(result) == 1


def test_tampered_record_is_replaced(site):
    site.offer(a="one").publish().sync()
    site.cloud.tamper(next(iter(site.cloud.records)), b"evil")

    result = site.sync()

    assert site.published() == site.endorsed()
    assert actions(result)[0] == ("replace", "tampered", "done")


def test_tampered_record_is_shown_so_also_while_its_replacement_is_put_off(site):
    site.offer(a="one").publish().sync()
    site.cloud.tamper(next(iter(site.cloud.records)), b"evil")
    site.broken = {"a": UnreachableError("a", "no route")}
    site.sync()

    result = site.sync(honour_back_off=True)

    assert actions(result) == [("hold", "tampered", "held")]
    assert exit_code(result) == 1
    with open_state(f"sqlite:///{site.root}/state.db") as state:
        (record,) = state.images("site")
    assert (record.state, record.failures) == ("tampered", 1)
    site.now += timedelta(hours=1)
    site.broken = {}
    assert actions(site.sync(honour_back_off=True))[0] == ("replace", "tampered", "done")


# --- economy ---
def test_unchanged_image_is_neither_prepared_nor_uploaded_again(site):
    site.offer(a="one").publish().sync()

    site.publish().sync()

    assert site.prepared == ["a"]
    assert site.cloud.calls.count("upload") == 1


def test_what_the_state_says_already_is_not_written_again(site):
    first = site.offer(alma="1", rocky="2").publish().sync()
    second = site.sync()

    with open_state(f"sqlite:///{site.root}/state.db") as state:
        known = state.images("site")

    assert len(memory(first.targets[0].outcomes, (), site.now).records) == 2
    assert memory(second.targets[0].outcomes, known, site.now + timedelta(hours=1)).records == ()


def test_image_that_comes_back_is_not_uploaded_again(site):
    site.guard = {"share": 1}
    site.offer(a="one", b="two").publish().sync()
    del site.images["b"]
    site.publish().sync()

    site.offer(b="two").publish().sync()

    assert set(site.published()) == {"a", "b"}
    assert site.cloud.calls.count("upload") == 2


def test_answer_that_nothing_changed_is_judged_by_this_passs_clock(site):
    site.lifetime = timedelta(days=1)
    site.offer(a="one").publish()
    fetch, blobs = site.fetch, []

    def conditional(request):
        if request.etag:
            return NotModified(site.now)
        blobs.append(request)
        return replace(fetch(request), etag='"1"')

    site.fetch = conditional
    assert exit_code(site.sync()) == 0
    assert exit_code(site.sync()) == 0
    site.now += timedelta(days=2)
    assert exit_code(site.sync()) == 3
    assert len(blobs) == 1


def test_refused_message_leaves_no_validator_behind(site):
    asked = []
    site.publish(signer=site.trust.stranger)
    site.fetch = lambda request: asked.append(request.etag) or Fetched(site.blob, request.url, '"1"', None, site.now)

    site.sync()
    site.sync()

    assert asked == [None, None]


def test_unasked_not_modified_is_no_list(site):
    site.fetch = lambda _: NotModified(site.now)

    assert "304" in site.sync().seen[0].observation.reason


@pytest.mark.parametrize("trouble", ["list", "images"])
def test_the_guard_counts_on_editable_targets_also_after_a_pass_with_trouble(site, trouble):
    site.guard = {"min_images": 2}
    site.cloud.editable = True
    site.offer(**{name: name for name in "abcdef"}).publish().sync()
    if trouble == "list":
        site.down(503).sync()
        site.failure = None
    else:
        site.broken = dict.fromkeys("abcdef", UnreachableError("image", "no route"))
        site.offer(**{name: f"new {name}" for name in "abcdef"}).publish().sync()
    site.broken = {}
    for name in "bcdef":
        del site.images[name]

    assert exit_code(site.publish().sync()) == 4
    assert set(site.published()) == set("abcdef")


# --- back-off ---
def test_failures_are_counted_and_postponed_until_the_list_changes(site):
    site.broken = {"a": UnreachableError("a", "no route")}
    site.offer(a="one").publish().sync()
    site.sync()
    with open_state(f"sqlite:///{site.root}/state.db") as state:
        record = state.images("site")[0]

    assert (record.failures, record.state) == (2, "failed")
    assert record.retry_at == site.now + timedelta(minutes=10)

    site.broken = {}
    assert ("skip", "back-off", "skipped") in actions(site.sync(honour_back_off=True))
    assert set(site.publish().sync(honour_back_off=True).targets[0].outcomes[0].outcome.split()) == {"done"}


def test_a_pass_tells_whether_images_alone_failed(site):
    targets = [Target(name, "fake", (Format.QCOW2,)) for name in ("here", "there")]
    site.broken = {"a": UnreachableError("a", "no route")}
    images = site.offer(a="one").publish().sync(targets=targets)
    site.cloud.faults = {"owned": [BackendUnavailableError("fake", "away")]}
    target = site.sync(targets=targets)
    fetch = site.fetch
    site.fetch = lambda request: replace(fetch(request), server_date=site.now - timedelta(days=2))
    clock = site.sync(targets=targets)

    assert [exit_code(result) for result in (images, target, clock)] == [1, 1, 1]
    assert [has_failed_beside_images(result) for result in (images, target, clock)] == [False, True, True]


def test_an_image_that_cannot_be_got_is_put_off_for_every_target_and_told_when_it_stays_so(site):
    targets = [Target(name, "fake", (Format.QCOW2,)) for name in ("here", "there")]
    site.broken = {"a": UnreachableError("a", "no route")}
    site.offer(a="one").publish()

    first = site.sync(targets=targets, honour_back_off=True)
    assert [kind for kind, _, _ in actions(first)] == ["register", "skip"]
    assert exit_code(first) == 1

    for _ in range(10):
        site.now += timedelta(days=1)
        last = site.publish().sync(targets=targets, honour_back_off=True)
    (text,) = last.targets[0].notices
    assert text.startswith("image Image a of vo-list could not be got since 2026-11-22T12:00:00Z (1 attempts)")

    site.broken = {}
    site.now += timedelta(days=1)
    assert [kind for kind, _, _ in actions(site.sync(targets=targets[:1], honour_back_off=True))] == ["register"]
    with open_state(f"sqlite:///{site.root}/state.db") as state:
        assert state.attempts() == ()


def test_threads_prepare_ahead_and_order_stays(site):
    site.offer(**{name: name * 3 for name in "abcdefgh"}).publish()

    result = site.sync(ahead=3)

    assert set(site.published()) == set("abcdefgh")
    assert [str(o.action.key.image) for o in result.targets[0].outcomes] == list("abcdefgh")
    assert isinstance(result.seen[0].observation, TrustedList)


def test_what_found_no_room_beside_those_before_it_is_prepared_at_its_turn(site, monkeypatch):
    site.offer(a="a", b="bb", c="ccc").publish()
    real, tried = site.prepare, []

    def crowded(wanted, *more):
        tried.append(str(wanted.image.identifier))
        if tried.count("b") == 1 and tried[-1] == "b":
            raise NoSpaceError("cache", "others use it now")
        return real(wanted, *more)

    monkeypatch.setattr(site, "prepare", crowded)

    assert exit_code(site.sync(ahead=2)) == 0
    assert set(site.published()) == set("abc")
    assert tried.count("b") == 2


def test_where_images_are_prepared_it_is_known_what_the_target_takes_at_most(site, monkeypatch):
    site.offer(a="a").publish()
    site.cloud.max_size = 2**40
    real, known = site.prepare, []

    def heard(wanted, target, *steps):
        known.append(target.max_size)
        return real(wanted, target, *steps)

    monkeypatch.setattr(site, "prepare", heard)

    assert exit_code(site.sync()) == 0
    assert known == [2**40]


def test_before_the_first_image_is_prepared_all_that_will_be_are_known(site, monkeypatch):
    site.offer(a="a" * 10, b="b" * 20, c="c").publish().sync()
    site.offer(a="a" * 11, b="b" * 21, c="c").publish()
    ports, known = site.ports, []

    def expect(target, wanted):
        known.append((target.name, [str(item.key.image) for item in wanted], len(site.prepared)))

    monkeypatch.setattr(site, "ports", lambda state: replace(ports(state), expect=expect))
    before = len(site.prepared)
    site.sync()

    assert known == [("site", ["b", "a"], before)]


def test_the_smallest_image_comes_first(site):
    site.offer(a="a" * 30, b="b" * 10, c="c" * 20).publish()

    assert [str(o.action.key.image) for o in site.sync().targets[0].outcomes] == ["b", "c", "a"]


# --- hours for heavy work ---
@pytest.fixture
def shut(site):
    """Return the hours of a site where nothing heavy may begin before tomorrow."""
    return Hours(0.0, site.now + timedelta(days=1))


def test_outside_the_hours_only_what_is_not_heavy_is_done(site, shut):
    site.guard = {"share": 1}
    site.offer(kept="one", changing="old", leaving="three").publish().sync()
    before, published = len(site.prepared), site.published()
    del site.images["leaving"], published["leaving"]
    site.offer(changing="new", coming="four").publish()

    result = site.sync(hours=shut)

    assert len(site.prepared) == before
    assert site.published() == published
    assert set(actions(result)) >= {
        ("skip", "waiting", "skipped"),
        ("hold", "waiting", "held"),
        ("retire", "withdrawn", "done"),
        ("update", "metadata", "done"),
    }
    assert exit_code(result) == 0
    assert site.remembered("coming") == [("missing", f"endorsed by version 2; {shut.objection()}")]
    assert [state for state, _ in site.remembered("changing")] == ["published"]

    site.sync()
    assert site.published() == site.endorsed()


class Bell:
    """Hours that end after they were asked for a number of times: once for the plan, then before each upload."""

    def __init__(self, asked):
        self.left = asked

    def objection(self):
        self.left -= 1
        return "" if self.left >= 0 else "waits until tomorrow"


@pytest.mark.parametrize("ahead", [0, 3])
def test_when_the_hours_end_what_is_begun_is_finished_and_nothing_more_begun(site, ahead):
    site.offer(a="a", b="bb", c="ccc").publish()

    result = site.sync(hours=Bell(2), ahead=ahead)

    done = {str(o.action.key.image): str(o.outcome) for o in result.targets[0].outcomes}
    assert done == {"a": "done", "b": "skipped", "c": "skipped"}
    reasons = [o.action.reason for o in result.targets[0].outcomes if o.outcome == "skipped"]
    assert reasons == ["endorsed by version 1; waits until tomorrow"] * 2


def test_images_that_came_to_wait_do_not_count_as_what_stays_of_a_list(site):
    site.offer(old="one").publish().sync()
    del site.images["old"]
    site.offer(new="two").publish()

    result = site.sync(hours=Bell(1))

    assert set(site.published()) == {"old"}
    assert exit_code(result) == 4


def test_waiting_keeps_what_is_known_of_failures(site, shut):
    site.broken = {"a": UnreachableError("a", "no route")}
    site.offer(a="one").publish().sync()
    site.sync(hours=shut)
    with open_state(f"sqlite:///{site.root}/state.db") as state:
        record = state.images("site")[0]

    assert (record.failures, record.retry_at) == (1, site.now + timedelta(minutes=5))


def test_older_list_is_refused_by_a_target_that_was_away_when_the_state_was_lost(site):
    site.offer(a="one", b="two").publish()
    old = site.blob
    site.offer(c="three").publish().sync()
    (site.root / "state.db").unlink()
    site.blob = old
    site.cloud.is_down = True
    site.sync()
    site.cloud.is_down = False

    assert exit_code(site.sync()) == 3
    assert set(site.published()) == {"a", "b", "c"}


def test_lifted_floor_stays_lifted_although_retired_records_name_a_higher_version(site):
    site.guard = {"share": 1}
    site.offer(a="one", b="two").publish()
    old, version = site.blob, site.version
    site.offer(c="three").publish().sync()
    site.blob, site.version = old, version
    del site.images["c"]
    with open_state(f"sqlite:///{site.root}/state.db") as state:
        state.lift_floor(site.name, site.now)

    assert [exit_code(site.sync()) for _ in range(3)] == [0, 0, 0]
    assert set(site.published()) == {"a", "b"}
    assert ("c", "retired") in site.states()


def test_floor_that_only_records_remember_is_lifted_by_the_operator_alone(site):
    site.guard = {"share": 1}
    site.offer(a="one").publish()
    old, version = site.blob, site.version
    site.offer(b="two").publish().sync()
    (site.root / "state.db").unlink()
    site.blob, site.version = old, version
    del site.images["b"]
    assert [exit_code(site.sync()) for _ in range(2)] == [3, 3]

    with open_state(f"sqlite:///{site.root}/state.db") as state:
        state.lift_floor(site.name, site.now)

    assert [exit_code(site.sync()) for _ in range(3)] == [0, 0, 0]
    assert set(site.published()) == {"a"}


def test_lifted_floor_lifts_nothing_else_that_records_say(site):
    site.offer(a="one").publish().sync()
    (site.root / "state.db").unlink()
    with open_state(f"sqlite:///{site.root}/state.db") as state:
        state.lift_floor("another", site.now)

    result = site.sync(subscriptions=(site.subscription(name="another"), site.subscription(enabled=False)))

    assert exit_code(result) == 3
    assert result.seen[0].observation.reason.startswith("identity-mismatch")


# --- the clock ---
def test_a_clock_that_the_servers_contradict_expires_nothing_also_when_the_list_is_refused(site):
    site.lifetime = timedelta(days=10)
    site.offer(a="one").publish().sync()
    right, site.now = site.now, site.now + timedelta(days=40)
    fetch = site.fetch
    site.fetch = lambda request: replace(fetch(request), server_date=right)

    result = site.sync()

    assert (exit_code(result), as_json(result, "r")["clock"]) == (3, "clock")
    assert set(site.published()) == {"a"}


def test_the_date_of_an_error_answer_counts_too(site):
    site.lifetime = timedelta(days=10)
    site.offer(a="one").publish().sync()
    right, site.now = site.now, site.now + timedelta(days=40)
    site.failure = HttpStatusError("https://lists.example/", 503, server_date=right)

    assert as_json(site.sync(), "r")["clock"] == "clock"
    assert set(site.published()) == {"a"}


@pytest.mark.parametrize(("days", "clock"), [(20, "unchecked"), (40, "clock")])
def test_a_long_jump_that_no_server_confirms_is_not_believed(site, days, clock):
    site.offer(a="one").publish()
    finish(site, site.sync(), "r1")
    site.now += timedelta(days=days)

    assert as_json(site.down().sync(), "r2")["clock"] == clock


def test_a_pass_under_a_wrong_clock_leaves_no_trace_once_the_clock_is_right(site):
    site.offer(a="one").publish()
    right, site.now = site.now, site.now + timedelta(days=9999)
    fetch = site.fetch
    site.fetch = lambda request: replace(fetch(request), server_date=right)
    finish(site, site.sync(), "r1")
    site.now = right

    assert as_json(site.sync(), "r2")["clock"] == "trusted"


def finish(site, result, run):
    with open_state(f"sqlite:///{site.root}/state.db") as state:
        state.begin_run(run, "sync", site.now)
        state.finish_run(run, site.now, 0, as_json(result, run))


# --- whose a list is ---
@pytest.fixture
def rivals(site):
    """Two subscriptions; the second one's endorser signs a list with the first one's identifier."""
    site.offer(a="one").publish().sync()
    (site.root / "state.db").unlink()
    honest = site.blob
    evil = site.offer(a="evil").publish().blob
    names = {"https://lists.example/image.list": honest, "https://lists.example/evil": evil}
    site.fetch = lambda request: Fetched(names[request.url], request.url, None, None, site.now)
    return names, (site.subscription(), site.subscription(name="evil", url="https://lists.example/evil"))


@pytest.mark.parametrize("backwards", [False, True])
def test_after_state_loss_no_subscription_takes_over_the_list_of_another(site, rivals, backwards):
    _, subscriptions = rivals
    before = site.published()

    result = site.sync(subscriptions=subscriptions[:: -1 if backwards else 1])

    assert site.published() == before
    assert exit_code(result) == 3


def test_after_state_loss_the_records_tell_whose_a_list_is_while_its_own_server_is_down(site, rivals):
    names, subscriptions = rivals
    del names["https://lists.example/image.list"]
    before = site.published()

    result = site.sync(subscriptions=subscriptions)

    assert site.published() == before
    assert "belongs to the subscription vo-list" in result.seen[1].observation.reason


def test_after_state_loss_a_replayed_list_does_not_reach_a_new_target_either(site):
    site.offer(a="one", b="two").publish()
    old = site.blob
    del site.images["b"]
    site.guard = {"share": 1}
    site.publish().sync()
    (site.root / "state.db").unlink()
    site.images["b"], site.blob = ("two", None), old
    other = type(site.cloud)()
    opened = site.open_target
    site.open_target = lambda target: other.open_backend({}, site.context()) if target.name == "new" else opened(target)

    targets = [Target(name, "fake", (Format.QCOW2,)) for name in ("new", "site")]
    result = site.sync(targets=targets)

    assert exit_code(result) == 3
    assert other.published() == []


def test_a_slow_pass_does_not_bring_back_a_version_that_another_overtook(site):
    site.offer(a="one").publish()
    slow = site.sync()
    with open_state(f"sqlite:///{site.root}/state.db") as state:
        first = state.accepted(site.name)
        site.now += timedelta(hours=1)
        site.publish().sync()
        state.accept(first, slow.seen[0].remember)

        assert state.accepted(site.name).version == "2"


# --- more boundaries ---
def test_what_is_wrong_with_one_subscriptions_configuration_concerns_no_other_list(site):
    from imagesync.errors import ConfigError

    site.offer(a="one").publish()
    broken = site.subscription(name="broken", fault=ConfigError("token", "cannot be read"))

    result = site.sync(subscriptions=(broken, site.subscription()))

    assert set(site.published()) == {"a"}
    assert exit_code(result) == 1


def test_a_short_grace_does_not_make_the_guard_forget(site):
    site.guard, site.delete_after = {"min_images": 4}, timedelta(seconds=1)
    site.offer(**{name: name for name in "abcdefgh"}).publish().sync()

    for gone in "abc def":
        site.images.pop(gone, None)
        site.now += timedelta(minutes=1)
        result = site.publish().sync()

    assert exit_code(result) == 4
    assert len(site.published()) == 4


def test_a_renamed_subscription_keeps_its_list_and_images(site):
    site.offer(a="one").publish().sync()
    site.name = "renamed"

    result = site.publish().sync()

    assert exit_code(result) == 0
    assert actions(result) == [("update", "metadata", "done")]


# --- what members of other projects write ----------------------------------------------------------------------------
def forge(site, owner, image, retirement=None, **properties):
    """Add a record that looks as if we had put an image of the list into a project."""
    [record, *_] = site.cloud.records.values()
    genuine, ref = record.image, site.cloud.next_ref()
    made = replace(
        genuine,
        ref=ref,
        key=replace(genuine.key, owner=owner, image=image),
        metadata=replace(genuine.metadata, properties={**genuine.metadata.properties, **properties}),
        state=State.RETIRED if retirement else State.PUBLISHED,
        retirement=retirement,
    )
    site.cloud.records[ref] = replace(record, image=made)


@pytest.mark.parametrize(
    "lie", [{"imagesync_list_version": "999"}, {"APPLIANCE_VO": "vo.other"}], ids=["version", "owner"]
)
def test_records_in_projects_of_others_do_not_block_a_new_list(site, lie):
    site.cloud.editable, site.cloud.projects = True, {"vo.example": ["ours"], "vo.other": ["theirs"]}
    site.offer(a="one").publish().sync()
    forge(site, "theirs", "a", **lie)
    site.lose_state()

    result = site.sync()

    assert exit_code(result) == 0
    forge(site, "ours", "a", **lie)
    site.lose_state()
    assert exit_code(site.sync()) == 3


def test_records_that_others_added_do_not_trip_the_guard(site):
    site.cloud.editable, site.cloud.projects = True, {"vo.example": ["ours"]}
    site.guard = {"share": 0.5, "min_images": 4}
    site.offer(a="1", b="2", c="3", d="4", e="5").publish().sync()
    for number in range(9):
        forge(site, "theirs", f"fake-{number}")
        forge(site, "theirs", f"gone-{number}", Retirement(site.now + timedelta(days=999), "withdrawn"))
    del site.images["a"]

    assert exit_code(site.publish().sync()) == 0

    assert set(site.published()) == {"b", "c", "d", "e"}


def test_records_that_others_added_to_a_former_project_do_not_count_either(site):
    site.cloud.projects = {"vo.example": ["theirs"]}
    site.guard = {"share": 0.5, "min_images": 4}
    site.offer(a="1", b="2", c="3", d="4", e="5").publish().sync()
    site.cloud.projects = {"vo.example": ["ours"]}
    site.sync()
    for number in range(9):
        forge(site, "theirs", f"fake-{number}")
    for name in "abc":
        del site.images[name]

    assert exit_code(site.publish().sync()) == 4

    assert {str(image.key.image) for image in site.cloud.published() if image.key.owner == "ours"} == set("abcde")


def test_the_guard_counts_everything_where_nothing_is_remembered(site):
    site.cloud.editable = True
    site.guard = {"share": 0.5, "min_images": 4}
    site.offer(a="1", b="2", c="3", d="4", e="5").publish().sync()
    site.lose_state()
    for name in "abc":
        del site.images[name]

    assert exit_code(site.publish().sync()) == 4


# --- what a change of the configuration leaves behind ----------------------------------------------------------------
def test_images_in_a_project_that_is_no_longer_the_vos_are_retired_once_they_are_offered_in_the_new_one(site):
    site.cloud.projects = {"vo.example": ["old"]}
    site.offer(a="one", b="two").publish().sync()
    site.cloud.projects = {"vo.example": ["new"]}
    site.broken["b"] = BackendUnavailableError("b", "no route")

    result = site.sync()
    assert ("hold", "moved", "held") in actions(result)
    assert site.contexts[-1].former == {"old"}
    assert site.states() == [("a", "published")] * 2 + [("b", "published")]
    site.broken.clear()
    site.sync()
    result = site.sync()

    assert exit_code(result) == 0
    assert {image.key.owner for image in site.cloud.published()} == {"new"}
    assert site.states() == [(name, state) for name in "ab" for state in ("published", "retired")]
    assert all(kind == "keep" for kind, _, _ in actions(site.sync()))


def test_images_in_a_project_that_is_no_longer_the_vos_and_cannot_be_seen_are_said_until_they_are_forgotten(site):
    site.cloud.projects = {"vo.example": ["old"]}
    site.offer(a="one").publish().sync()
    site.cloud.projects = {"vo.example": ["new"]}
    site.cloud.records = {}

    notices = [site.sync().targets[0].notices, site.sync().targets[0].notices, site.down().sync().targets[0].notices]

    assert [len(said) for said in notices] == [1, 1, 0]
    assert "project old, which is no longer configured, had 1 published images" in notices[0][0]
    site.failure = None
    with open_state(f"sqlite:///{site.root}/state.db") as state:
        prune_all(site.sync().task, site.ports(state), unsubscribed=True)
    assert site.sync().targets[0].notices == ()


def test_what_a_target_has_to_say_is_in_the_report_once(site):
    site.offer(a="one", b="two").publish()
    opened = site.open_target

    @contextmanager
    def open_target(target):
        with opened(target) as backend:
            for _ in range(2):
                site.contexts[-1].notice("the bytes go another way")
            yield backend

    site.open_target = open_target
    report = as_json(site.sync(), "run")

    assert report["targets"][0]["notices"] == ["the bytes go another way"]
    assert report["exit"] == 0
