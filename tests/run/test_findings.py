"""What is not as endorsed, each thing once."""

from datetime import UTC, datetime, timedelta

import pytest

from imagesync.model import Accepted, Digest, Identity, ImageKey, Signer
from imagesync.run.findings import findings, level
from imagesync.run.history import ListWord, RunDigest, TargetWord
from imagesync.run.notice import Level
from imagesync.run.situation import Facts, Followed, Kept, Outlook, situation
from imagesync.state import ImageRecord, ListStandingRecord, PassRecord, Pausable, PauseRecord

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ACCEPTED = Accepted(
    "f", "list", "1", Digest("0"), NOW - DAY, NOW + 30 * DAY, NOW - HOUR,
    Signer(Identity("/CN=a", "/CN=b"), NOW + 300 * DAY, "0" * 64), {},
)  # fmt: skip


def _image(state, since=HOUR, retry_at=None):
    return ImageRecord(ImageKey("", "list", state), state, state, "why", NOW - since, None, "raw", 0, retry_at)


def _run(ago=HOUR, verdict="trusted", error="", clock="trusted"):
    words = (ListWord("f", verdict, "why"),), (TargetWord("site", error),)
    return RunDigest("r", "sync", NOW - ago, NOW - ago, 0, clock, *words)


def _found(*runs, images=(), outlook=None, code=0, enabled=True, pauses=(), standings=()):
    facts = Facts(
        accepted={"f": ACCEPTED},
        passes={"f": PassRecord("f", NOW, code, 0, None, "")},
        images={"site": images},
        runs=runs or (_run(),),
        pauses=pauses,
        standings=dict(standings),
    )
    followed = [Followed("f", "vo", "url", HOUR, enabled)]
    return findings(situation(followed, [Kept("site", "directory")], facts, outlook or Outlook(), NOW))


def test_what_is_as_the_list_wants_it_is_nothing_to_find():
    found = _found(images=(_image("published"), _image("retired"), _image("revoked")))

    assert (found, level(found)) == ((), "ok")


def test_images_that_wait_for_their_list_are_told_with_it_alone():
    (found,) = _found(_run(verdict="refused"), images=(_image("held"),))

    assert (found.level, found.matter, found.subject) == (Level.CRITICAL, "list", "f")
    assert "its images are held" in found.next


def test_images_that_a_guard_holds_are_told():
    (found,) = _found(images=(_image("held"),))

    assert (found.level, found.matter) == (Level.WARNING, "held")


def test_a_verdict_lasts_since_it_was_said_first():
    (found,) = _found(_run(HOUR, "unavailable"), _run(5 * HOUR, "unavailable"), _run(9 * HOUR))

    assert found.since == NOW - 5 * HOUR


def test_a_verdict_lasts_longer_than_runs_are_looked_back_on():
    standing = {"f": ListStandingRecord("unavailable", NOW - 9 * DAY, None)}
    (found,) = _found(_run(HOUR, "unavailable"), standings=standing)

    assert found.since == NOW - 9 * DAY


def test_what_is_noted_of_another_verdict_says_nothing_of_this_one():
    (found,) = _found(_run(HOUR, "unavailable"), standings={"f": ListStandingRecord("refused", NOW - 9 * DAY, None)})

    assert found.since == NOW - HOUR


def test_what_lasts_three_days_is_critical():
    found = _found(images=(_image("failed", 2 * DAY), _image("missing", 3 * DAY)))

    assert [(one.matter, one.level) for one in found] == [("missing", Level.CRITICAL), ("failed", Level.WARNING)]


def test_an_image_that_is_put_off_longer_than_its_list_says_until_when():
    outlook = Outlook({"f": NOW + HOUR})
    (found,) = _found(images=(_image("failed", retry_at=NOW + 2 * HOUR),), outlook=outlook)

    assert found.next == "tried again after 2026-11-22 14:00 UTC"


def test_what_a_wrong_clock_put_off_is_looked_at_in_the_next_pass():
    (found,) = _found(images=(_image("failed", retry_at=NOW + 20 * DAY),), outlook=Outlook({"f": NOW + HOUR}))

    assert found.next == "looked at again at 2026-11-22 13:00 UTC"


def test_an_exit_code_is_not_told_beside_what_it_stands_for():
    assert _found(code=1, outlook=Outlook(troubles={"f": "ended with exit code 1"})) == ()


def test_a_pass_that_was_killed_is_told_with_its_reason():
    found = _found(code=-1, outlook=Outlook(troubles={"f": "was ended by SIGKILL"}))

    assert "was ended by SIGKILL" in {one.text for one in found}
    assert level(found) == "critical"


def test_a_pass_that_could_not_begin_is_told_once_with_the_reason_where_that_is_known():
    known = _found(code=2, outlook=Outlook(troubles={"f": "trust.anchors: is not there"}))

    assert [(one.matter, one.text) for one in known] == [("pass", "trust.anchors: is not there")]
    assert [(one.matter, one.level) for one in _found(code=2)] == [("pass", Level.WARNING)]


def test_a_target_that_failed_is_told():
    (found,) = _found(_run(HOUR, error="no route"), _run(2 * HOUR))

    assert (found.matter, found.text, found.since) == ("target", "no route", NOW - HOUR)


def test_a_clock_that_is_not_believed_and_a_bad_configuration_are_told():
    found = _found(_run(clock="clock"), outlook=Outlook(complaint="configuration not reloaded: x"))

    assert [one.matter for one in found] == ["clock", "configuration"]


def test_since_when_passes_configuration_and_state_are_in_trouble_is_told():
    outlook = Outlook(
        troubles={"(housekeeping)": "was ended by SIGKILL"},
        complaint="configuration not reloaded: x",
        state="is full",
        since={"(housekeeping)": NOW - HOUR},
        complaint_since=NOW - 2 * HOUR,
        state_since=NOW - 3 * HOUR,
    )
    found = {one.matter: one.since for one in _found(outlook=outlook)}

    assert found == {"pass": NOW - HOUR, "configuration": NOW - 2 * HOUR, "state": NOW - 3 * HOUR}


def test_nothing_is_told_of_a_list_that_is_switched_off():
    assert _found(_run(verdict="unavailable"), enabled=False) == ()


@pytest.mark.parametrize(
    ("scope", "name", "matter"),
    [(Pausable.LIST, "f", "list"), (Pausable.TARGET, "site", "target"), (Pausable.ALL, "", "everything")],
)
def test_a_pause_is_told_in_place_of_what_it_holds(scope, name, matter):
    pause = PauseRecord(scope, name, "an upgrade", "ops@host", NOW - DAY, NOW + DAY)
    error = "no route" if scope is not Pausable.LIST else ""
    (found,) = _found(_run(error=error), images=(_image("held"), _image("missing", 9 * DAY)), pauses=(pause,))

    assert (found.level, found.matter, found.subject) == (Level.WARNING, matter, name)
    assert (found.text, found.next) == ("is paused by ops@host: an upgrade", "goes on at 2026-11-23 12:00 UTC")


def test_other_bytes_are_told_whatever_is_paused():
    pause = PauseRecord(Pausable.ALL, "", "an upgrade", "ops@host", NOW - DAY)
    found = _found(images=(_image("tampered"),), pauses=(pause,))

    assert [one.matter for one in found] == ["tampered", "everything"]


def test_a_pause_that_is_over_is_nothing_to_find():
    over = PauseRecord(Pausable.LIST, "f", "an upgrade", "ops@host", NOW - DAY, NOW)

    assert _found(pauses=(over,)) == ()
