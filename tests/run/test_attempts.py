"""When to ask again for an image that could not be got."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest

from imagesync.backend import ImageKey, Metadata
from imagesync.errors import (
    BackendUnavailableError,
    BundleError,
    CacheDamagedError,
    DigestMismatchError,
    HostileImageError,
    HttpStatusError,
    ImagesyncError,
    NoSpaceError,
    UnreachableError,
)
from imagesync.model import Digest, Fingerprint, Format, Image, ImageId, ListId
from imagesync.plan.spec import File, Wanted
from imagesync.plan.values import Action, Cause, Kind
from imagesync.run.apply import Ending, Outcome
from imagesync.run.attempts import Known, alarms, learn, unready
from imagesync.run.record import LAST_RETRY

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
NO_ROUTE = UnreachableError("a", "no route")
OTHER_BYTES = DigestMismatchError("a", "SHA-512 is other")
KEY = (ListId("list"), ImageId("a"))
FILE = File(Fingerprint("f"), Digest("a" * 128), 10, 10, Format.RAW, Format.RAW)


def wanted(owner: str = "project", sha512: str = "a", version: str = "1", uri: str = "https://h/a") -> Wanted:
    texts = dict.fromkeys(("description", "version", "mpuri", "architecture", "os_name", "os_version"), "")
    digest = Digest(sha512 * 128)
    image = Image(
        identifier=ImageId("a"),
        title="Image a",
        uri=uri,
        sha512=digest,
        size=10,
        expires=None,
        ram_min=0,
        cores_min=0,
        raw={},
        **texts,
    )
    key = ImageKey(owner, *KEY)
    return Wanted(key, "fedcloud", image, Metadata("Image a", properties={"imagesync_list_version": version}), {})


def outcome(error: ImagesyncError | None, item: Wanted | None = None) -> Outcome:
    item = item or wanted()
    action = Action(Kind.REGISTER, item.key, item.title, Cause.NEW, "", wanted=item)
    return Outcome(action, Ending.FAILED if error else Ending.DONE, error, file=None if error else FILE)


def after(*errors: ImagesyncError | None, known: Known | None = None, every: timedelta = HOUR, **more: str) -> Known:
    """Return what is known after passes that ended so, one each."""
    known = dict(known or {})
    for number, error in enumerate(errors):
        failed, got = learn([outcome(error, wanted(**more))], known, NOW + number * every)
        known = {key: one for key, one in known.items() if key not in got}
        known |= {(one.list, one.image): one for one in failed}
    return MappingProxyType(known)


def waits(errors: Sequence[ImagesyncError]) -> list[timedelta]:
    return [after(*errors[: n + 1])[KEY].retry_at - (NOW + n * HOUR) for n in range(len(errors))]


def test_the_wait_doubles_up_to_a_day_and_is_spread() -> None:
    found = waits([NO_ROUTE] * 12)

    for number, wait in enumerate(found):
        least = min(timedelta(minutes=5) * 2**number, timedelta(hours=24))
        assert least <= wait <= min(least * 1.1, timedelta(hours=24))
    assert found[-1] == timedelta(hours=24)
    assert len({wait / (timedelta(minutes=5) * 2**number) for number, wait in enumerate(found[:6])}) > 1


def test_retry_after_is_honoured_but_not_for_ever() -> None:
    assert waits([HttpStatusError("a", 503, retry_after=7200.0)]) == [timedelta(hours=2)]
    assert waits([HttpStatusError("a", 503, retry_after=1e9)]) == [timedelta(hours=24)]


def test_what_will_not_become_better_is_looked_at_once_a_day() -> None:
    assert waits([HostileImageError("a", "refers to /etc/passwd")]) == [timedelta(hours=24)]


@pytest.mark.parametrize(
    "error",
    [
        NoSpaceError("cache", "full"),
        CacheDamagedError("image", "rotted"),
        BackendUnavailableError("site", "away"),
        BundleError("/b", "no image"),
    ],
)
def test_what_is_not_the_publishers_fault_is_not_put_down_to_the_image(error: ImagesyncError) -> None:
    assert after(error) == {}


def test_what_a_target_refuses_was_got_and_what_our_own_disk_refuses_was_not() -> None:
    assert after(NO_ROUTE, BackendUnavailableError("site", "away")) == {}
    assert after(NO_ROUTE, NoSpaceError("cache", "full")) == after(NO_ROUTE)


def test_an_image_that_was_got_is_forgotten() -> None:
    assert after(NO_ROUTE, NO_ROUTE, None) == {}


@pytest.mark.parametrize("kind", [Kind.KEEP, Kind.UPDATE, Kind.RESTORE])
def test_a_copy_that_is_there_does_not_make_another_one_forgotten(kind: Kind) -> None:
    # Another target's, or an older version that is retired: nothing was downloaded for it.
    known = after(NO_ROUTE)
    action = Action(kind, wanted().key, "Image a", Cause.CURRENT, "", wanted=wanted())

    assert learn([Outcome(action, Ending.DONE)], known, NOW + HOUR) == ([], set())


def test_several_targets_and_projects_of_one_pass_count_once() -> None:
    first = after(NO_ROUTE)
    both = [outcome(NO_ROUTE, wanted("one")), outcome(NO_ROUTE, wanted("two"))]

    assert [one.failures for one in learn(both, first, NOW)[0]] == [1]
    assert [one.failures for one in learn(both, first, NOW + HOUR)[0]] == [2]


def test_an_image_is_put_off_in_every_project_until_it_is_due() -> None:
    known = after(NO_ROUTE)
    items = [wanted("one"), wanted("two")]
    due = known[KEY].retry_at

    put_off = unready(known, items, NOW + timedelta(minutes=1))

    assert list(put_off) == [item.key for item in items]
    assert put_off[items[0].key].startswith("could not be got since 2026-03-01T12:00:00Z (1 attempts), next attempt at")
    assert "no route" in put_off[items[0].key]
    assert unready(known, items, due) == {}


def test_an_image_that_a_wrong_clock_put_off_is_due() -> None:
    known = after(HostileImageError("a", "refers to /etc/passwd"))

    assert known[KEY].retry_at - LAST_RETRY == NOW
    assert unready(known, [wanted()], NOW) != {}
    assert unready(known, [wanted()], NOW - timedelta(seconds=1)) == {}


@pytest.mark.parametrize("change", [{"version": "2"}, {"sha512": "b"}, {"uri": "https://elsewhere/a"}])
def test_news_from_the_publisher_lift_it(change: dict[str, str]) -> None:
    known = after(*[NO_ROUTE] * 3)

    assert unready(known, [wanted(**change)], NOW) == {}
    assert after(NO_ROUTE, known=known, **change)[KEY].failures == 1


def test_other_bytes_mean_for_a_day_that_the_publisher_is_not_ready() -> None:
    early = after(OTHER_BYTES)

    assert unready(early, [wanted()], NOW)[wanted().key].startswith("the publisher is not ready yet, next attempt at")
    assert alarms(early, [wanted()], NOW + 23 * HOUR) == []
    (text,) = alarms(early, [wanted()], NOW + 24 * HOUR)
    assert "tell the publisher" in text
    assert unready(after(*[OTHER_BYTES] * 30), [wanted()], NOW + 29 * HOUR)[wanted().key].startswith("could not be got")


def test_a_new_version_with_the_same_bytes_does_not_make_them_newer() -> None:
    known = after(OTHER_BYTES, known=after(OTHER_BYTES), version="2")

    assert known[KEY].since == NOW
    assert after(OTHER_BYTES, known={KEY: replace(known[KEY], since=NOW - HOUR)}, sha512="b")[KEY].since == NOW


def test_what_fails_for_three_days_or_ten_times_is_told_once_for_all_projects() -> None:
    items = [wanted("one"), wanted("two")]

    assert alarms(after(*[NO_ROUTE] * 9), items, NOW + 9 * HOUR) == []
    (often,) = alarms(after(*[NO_ROUTE] * 10), items, NOW + 10 * HOUR)
    (long,) = alarms(after(NO_ROUTE), items, NOW + timedelta(days=3))
    assert often.startswith("image Image a of fedcloud could not be got since 2026-03-01T12:00:00Z (10 attempts)")
    assert "no route" in long
