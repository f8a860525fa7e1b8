"""The times of day for heavy work, on this machine's clock."""

import time
from datetime import UTC, datetime
from datetime import time as clock

import pytest

from imagesync.run.hours import Hours, hours

NIGHT = (clock(22), clock(6))
NOON = (clock(12), clock(13, 30))


@pytest.fixture(autouse=True)
def vienna(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Vienna")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(text):
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("now", "hours_left"),
    [("2026-11-26 22:00", 8), ("2026-11-26 23:00", 7), ("2026-11-27 05:00", 1), ("2026-11-27 12:30", 1)],
)
def test_inside_a_time_it_is_known_how_long_it_lasts(now, hours_left):
    found = hours([NIGHT, NOON], at(now))

    assert found.left == hours_left * 3600
    assert found.objection() == ""


@pytest.mark.parametrize(
    ("now", "next_time"),
    [("2026-11-26 21:59", "26 22:00"), ("2026-11-27 06:00", "27 12:00"), ("2026-11-27 14:00", "27 22:00")],
)
def test_outside_it_is_said_when_the_next_one_begins(now, next_time):
    found = hours([NOON, NIGHT], at(now))

    assert f"{found.opens:%d %H:%M}" == next_time
    assert f"waits until 2026-11-{next_time} CET, when limits.heavy_work allows" in found.objection()


def test_without_times_any_time_will_do():
    assert hours([], at("2026-11-26 12:00")) == Hours(since=pytest.approx(time.monotonic(), abs=60))


def test_times_that_touch_are_one():
    found = hours([(clock(20), clock(0)), (clock(0), clock(4))], at("2026-11-26 21:00"))

    assert found.left == 7 * 3600
    assert f"{found.opens:%d %H:%M}" == "27 20:00"


def test_times_that_fill_the_day_are_any_time():
    assert hours([(clock(0), clock(12)), (clock(12), clock(0))], at("2026-11-26 21:00")).left is None


def test_the_clock_on_the_wall_counts_when_summer_time_ends():
    assert hours([NIGHT], at("2026-10-25 01:00")).left == 6 * 3600  # 02:00 to 03:00 comes twice


def test_what_is_open_shuts_when_its_time_is_over():
    ends = at("2026-11-27 06:00")

    assert Hours(60.0, ends).objection() == ""
    assert "waits until" in Hours(60.0, ends, since=time.monotonic() - 61).objection()
