"""What of a pass is news: told once, whatever the next passes see."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from imagesync.daemon.notify.events import EventKind, Passed, news, of_change
from imagesync.state import ChangeRecord

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TRUSTED = {"name": "vo", "verdict": "trusted", "reason": "", "notices": []}
REFUSED = {**TRUSTED, "verdict": "refused", "reason": "bad signature"}
UNAVAILABLE = {**TRUSTED, "verdict": "unavailable", "reason": "503"}
NOTICE = {"level": "warning", "matter": "certificate", "subject": "CN=x", "at": "", "text": "ends soon"}


def action(kind="keep", cause="same", outcome="done", key="p:list/one", error=None):
    return {
        "kind": kind,
        "key": key,
        "title": "One",
        "cause": cause,
        "reason": "why",
        "outcome": outcome,
        "error": error,
    }


def passed(listing=TRUSTED, *actions, error=None, subscription="vo", crash=""):
    target = {"name": "site", "outcome": "done", "error": error, "notices": [], "actions": list(actions)}
    report = {} if crash else {"run": "r", "lists": [listing], "targets": [target]}
    return Passed(subscription, NOW, report, crash)


def told(passed, known=()):
    return [(event.kind, event.text) for event in news(passed, known).events]


def test_a_quiet_pass_is_no_news():
    assert told(passed(TRUSTED, action())) == []


@pytest.mark.parametrize(
    ("bad", "kind", "text"),
    [
        (passed(REFUSED), EventKind.REFUSED, "list vo refused: bad signature"),
        (passed(UNAVAILABLE), EventKind.FAILURE, "list vo unavailable: 503"),
        (passed({**TRUSTED, "notices": [NOTICE]}), EventKind.ATTENTION, "list vo: ends soon"),
        (passed(TRUSTED, error="no login"), EventKind.FAILURE, "target site: no login"),
        (
            passed(TRUSTED, action("register", "new", "failed", error="404")),
            EventKind.FAILURE,
            "target site: image One: 404",
        ),
        (
            passed(TRUSTED, action("hold", "guard", "held")),
            EventKind.HELD,
            "target site: the guard holds removals of vo back: why",
        ),
        (passed(crash="was ended by SIGKILL"), EventKind.FAILURE, "pass over vo: was ended by SIGKILL"),
    ],
    ids=lambda value: value if isinstance(value, EventKind) else "",
)
def test_a_trouble_is_told_when_it_begins_and_when_it_ends_and_not_between(bad, kind, text):
    first = news(bad, ())

    assert [(event.kind, event.text) for event in first.events] == [(kind, text)]
    assert told(bad, first.begun) == []
    good = news(passed(TRUSTED, action()), first.begun)
    assert [(event.kind, event.text) for event in good.events] == [(EventKind.RECOVERY, f"good again: {text}")]
    assert good.ended == {first.begun[0].key}


@pytest.mark.parametrize("bad", [passed(REFUSED), passed(TRUSTED, action("register", "new", "failed"))])
def test_what_another_list_does_ends_no_trouble(bad):
    known = news(bad, ()).begun
    other = passed({**TRUSTED, "name": "other"}, subscription="other")

    assert told(other, known) == []


def test_a_target_that_fails_for_every_list_is_told_once():
    known = news(passed(TRUSTED, error="no login"), ()).begun

    assert told(passed({**TRUSTED, "name": "other"}, error="no login", subscription="other"), known) == []


def test_what_is_not_looked_at_is_not_good_again():
    image = news(passed(TRUSTED, action("register", "new", "failed")), ()).begun
    notice = news(passed({**TRUSTED, "notices": [NOTICE]}), ()).begun

    assert told(passed(TRUSTED, error="no login"), image)[1:] == []
    assert [kind for kind, _ in told(passed(UNAVAILABLE), notice)] == [EventKind.FAILURE]


@pytest.mark.parametrize(
    "bad",
    [passed(REFUSED), passed(TRUSTED, error="no login"), passed(TRUSTED, action("register", "new", "failed"))],
    ids=["list", "target", "image"],
)
def test_what_is_paused_is_neither_bad_nor_good_again(bad):
    known = news(bad, ()).begun
    pause = {"reason": "why", "by": "ops", "since": "", "until": None}
    listing = {**UNAVAILABLE, "followed": False, "paused": pause}
    quiet = passed(listing, action("hold", "paused", "held"))
    quiet.report["targets"][0]["paused"] = pause

    assert told(quiet, known) == []


def test_of_a_paused_list_no_image_is_good_again():
    known = news(passed(TRUSTED, action("register", "new", "failed")), ()).begun

    assert told(passed({**UNAVAILABLE, "followed": False}), known) == []


def test_what_gets_worse_is_not_good_again():
    warned = news(passed({**TRUSTED, "notices": [NOTICE]}), ())
    worse = passed({**TRUSTED, "notices": [{**NOTICE, "level": "critical", "text": "ends tomorrow"}]})
    again = news(worse, warned.begun)

    assert [(event.kind, event.text) for event in again.events] == [(EventKind.ATTENTION, "list vo: ends tomorrow")]
    assert again.ended == {warned.begun[0].key}


def test_a_list_that_cannot_be_had_is_still_refused():
    known = news(passed(REFUSED), ()).begun
    both = news(passed(UNAVAILABLE), known)

    assert [event.kind for event in both.events] == [EventKind.FAILURE]
    assert told(passed(REFUSED), [*known, *both.begun]) == []
    assert [kind for kind, _ in told(passed(TRUSTED), [*known, *both.begun])] == [EventKind.RECOVERY] * 2


def test_a_target_that_somebody_else_works_on_is_no_news():
    locked = passed(TRUSTED, error="is locked")
    locked.report["targets"][0]["error_reason"] = "locked"
    known = news(passed(TRUSTED, error="no login"), ()).begun

    assert told(locked, ()) == told(locked, known) == []


def test_back_off_does_not_end_a_failure():
    known = news(passed(TRUSTED, action("register", "new", "failed")), ()).begun

    assert told(passed(TRUSTED, action("skip", "back-off", "skipped")), known) == []


def test_what_became_of_an_image_is_told_with_an_id_that_stays():
    change = ChangeRecord("withdrawn", NOW, "vo", "site", "p:list/one", "One", "retire One on site: why", "r", 7)
    event = of_change(change)

    assert (event.kind, event.subscription, event.target, event.key) == (
        EventKind.WITHDRAWN,
        "vo",
        "site",
        "p:list/one",
    )
    assert event.as_json()["id"] == of_change(replace(change, number=8)).as_json()["id"]
    assert event.as_json()["id"] != of_change(replace(change, key="p:list/two")).as_json()["id"]


def test_housekeeping_that_fails_is_told_until_it_works():
    first = news(Passed("(housekeeping)", NOW, crash="ended with exit code 1"), ())

    assert [event.text for event in first.events] == ["pass over (housekeeping): ended with exit code 1"]
    assert [kind for kind, _ in told(Passed("(housekeeping)", NOW), first.begun)] == [EventKind.RECOVERY]


def test_a_trouble_keeps_when_it_began():
    first = news(passed(REFUSED), ()).begun
    later = Passed("vo", NOW + timedelta(days=1), passed(REFUSED).report)

    assert news(later, first).begun == ()


def test_no_title_hides_what_is_wrong_or_steers_a_terminal():
    bad = {
        **action("register", "new", "failed", error="the digest is another"),
        "title": "\x1b[2J\u202e" + "long\n" * 200_000,
    }
    change = ChangeRecord("published", NOW, "vo", "site", "p:list/one", bad["title"], "published it\x1b\nand more")
    (failed,) = news(passed(TRUSTED, bad), ()).events
    told = [event.as_json() for event in (failed, of_change(change))]

    assert told[0]["text"].endswith(": the digest is another")
    assert told[1]["text"] == "published it\N{REPLACEMENT CHARACTER} and more"
    assert max(len(one[name]) for one in told for name in ("text", "title")) <= 1000
    assert all(one[name].isprintable() for one in told for name in ("text", "title"))
