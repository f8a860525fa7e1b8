"""When a list is due again."""

from datetime import UTC, datetime, timedelta

import pytest

from imagesync.daemon.due import Ended, due, record, spread
from imagesync.daemon.schedule import Rhythm
from imagesync.state import PassRecord

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REGULAR = NOW + timedelta(hours=6)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def passed(code=0, failures=0, retry_at=None, settings="a"):
    return PassRecord("list", NOW, code, failures, retry_at, settings)


def after(code, before=None, **facts):
    return record("list", "a", before, Ended(NOW, code, **facts))


def test_a_list_that_had_no_pass_is_due_at_once():
    assert due(None, "a", REGULAR, NOW) == NOW


def test_a_fresh_list_waits_for_its_regular_time():
    assert due(passed(), "a", REGULAR, NOW) == REGULAR


def test_a_last_pass_that_lies_ahead_is_not_believed():
    assert due(PassRecord("list", NOW + HOUR, 0, 0, None, "a"), "a", REGULAR, NOW) == NOW


def test_what_is_overdue_is_due_now():
    assert due(passed(), "a", NOW - MINUTE, NOW) == NOW


def test_another_configuration_is_looked_at_at_once():
    assert due(passed(failures=7, retry_at=REGULAR), "b", REGULAR, NOW) == NOW


def test_a_back_off_ends_at_the_regular_time_at_the_latest():
    assert due(passed(retry_at=REGULAR + MINUTE), "a", REGULAR, NOW) == REGULAR
    assert due(passed(retry_at=REGULAR - MINUTE), "a", REGULAR, NOW) == REGULAR - MINUTE


@pytest.mark.parametrize("code", [None, 1, 2, 3, 5])
def test_a_pass_that_got_nowhere_is_tried_again_later_and_later(code):
    first = after(code)
    second = after(code, first)
    third = after(code, second)

    assert [one.failures for one in (first, second, third)] == [1, 2, 3]
    assert [one.retry_at - NOW for one in (first, second, third)] == [5 * MINUTE, 10 * MINUTE, 20 * MINUTE]


def test_the_back_off_does_not_overflow_after_years():
    assert after(5, passed(5, 10**6)).retry_at > NOW


@pytest.mark.parametrize("code", [0, 4])
def test_a_good_pass_ends_the_back_off(code):
    assert (after(code, passed(5, 3)).failures, after(code).retry_at) == (0, None)


def test_an_image_that_failed_is_tried_when_its_own_back_off_is_over():
    assert after(1, passed(5, 3), image_retry=NOW + MINUTE) == passed(1, 0, NOW + MINUTE)


@pytest.mark.parametrize("code", [1, 4])
def test_what_failed_beside_images_is_tried_again_soon_whatever_images_wait_for(code):
    """A dead image, or a guard, must not make a short outage of a target last until the list's next regular time."""
    first = after(code, image_retry=NOW + 24 * HOUR, beside_images=True)
    second = after(code, first, image_retry=NOW + MINUTE, beside_images=True)

    assert (first.failures, first.retry_at) == (1, NOW + 5 * MINUTE)
    assert (second.failures, second.retry_at) == (2, NOW + MINUTE)


def test_a_lock_that_somebody_holds_is_no_failure():
    assert after(6, passed(5, 3)) == passed(6, 3, NOW + MINUTE)


def test_another_configuration_begins_to_count_anew():
    assert after(5, passed(5, 3, settings="b")).failures == 1


def test_an_interval_counts_from_the_last_pass():
    assert Rhythm(timedelta(hours=6)).after(NOW) == REGULAR


def test_a_cron_expression_gives_the_next_time_in_local_time():
    found = Rhythm(timedelta(hours=6), "30 2 * * mon").after(NOW).astimezone()

    assert (found.hour, found.minute, found.strftime("%a")) == (2, 30, "Mon")
    assert timedelta() < found - NOW <= timedelta(days=7)


def test_a_day_that_never_comes_is_far_away():
    assert Rhythm(timedelta(hours=6), "0 0 31 2 *").after(NOW).year == 9999


def test_sites_that_go_by_the_same_time_do_not_ask_all_at_once():
    ends = [NOW + timedelta(seconds=number) for number in range(50)]
    found = {spread(REGULAR, PassRecord("list", end, 0, 0, None, "a"), NOW, 5 * MINUTE) for end in ends}

    assert len(found) == 50
    assert REGULAR <= min(found) < REGULAR + MINUTE < REGULAR + 4 * MINUTE < max(found) <= REGULAR + 5 * MINUTE


def test_a_short_wait_varies_little_and_none_not_at_all():
    assert spread(NOW + 10 * MINUTE, passed(), NOW, HOUR) <= NOW + 11 * MINUTE
    assert spread(NOW, passed(), NOW, HOUR) == NOW
    assert spread(REGULAR, None, NOW, HOUR) == REGULAR
