from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync.errors import StateError
from imagesync.model import Accepted, Digest, Fingerprint, Floor, Format, ImageId, ImageKey, ListId
from imagesync.state import (
    ArtifactRecord,
    AttemptRecord,
    ChangeRecord,
    ImageRecord,
    ListStandingRecord,
    MessageRecord,
    MetadataRecord,
    Pausable,
    PauseRecord,
    Pruned,
    StoredList,
    key_digest,
)
from imagesync.state.repository import Repository

HOUR = timedelta(hours=1)


@contextmanager
def statements(repository: Repository) -> Iterator[list[str]]:
    """Collect the statements sent meanwhile, without those that begin and end transactions."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if not statement.startswith("BEGIN"):
            sent.append(statement)

    engine = repository._database.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    yield sent
    sa.event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def image(now: datetime) -> Callable[..., ImageRecord]:
    def make(identifier: str = "one", **changes: object) -> ImageRecord:
        key = ImageKey("project", ListId("list"), ImageId(identifier))
        record = ImageRecord(key, "A title", "published", "as endorsed", now, Digest("d" * 128), "qcow2")
        return replace(record, **changes)  # type: ignore[arg-type]

    return make


@pytest.fixture
def artifact() -> Callable[..., ArtifactRecord]:
    def make(name: str, **changes: object) -> ArtifactRecord:
        record = ArtifactRecord(
            Fingerprint(name), Digest("a" * 128), Format.VMDK, Digest("b" * 128), Format.QCOW2, 2**40, 2**41
        )
        return replace(record, **changes)  # type: ignore[arg-type]

    return make


# --- lists ---
def test_what_was_accepted_comes_back_equal(repository: Repository, make_accepted: Callable[..., Accepted]) -> None:
    value = make_accepted()
    listing = StoredList(b"signed", "etag", "yesterday", url_sha256="5" * 64)
    repository.accept(value, listing)
    assert repository.accepted("fedcloud") == value
    assert repository.stored("fedcloud") == listing
    assert repository.pins() == {"list-of-fedcloud": "fedcloud"}


def test_of_a_list_never_accepted_nothing_is_known(repository: Repository) -> None:
    assert repository.accepted("fedcloud") is None
    assert repository.stored("fedcloud") is None
    assert not repository.drop_pin("fedcloud")
    assert not repository.is_floor_lifted("fedcloud")


def test_a_newer_version_takes_the_place_of_the_older(
    repository: Repository, make_accepted: Callable[..., Accepted]
) -> None:
    repository.accept(make_accepted(), StoredList(b"old", "etag"))
    newer = make_accepted(version="2026.03.02", expiries={})
    repository.accept(newer, StoredList(b"new"))
    assert repository.all_accepted() == (newer,)
    assert repository.stored("fedcloud") == StoredList(b"new")


def test_accepting_the_same_message_again_keeps_it_once_with_its_first_and_last_time(
    repository: Repository, make_accepted: Callable[..., Accepted], now: datetime
) -> None:
    later = now + timedelta(hours=1)
    repository.accept(make_accepted(), StoredList(b"signed"))
    with statements(repository) as sent:
        repository.accept(make_accepted(accepted_at=later), StoredList(b"signed"))
    repository.accept(make_accepted("other"), StoredList(b"signed"))
    assert len(sent) == 4
    with repository._database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM message").scalar_one() == 1
        seen = connection.execute(
            sa.text("SELECT first_seen, last_seen FROM list_version WHERE subscription = 'fedcloud'")
        )
        first, last = (datetime.fromisoformat(str(moment)).replace(tzinfo=UTC) for moment in seen.one())
    assert (first, last) == (now, later)


def test_lifting_the_floor_keeps_the_pin_and_is_known_until_the_next_acceptance(
    repository: Repository, make_accepted: Callable[..., Accepted], now: datetime
) -> None:
    repository.accept(make_accepted(), StoredList(b"signed"))
    repository.lift_floor("fedcloud", now)
    assert repository.accepted("fedcloud") == make_accepted(version=None)
    assert repository.pins() == {"list-of-fedcloud": "fedcloud"}
    repository.accept(make_accepted(version="1"), StoredList(b"signed"))
    assert repository.accepted("fedcloud").version == "1"


def test_dropping_the_pin_keeps_the_dates_until_the_next_acceptance(
    repository: Repository, make_accepted: Callable[..., Accepted]
) -> None:
    repository.accept(make_accepted(), StoredList(b"signed"))
    assert repository.drop_pin("fedcloud")
    assert repository.accepted("fedcloud") == make_accepted(pinned=False)
    assert repository.pins() == {}
    repository.accept(make_accepted(list=ListId("another")), StoredList(b"signed"))
    assert repository.pins() == {"another": "fedcloud"}


def test_after_a_reset_a_list_is_asked_for_without_conditions(
    repository: Repository, make_accepted: Callable[..., Accepted], now: datetime
) -> None:
    """An older file, on this or another server, was honestly not modified since the last one was."""
    for reset in (lambda: repository.drop_pin("fedcloud"), lambda: repository.lift_floor("fedcloud", now)):
        repository.accept(make_accepted(), StoredList(b"signed", "etag", "yesterday", url_sha256="5" * 64))
        reset()
        assert repository.stored("fedcloud") == StoredList(b"signed")


def test_lifting_the_floor_of_a_list_never_accepted_is_known_until_the_first_acceptance(
    repository: Repository, make_accepted: Callable[..., Accepted], now: datetime
) -> None:
    repository.lift_floor("fedcloud", now)
    repository.lift_floor("fedcloud", now + timedelta(hours=1))
    repository.accept(make_accepted("other"), StoredList(b"another"))
    assert repository.is_floor_lifted("fedcloud")
    assert repository.accepted("fedcloud") is None
    repository.accept(make_accepted(lifted=True), StoredList(b"signed"))
    assert not repository.is_floor_lifted("fedcloud")
    assert repository.accepted("fedcloud") == make_accepted(lifted=True)


def test_lifting_the_floor_of_an_accepted_list_leaves_nothing_beside_it(
    repository: Repository, make_accepted: Callable[..., Accepted], now: datetime
) -> None:
    repository.accept(make_accepted(), StoredList(b"signed"))
    repository.lift_floor("fedcloud", now)
    assert not repository.is_floor_lifted("fedcloud")


def test_one_subscription_takes_two_reads(repository: Repository, make_accepted: Callable[..., Accepted]) -> None:
    repository.accept(make_accepted(), StoredList(b"signed"))
    with statements(repository) as sent:
        repository.accepted("fedcloud")
        repository.stored("fedcloud")
    assert len(sent) == 2


def test_the_dates_of_ten_thousand_images_are_one_row(
    repository: Repository, make_accepted: Callable[..., Accepted], now: datetime
) -> None:
    expiries = {ImageId(f"image-{number}"): now for number in range(10_000)}
    with statements(repository) as sent:
        repository.accept(make_accepted(expiries=expiries), StoredList(b"signed"))
        assert repository.accepted("fedcloud").expiries == expiries
    assert len(sent) == 9


# --- images ---
def test_images_are_kept_per_target_in_order_of_their_keys(
    repository: Repository, image: Callable[..., ImageRecord], now: datetime
) -> None:
    failed = image("two", state="failed", digest=None, failures=3, retry_at=now, attempted="v1 abc")
    repository.record("site", [failed, image("one")])
    repository.record("other", [image("three")])
    assert repository.images("site") == (image("one"), failed)


def test_since_stays_while_the_state_stays(
    repository: Repository, image: Callable[..., ImageRecord], now: datetime
) -> None:
    repository.record("site", [image(state="failed", reason="no connection")])
    later = image(state="failed", reason="checksum", since=now + timedelta(hours=1), failures=2)
    repository.record("site", [later])
    assert repository.images("site") == (replace(later, since=now),)


def test_since_changes_with_the_state(repository: Repository, image: Callable[..., ImageRecord], now: datetime) -> None:
    repository.record("site", [image(state="failed")])
    published = image(state="published", since=now + timedelta(hours=1))
    repository.record("site", [published])
    assert repository.images("site") == (published,)


def test_a_thousand_images_are_one_statement_each_way(
    repository: Repository, image: Callable[..., ImageRecord]
) -> None:
    rows = [image(f"image-{number:04}") for number in range(1000)]
    with statements(repository) as sent:
        repository.record("site", rows)
        assert repository.images("site") == tuple(rows)
    assert len(sent) == 2


def test_recording_is_all_or_nothing(repository: Repository, image: Callable[..., ImageRecord]) -> None:
    with pytest.raises(StateError):
        repository.record("site", [image("one"), image("two", since=datetime(2026, 1, 1))])  # noqa: DTZ001
    assert repository.images("site") == ()


def test_forgotten_images_are_gone_and_forgetting_again_is_success(
    repository: Repository, image: Callable[..., ImageRecord]
) -> None:
    repository.record("site", [image("one"), image("two")])
    repository.record("other", [image("one")])
    repository.forget("site", [image("one").key])
    repository.forget("site", [image("one").key])
    assert repository.images("site") == (image("two"),)
    assert repository.images("other") == (image("one"),)


def test_texts_of_strangers_cannot_break_the_state(repository: Repository, image: Callable[..., ImageRecord]) -> None:
    hostile = image("x" * 1_000_000, title="nul \0, surrogate \ud800, right-to-left \u202e, \U0001f4a5")
    repository.record("site", [hostile, image("two")])
    repository.record("site", [hostile])
    titles = [record.title for record in repository.images("site")]
    assert titles == ["A title", "nul \ufffd, surrogate ?, right-to-left \u202e, \U0001f4a5"]


# --- artifacts ---
def test_artifacts_are_remembered_and_replaced(repository: Repository, artifact: Callable[..., ArtifactRecord]) -> None:
    repository.remember(artifact("one"), artifact("two"))
    changed = artifact("one", digest=Digest("c" * 128))
    repository.remember(changed)
    assert repository.artifact(Fingerprint("one")) == changed
    assert repository.artifact(Fingerprint("three")) is None
    assert repository.artifacts([Fingerprint("two"), Fingerprint("three")]) == {"two": artifact("two")}


def test_the_format_of_a_source_is_known_after_it_was_made_into_something(
    repository: Repository, artifact: Callable[..., ArtifactRecord]
) -> None:
    other = Digest("e" * 128)
    repository.remember(artifact("one"), artifact("two", format=Format.RAW))
    assert repository.source_formats([Digest("a" * 128), other]) == {"a" * 128: Format.VMDK}


def test_more_fingerprints_than_a_statement_takes_can_be_asked_for(
    repository: Repository, artifact: Callable[..., ArtifactRecord]
) -> None:
    repository.remember(*(artifact(f"{number:08}") for number in range(20)))
    asked = [Fingerprint(f"{number:08}") for number in range(70_000)]
    assert len(repository.artifacts(asked)) == 20


# --- history ---
def report(key: str) -> dict[str, object]:
    entry = {"kind": "register", "key": key, "title": "A title", "reason": "new", "outcome": "failed", "error": "gone"}
    return {"exit": 1, "targets": [{"name": "site", "actions": [entry | {"bytes_downloaded": 2**40, "seconds": 1.5}]}]}


def test_a_run_is_known_from_its_begin_on(repository: Repository, now: datetime) -> None:
    repository.begin_run("one", "sync", now)
    (begun,) = repository.runs(1)
    assert (begun.id, begun.kind, begun.started, begun.finished, begun.exit) == ("one", "sync", now, None, None)
    repository.finish_run("one", now + timedelta(minutes=1), 1, report("list/image"))
    (finished,) = repository.runs(1)
    assert (finished.finished, finished.exit) == (now + timedelta(minutes=1), 1)
    assert finished.report == report("list/image")


def test_the_actions_of_a_run_are_found_by_key(repository: Repository, now: datetime) -> None:
    for hour in range(3):
        repository.begin_run(f"run-{hour}", "sync", now)
        repository.finish_run(f"run-{hour}", now + timedelta(hours=hour), 1, report("list/image"))
    found = repository.actions("list/image", limit=2)
    assert [action.run for action in found] == ["run-2", "run-1"]
    newest = found[0]
    assert (newest.target, newest.kind, newest.outcome, newest.error) == ("site", "register", "failed", "gone")
    assert (newest.bytes_downloaded, newest.bytes_uploaded, newest.seconds) == (2**40, 0, 1.5)
    assert repository.actions("list/other") == ()


def test_an_action_that_kept_what_was_there_is_in_the_report_alone(repository: Repository, now: datetime) -> None:
    kept = report("list/image")
    kept["targets"][0]["actions"][0]["kind"] = "keep"
    repository.begin_run("one", "sync", now)
    repository.finish_run("one", now, 0, kept)
    assert repository.actions("list/image") == ()
    assert repository.runs(1)[0].report == kept


def test_runs_come_newest_first_and_limited(repository: Repository, now: datetime) -> None:
    for hour in range(5):
        repository.begin_run(f"run-{hour}", "sync", now + timedelta(hours=hour))
    assert [run.id for run in repository.runs(2)] == ["run-4", "run-3"]


def test_runs_come_in_the_order_in_which_they_began_whatever_the_clock_said(
    repository: Repository, now: datetime
) -> None:
    for name, days in (("first", 0), ("ahead", 20), ("behind", -60), ("last", 1)):
        repository.begin_run(name, "sync", now + timedelta(days=days))
    heads = repository.run_heads(9)
    assert [head.id for head in heads] == ["last", "behind", "ahead", "first"]
    assert [head.number for head in heads] == [4, 3, 2, 1]
    assert [run.id for run in repository.runs(9)] == [head.id for head in heads]
    repository.prune(now + timedelta(days=90))
    assert [head.id for head in repository.run_heads(9)] == ["last"]


# --- where lists stand ---
def test_a_verdict_lasts_since_the_first_pass_that_said_so(repository: Repository, now: datetime) -> None:
    hour = timedelta(hours=1)
    for number, verdict in enumerate(("trusted", "refused", "refused", "refused")):
        began = now + number * hour
        repository.standings.note({"a": verdict, "b": "trusted"}, began, began + hour / 2, good=number == 1)
    assert repository.standings.all() == {
        "a": ListStandingRecord("refused", now + hour, now + 1.5 * hour),
        "b": ListStandingRecord("trusted", now, now + 1.5 * hour),
    }
    repository.standings.note({"a": "trusted"}, now + 9 * hour, now + 9 * hour, good=True)
    assert repository.standings.all()["a"] == ListStandingRecord("trusted", now + 9 * hour, now + 9 * hour)
    repository.prune(now + 9 * hour)
    assert repository.standings.all().keys() == {"a"}


def test_a_verdict_that_began_while_the_clock_was_ahead_began_with_the_next_pass(
    repository: Repository, now: datetime
) -> None:
    for began in (now + timedelta(days=20), now):
        repository.standings.note({"a": "refused"}, began, began, good=False)
    assert repository.standings.all() == {"a": ListStandingRecord("refused", now, None)}


def test_pruning_keeps_current_messages_and_the_newest_run(
    repository: Repository, make_accepted: Callable[..., Accepted], now: datetime
) -> None:
    repository.accept(make_accepted(), StoredList(b"old"))
    repository.accept(make_accepted(version="2026.03.02"), StoredList(b"new"))
    for hour in range(3):
        repository.begin_run(f"run-{hour}", "sync", now + timedelta(hours=hour))
        repository.finish_run(f"run-{hour}", now, 0, report("list/image"))
    assert repository.prune(now + timedelta(days=1)) == Pruned(runs=2, messages=1)
    assert [run.id for run in repository.runs(9)] == ["run-2"]
    assert len(repository.actions("list/image")) == 1
    assert repository.stored("fedcloud") == StoredList(b"new")
    assert repository.prune(now + timedelta(days=1)) == Pruned(0, 0)


def test_what_was_written_is_there_after_reopening(place: Any, make_accepted: Callable[..., Accepted]) -> None:
    with place.open() as first:
        first.accept(make_accepted(), StoredList(b"signed"))
    with place.open() as second:
        assert second.accepted("fedcloud") == make_accepted()


# --- attempts ---
def test_images_that_could_not_be_got_are_remembered_until_they_are(repository: Repository, now: datetime) -> None:
    digest = Digest("a" * 128)
    first = AttemptRecord(
        ListId("list"), ImageId("x" * 5000), "t" * 64, digest, 1, now, now, now + timedelta(hours=1), "cause", "why\0"
    )
    later = replace(first, failures=2, last=now + timedelta(hours=2), error="why")
    other = replace(later, image=ImageId("other"))

    repository.attempted([first, other], ())
    repository.attempted([later], ())
    assert repository.attempts() == (other, later)

    repository.attempted([], {(other.list, other.image)})
    assert repository.attempts() == (later,)
    repository.prune(now + timedelta(hours=2))
    assert repository.attempts() == (later,)
    repository.prune(now + timedelta(hours=3))
    assert repository.attempts() == ()


# --- pauses ---
def test_what_is_paused_comes_back_and_ends(repository: Repository, now: datetime) -> None:
    day = timedelta(days=1)
    first = PauseRecord(Pausable.LIST, "fedcloud", "why", "ops", now)
    repository.pause([first, PauseRecord(Pausable.ALL, "", "all", "ops", now, now + day)])
    again = replace(first, reason="longer", until=now + 2 * day)
    repository.pause([again])

    assert repository.pauses() == (PauseRecord(Pausable.ALL, "", "all", "ops", now, now + day), again)
    repository.prune(now + day + day / 2)
    assert repository.pauses() == (again,)
    assert [repository.resume(Pausable.LIST, "fedcloud") for _ in range(2)] == [True, False]
    assert repository.pauses() == ()


def test_a_target_fails_since_it_failed_first(repository: Repository, now: datetime) -> None:
    later = now + timedelta(days=9)
    repository.note_targets({"site"}, {"other"}, now)
    repository.note_targets({"site", "other"}, set(), later)

    assert repository.failing() == {"site": now, "other": later}
    repository.note_targets({"other"}, {"site"}, later)
    assert repository.failing() == {"other": later}


def test_what_a_record_says_is_kept_apart_and_goes_with_the_image(
    repository: Repository, image: Callable[..., ImageRecord], now: datetime
) -> None:
    record = image("x" * 5000)
    said = MetadataRecord(record.key, "A name", 512, {"os_distro": "debian"}, now)
    repository.record("site", [record])
    assert repository.metadata("site", record.key) is None
    repository.describe("site", [replace(said, name="Another")])
    repository.describe("site", [said])

    assert repository.metadata("site", record.key) == said
    assert repository.described("site") == {key_digest(record.key)}
    assert repository.described("other") == frozenset()
    repository.forget("site", {record.key})
    assert repository.metadata("site", record.key) is None


def test_an_image_that_never_came_is_late_since_it_was_missed_first(
    repository: Repository, image: Callable[..., ImageRecord], now: datetime
) -> None:
    states = ("failed", "missing", "failed")
    for number, state in enumerate(states):
        repository.record("site", [image(state=state, digest=None, since=now + number * timedelta(hours=12))])

    assert [record.since for record in repository.images("site")] == [now]


def test_an_image_that_is_there_fails_since_it_failed(
    repository: Repository, image: Callable[..., ImageRecord], now: datetime
) -> None:
    repository.record("site", [image()])
    repository.record("site", [image(state="failed", since=now + timedelta(hours=1))])

    assert [record.since for record in repository.images("site")] == [now + timedelta(hours=1)]


def test_a_run_that_goes_on_beside_does_not_end_before(repository: Repository, now: datetime) -> None:
    hour = timedelta(hours=1)
    for number, began in enumerate((now - 2 * hour, now - hour / 2)):
        repository.begin_run(f"r{number}", "sync", began)
        repository.finish_run(f"r{number}", began + hour, 0, {"clock": "trusted", "targets": []})

    assert repository.last_end("trusted", at=now) == now - hour
    assert repository.last_end("trusted", at=now + hour) == now + hour / 2
    assert repository.last_end("trusted", at=now - 9 * hour) == now + hour / 2


# --- what has to be told ---------------------------------------------------------------------------------------------
def _change(now: datetime, text: str) -> ChangeRecord:
    return ChangeRecord("published", now, "vo", "site", "list/one", "A title", text)


def test_changes_are_kept_with_the_images_until_they_are_told(
    repository: Repository, image: Callable[..., ImageRecord], now: datetime
) -> None:
    repository.begin_run("r1", "sync", now)
    repository.record("site", [image()], [_change(now, "one"), _change(now, "two")])
    assert repository.changes(9, ended=True) == ()
    repository.finish_run("r1", now, 0, {})
    changes = repository.changes(9, ended=True)
    assert [(one.run, one.text) for one in changes] == [("r1", "one"), ("r1", "two")]

    repository.tell((), (), [MessageRecord("ops", {}, now, now)], changes[:1])
    assert repository.changes(9, ended=False) == changes[1:]
    repository.prune(now + timedelta(days=1))
    assert repository.changes(9, ended=False) == ()


def test_what_another_process_told_meanwhile_is_not_told_again(repository: Repository, now: datetime) -> None:
    repository.record("site", [], [_change(now, "one"), _change(now, "two")])
    changes = repository.changes(9, ended=False)
    repository.tell((), (), (), changes[:1])
    with pytest.raises(StateError, match="another process"):
        repository.tell((), (), [MessageRecord("ops", {}, now, now)], changes)

    assert repository.next_message("ops", now, HOUR) is None
    assert repository.changes(9, ended=False) == changes[1:]


def test_messages_about_one_subject_wait_for_those_before(repository: Repository, now: datetime) -> None:
    later = now + timedelta(hours=1)
    subjects = ("one", "one", "two", None)
    messages = [MessageRecord("ops", {}, now, now, subject=subject) for subject in subjects]
    repository.tell((), (), [MessageRecord("other", {}, now, now, subject="one"), *messages])
    order = []
    for _ in range(2):
        first = repository.next_message("ops", now, HOUR)
        assert first is not None
        order.append(first.subject)
        repository.postpone_message(first.number, later)
    third = repository.next_message("ops", now, HOUR)
    assert third is not None
    assert [*order, third.subject] == ["one", "two", None]


def test_a_message_that_a_wrong_clock_put_off_is_due(repository: Repository, now: datetime) -> None:
    """Else nobody is told of anything until that time."""
    repository.tell((), (), [MessageRecord("ops", {}, now, now + timedelta(days=20))])

    assert repository.next_message("ops", now, HOUR) is not None


def test_one_list_in_ever_new_wrappers_is_kept_once(
    repository: Repository, make_accepted: Callable[..., Accepted]
) -> None:
    for number in range(3):
        later = make_accepted(accepted_at=make_accepted().accepted_at + timedelta(hours=number))
        repository.accept(later, StoredList(b"wrapper %d" % number))

    (kept,) = repository.versions()
    assert kept.last_seen - kept.first_seen == timedelta(hours=2)
    assert repository.stored("fedcloud") == StoredList(b"wrapper 2")
    with repository._database.read() as connection:
        assert connection.execute(sa.text("select count(*) from message")).scalar_one() == 1


def test_another_signature_over_the_same_list_is_kept_too(
    repository: Repository, make_accepted: Callable[..., Accepted]
) -> None:
    first = make_accepted()
    repository.accept(first, StoredList(b"old certificate"))
    repository.accept(replace(first, signer=replace(first.signer, sha256="9" * 64)), StoredList(b"new certificate"))

    assert len(repository.versions()) == 2


def test_the_versions_of_lists_that_a_subscription_had_are_known(
    repository: Repository, make_accepted: Callable[..., Accepted]
) -> None:
    repository.accept(make_accepted(version="1"), StoredList(b"one"))
    repository.accept(make_accepted(version="2", digest=Digest("2" * 128)), StoredList(b"two"))
    assert repository.earlier("fedcloud") == {}
    repository.accept(make_accepted(list=ListId("another")), StoredList(b"other"))

    expected = {Floor("1", make_accepted().digest), Floor("2", Digest("2" * 128))}
    assert set(repository.earlier("fedcloud")[ListId("list-of-fedcloud")]) == expected
    assert list(repository.earlier("fedcloud")) == ["list-of-fedcloud"]
    assert repository.earlier("nobody") == {}


def test_a_version_of_before_digests_were_kept_gets_its_own_when_it_is_seen_again(
    repository: Repository, make_accepted: Callable[..., Accepted]
) -> None:
    first, other = make_accepted(version="1"), make_accepted(list=ListId("another"))
    for digest in (None, first.digest):
        repository.accept(first, StoredList(b"one"))
        if digest is None:
            with repository._database.write() as connection:
                connection.execute(sa.text("UPDATE list_version SET digest = NULL"))
        repository.accept(other, StoredList(b"other"))
        assert repository.earlier("fedcloud") == {first.list: (Floor("1", digest),)}
