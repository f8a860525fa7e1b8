from __future__ import annotations

from datetime import time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync.config.values import (
    format_duration,
    format_size,
    format_span,
    parse_cron,
    parse_duration,
    parse_format,
    parse_size,
    parse_span,
)
from imagesync.model import Format


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("72h", timedelta(hours=72)),
        ("30d", timedelta(days=30)),
        ("2w", timedelta(days=14)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        (0, timedelta()),
        ("0", timedelta()),
    ],
)
def test_durations_have_units(text: object, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "6", 6, 6.5, "h", "-6h", "6 hours", "1h 30m", True, False, None, [], "99999999w"])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"write a (number with its unit|shorter time)"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20GiB", 20 << 30),
        ("1.5TiB", 3 << 39),
        ("500MB", 500_000_000),
        ("16 MiB", 16 << 20),
        ("100B", 100),
        ("100", 100),
        (100, 100),
        (0, 0),
    ],
)
def test_sizes_have_units_or_are_bytes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GiB", "-1", -1, 1.5, "1 GB extra", "20gib", "1e9", "9" * 400 + ".5", True, None, []]
)
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="write a number with its unit"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=1 << 60))
def test_a_size_is_read_as_it_is_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(min_value=0, max_value=3_000_000_000))
def test_a_duration_is_read_as_it_is_written(seconds: int) -> None:
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize(("name", "form"), [("qcow2", Format.QCOW2), ("VHD", Format.VHD), ("vpc", Format.VHD)])
def test_formats_are_known_by_name(name: str, form: Format) -> None:
    assert parse_format(name) is form


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("22:00-06:00", (time(22), time(6))),
        ("00:00-00:01", (time(0), time(0, 1))),
        ("12:30-24:00", (time(12, 30), time(0))),
    ],
)
def test_spans_are_two_times_of_the_day(text: str, span: tuple[time, time]) -> None:
    assert parse_span(text) == span
    assert parse_span(format_span(span)) == span


@pytest.mark.parametrize("text", ["", "22-06", "24:00-06:00", "22:00-06:60", "22:00 - 06:00", "9:00-10:00", 22, None])
def test_what_is_no_span_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="write from when to when"):
        parse_span(text)


@pytest.mark.parametrize("text", ["12:00-12:00", "00:00-24:00"])
def test_a_span_of_no_length_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="leave it out if any time will do"):
        parse_span(text)


@pytest.mark.parametrize("text", ["0 2 * * 1", "0 0 31 2 *", "0 2 * *", "61 * * * *"])
def test_what_is_no_time_of_a_week_or_never_comes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"weekday|never comes|cron"):
        parse_cron(text)
