"""What is told ahead: pure, of one clock, and exact at its limits."""

from datetime import UTC, datetime, timedelta

import pytest

from imagesync.model import Accepted, Identity, Signer, Unknown, Verdict
from imagesync.run.notice import End, Level, Matter, NoticeRules, notices

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
UNKNOWN = Unknown("a", "vo", None, Verdict.UNAVAILABLE, "HTTP 503")
SECOND = timedelta(seconds=1)


def told(ends=(), *, age=timedelta(), left=timedelta(days=999), certificate=timedelta(days=999)):
    signer = Signer(Identity("/CN=a", "/CN=b"), NOW + certificate, "0" * 64)
    accepted = Accepted("a", "list", "1", "0" * 128, NOW - age, NOW + left, NOW, signer, {})
    return [(one.level, one.matter) for one in notices(UNKNOWN, accepted, ends, NoticeRules(), NOW)]


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(days=90) - SECOND, []),
        (timedelta(days=90), [(Level.WARNING, Matter.LIST_AGE)]),
        (timedelta(days=180) - SECOND, [(Level.WARNING, Matter.LIST_AGE)]),
        (timedelta(days=180), [(Level.CRITICAL, Matter.LIST_AGE)]),
        (timedelta(days=-1), []),
    ],
)
def test_age_is_told_from_its_limits_on(age, expected):
    assert told(age=age) == expected


@pytest.mark.parametrize(
    ("matter", "warning", "critical"),
    [(Matter.LIST_EXPIRY, 7, 1), (Matter.CERTIFICATE_EXPIRY, 30, 7), (Matter.CRL_EXPIRY, 3, 1)],
)
def test_an_end_is_told_ahead_from_its_limits_on(matter, warning, critical):
    def at(left):
        return told([End(matter, "it", NOW + left)])

    assert at(timedelta(days=warning) + SECOND) == []
    assert at(timedelta(days=warning)) == [(Level.WARNING, matter)]
    assert at(timedelta(days=critical) + SECOND) == [(Level.WARNING, matter)]
    assert at(timedelta(days=critical)) == at(-SECOND) == [(Level.CRITICAL, matter)]


def test_the_most_urgent_comes_first():
    found = told(age=timedelta(days=100), left=timedelta(hours=1), certificate=timedelta(days=20))

    assert found == [
        (Level.CRITICAL, Matter.LIST_EXPIRY),
        (Level.WARNING, Matter.CERTIFICATE_EXPIRY),
        (Level.WARNING, Matter.LIST_AGE),
    ]


def test_of_a_list_that_was_never_accepted_or_is_switched_off_nothing_is_told():
    assert notices(UNKNOWN, None, (), NoticeRules(), NOW) == notices(None, None, (), NoticeRules(), NOW) == ()
