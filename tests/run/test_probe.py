"""What a monitoring plug-in says of a situation."""

from datetime import UTC, datetime, timedelta

import pytest

from imagesync.model import Accepted, Digest, Identity, ImageKey, Signer
from imagesync.run.history import ListWord, RunDigest, TargetWord
from imagesync.run.notice import End, Matter
from imagesync.run.probe import Code, Limits, answer
from imagesync.run.situation import Facts, Followed, Kept, Outlook, situation
from imagesync.state import ImageRecord, PassRecord, Pausable, PauseRecord

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def _accepted(verified=HOUR, created=DAY, expires=30 * DAY, ends=300 * DAY):
    signer = Signer(Identity("/CN=a", "/CN=b"), NOW + ends, "0" * 64)
    return Accepted("f", "list", "1", Digest("0"), NOW - created, NOW + expires, NOW - verified, signer, {})


def _image(state="published", since=HOUR, title="Image"):
    return ImageRecord(ImageKey("", "list", title), title, state, "why", NOW - since, None, "raw")


def _run(ago=HOUR, verdict="trusted", error="", finished=True, clock="trusted"):
    began = NOW - ago
    words = (ListWord("f", verdict, "rollback: lower"),), (TargetWord("site", error),)
    return RunDigest("r", "sync", began, began if finished else None, 0, clock if finished else "", *words)


def _pause(until=None):
    return (PauseRecord(Pausable.ALL, "", "an upgrade", "ops@host", NOW - 9 * DAY, until),)


def _last(code, ago=HOUR / 2, failures=1):
    return PassRecord("f", NOW - ago, code, failures, None, "")


def _ask(accepted=None, images=(), runs=None, limits=None, ends=(), pauses=(), failing=None, last=None):
    facts = Facts(
        accepted={"f": accepted or _accepted()},
        images={"site": tuple(images)},
        runs=(_run(),) if runs is None else runs,
        ends={"f": ends},
        pauses=pauses,
        failing=failing or {},
        passes={"f": last} if last else {},
    )
    now = situation([Followed("f", "vo", "url", 6 * HOUR)], [Kept("site", "directory")], facts, Outlook(), NOW)
    return answer(now, limits or Limits())


def test_when_all_is_well_it_says_so_in_one_line_with_data():
    said = _ask(images=[_image()])

    assert said.code is Code.OK
    assert said.line().startswith("IMAGESYNC OK - 1 images of 1 lists published on 1 targets | 'f_age'=86400s;")
    assert "'f_expires'=2592000s;604800:;86400:" in said.line()
    assert "\n" not in said.line()


CASES = {
    "late a day": ({"images": [_image("failed", 25 * HOUR)]}, Code.WARNING, "1 images missing or outdated on site"),
    "late three days": ({"images": [_image("missing", 73 * HOUR)]}, Code.CRITICAL, "missing or outdated on site since 3 d 1 h"),
    "late for hours": ({"images": [_image("failed", 23 * HOUR)]}, Code.OK, "published"),
    "tampered": ({"images": [_image("tampered")]}, Code.CRITICAL, "hold other bytes"),
    "not verified": ({"accepted": _accepted(verified=25 * HOUR)}, Code.WARNING, "last fetched and verified 25 h ago"),
    "long not verified": ({"accepted": _accepted(verified=4 * DAY)}, Code.CRITICAL, "4 d 0 h ago"),
    "refused": ({"runs": (_run(verdict="refused"),)}, Code.CRITICAL, "list f is refused: rollback"),
    "old": ({"accepted": _accepted(created=91 * DAY)}, Code.WARNING, "no newer list was seen for 91 days"),
    "very old": ({"accepted": _accepted(created=181 * DAY)}, Code.CRITICAL, "no newer list was seen"),
    "expires soon": ({"accepted": _accepted(expires=2 * DAY)}, Code.WARNING, "the list ends at"),
    "expires now": ({"accepted": _accepted(expires=HOUR)}, Code.CRITICAL, "the list ends at"),
    "signer ends": ({"accepted": _accepted(ends=DAY)}, Code.CRITICAL, "/CN=a ends at"),
    "clock": ({"runs": (_run(clock="clock"),)}, Code.CRITICAL, "clock does not fit"),
    "target": ({"runs": (_run(error="no route"), _run(30 * HOUR, error="no route"))}, Code.WARNING, "target site: no route"),
    "target for days": ({"runs": (_run(error="no route"),), "failing": {"site": NOW - 4 * DAY}}, Code.CRITICAL, "site: no route"),
    "crashed": ({"last": _last(-1, failures=9)}, Code.CRITICAL, "list f: its last pass ended without a result (9 in a row"),
    "crashed, and synced by hand since": ({"last": _last(-1, ago=2 * HOUR)}, Code.OK, "published"),
    "no pass possible": ({"last": _last(2)}, Code.WARNING, "list f: its last pass ended with exit code 2"),
    "failed": ({"last": _last(5, failures=9)}, Code.OK, "published"),
    "paused": ({"pauses": _pause(NOW + DAY)}, Code.OK, "published on 1 targets; everything is paused until 2026-11-23T12:00:00Z by ops"),
    "paused without end": ({"pauses": _pause()}, Code.WARNING, "everything is paused until imagesync resume by ops"),
    "late while paused": ({"pauses": _pause(NOW + DAY), "images": [_image("missing", 9 * DAY)]}, Code.OK, "is paused"),
    "not verified while paused": ({"pauses": _pause(NOW + DAY), "accepted": _accepted(verified=9 * DAY)}, Code.OK, "is paused"),
    "daemon late": ({"limits": Limits(regular={"f": NOW - 2 * HOUR})}, Code.WARNING, "list f was due 2 h ago"),
    "daemon dead": ({"limits": Limits(regular={"f": NOW - 7 * HOUR})}, Code.CRITICAL, "daemon is not at work"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_tells(name):
    given, code, text = CASES[name]
    said = _ask(**given)

    assert (said.code, text in said.line()) == (code, True), said.line()


def test_a_revocation_list_that_ends_is_told():
    ends = (End(Matter.CERTIFICATE_EXPIRY, "signer", NOW + 9 * DAY), End(Matter.CRL_EXPIRY, "the CRL of b", NOW + HOUR))

    assert "the CRL of b ends at" in _ask(ends=ends).line()


def test_a_pass_that_goes_on_keeps_the_daemon_alive():
    late = Limits(regular={"f": NOW - 7 * HOUR})

    assert _ask(runs=(_run(finished=False), _run()), limits=late).code is Code.OK


def test_a_pass_that_was_killed_does_not_hide_that_nobody_is_at_work():
    late = Limits(regular={"f": NOW - 7 * HOUR}, at_work=False)

    assert _ask(runs=(_run(finished=False), _run()), limits=late).code is Code.CRITICAL


def test_before_any_pass_it_does_not_know():
    now = situation([Followed("f", "vo", "url", HOUR)], [Kept("site", "directory")], Facts(), Outlook(), NOW)

    assert answer(now, Limits()).line() == "IMAGESYNC UNKNOWN - no pass has been made yet"


def test_hostile_titles_stay_in_the_line_and_before_its_data():
    nasty = "x\n| 'evil'=1 \x1b[31m" * 10_000
    line = _ask(images=[_image("failed", 80 * HOUR, nasty)]).line()

    assert "\n" not in line
    assert "\x1b" not in line
    assert line.count("|") == 1
    assert len(line) < 2000
