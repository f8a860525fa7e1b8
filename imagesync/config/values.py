"""The kinds of values that options have: durations, sizes, paths, words, formats."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)

from imagesync.model import Format

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+")
_PARTS = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_LONGEST = timedelta(days=36_500)

_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)")

_UNITS = {"": 1, "B": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("KMGT", start=1)
    for suffix, base in (("iB", 1024), ("B", 1000))
}
_SIZE = re.compile(r"(\d{1,30}(?:\.\d+)?)\s*([A-Za-z]*)")


def parse_duration(value: object) -> timedelta:
    """Return what ``72h``, ``30d`` or ``1h30m`` stands for; units are s, m, h, d, w. ``0`` needs none.

    Raises:
        ValueError: not of this form, or over a hundred years.
    """
    if isinstance(value, timedelta):
        return value
    text = str(value).strip() if isinstance(value, str | int) else ""
    if text == "0":
        return timedelta()
    if not _DURATION.fullmatch(text):
        raise ValueError("is no duration: write a number with its unit, like 90s, 15m, 72h or 30d")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PARTS.findall(text))
    if seconds > _LONGEST.total_seconds():
        raise ValueError("is over a hundred years: write a shorter time")
    return timedelta(seconds=seconds)


def format_duration(value: timedelta) -> str:
    """Return ``value`` in the largest unit in which it is whole, as ``parse_duration`` reads it."""
    seconds = value.total_seconds()
    unit = next((unit for unit in "dhms" if seconds and seconds % _SECONDS[unit] == 0), "s")
    return f"{seconds / _SECONDS[unit]:.6f}".rstrip("0").rstrip(".") + unit


def parse_size(value: object) -> int:
    """Return the bytes that ``20GiB``, ``1.5TiB``, ``500MB`` or a plain number of bytes stand for.

    Raises:
        ValueError: not of this form, or negative.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2] not in _UNITS:
        raise ValueError("is no size: write a number with its unit, like 16MiB, 20GiB or 1TiB")
    unit: int = _UNITS[match[2]]
    return round(float(match[1]) * unit) if "." in match[1] else int(match[1]) * unit


def format_size(value: int) -> str:
    """Return ``value`` in the largest binary unit in which it is whole, as ``parse_size`` reads it."""
    unit = next((unit for unit in ("TiB", "GiB", "MiB", "KiB") if value and value % _UNITS[unit] == 0), "")
    return f"{value // _UNITS[unit]}{unit}" if unit else str(value)


def parse_span(value: object) -> tuple[time, time]:
    """Return from when to when ``22:00-06:00`` is; ``24:00`` ends a day.

    Raises:
        ValueError: not of this form, or of no length.
    """
    match = _SPAN.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError('is no time of the day: write from when to when, like "22:00-06:00"')
    start, end = time(int(match[1]), int(match[2])), time(int(match[3] or 0), int(match[4] or 0))
    if start == end:
        raise ValueError("begins when it ends: leave it out if any time will do")
    return start, end


def format_span(value: tuple[time, time]) -> str:
    """Return ``value`` as ``parse_span`` reads it."""
    return f"{value[0]:%H:%M}-{value[1]:%H:%M}"


def parse_path(value: object, info: ValidationInfo) -> Path:
    """Return an absolute path; a relative one is below the configuration file's directory (``info.context``).

    Raises:
        ValueError: empty, or begins with ``~``, which only a shell replaces.
    """
    if not isinstance(value, str | Path) or not str(value).strip():
        raise ValueError("is no path: write an absolute path, or one relative to the configuration file")
    if str(value).startswith("~"):
        raise ValueError("begins with ~, which is not replaced here: write the whole path")
    path = (info.context or {}).get("directory", Path()) / value
    if not path.is_absolute():
        raise ValueError("is a relative path: write an absolute one")
    return Path(path)


def parse_format(value: object) -> Format:
    """Return the disk format of that name; ``vhd`` is what qemu-img calls ``vpc``.

    Raises:
        ValueError: there is none of that name.
    """
    name = {"vhd": "vpc"}.get(str(value).lower(), str(value).lower())
    if name not in set(Format):
        raise ValueError(f"{value} is no disk format: write one of {', '.join(Format)} (or vhd for vpc)")
    return Format(name)


_ANY_DAY = datetime(2026, 1, 1, tzinfo=UTC)


def parse_cron(value: object) -> str:
    """Return a cron expression of five fields; weekdays by name, because programs count them differently.

    Raises:
        ValueError: not of this form.
    """
    from apscheduler.triggers.cron import CronTrigger  # rarely needed

    fields = value.split() if isinstance(value, str) else []
    if len(fields) != 5:
        raise ValueError("is no cron expression: write five fields, like '30 */6 * * *' or '0 2 * * mon-fri'")
    if re.search(r"\d", fields[4]):
        raise ValueError("has a number for a weekday, of which programs count in two ways: write mon, tue, ... sun")
    try:
        trigger = CronTrigger.from_crontab(" ".join(fields), timezone=UTC)
    except ValueError as error:
        raise ValueError(f"is no cron expression: {error}") from None
    if trigger.get_next_fire_time(None, _ANY_DAY) is None:
        raise ValueError("names a day that never comes")
    return " ".join(fields)


def off_for_false(value: object) -> object:
    """Return ``off`` for ``False``: that is how YAML 1.1 reads the word where nobody quotes it."""
    return "off" if value is False else value


def one_or_more(value: object) -> object:
    """Return a tuple of one for a single word; also for what is none, so that its finding is about the word."""
    return (value,) if isinstance(value, str | int | float) else value


def short_form(key: str) -> Callable[[Any], Any]:
    """Return a function that reads a single word as the option ``key`` of a mapping."""
    return lambda value: {key: value} if isinstance(value, str) else value


_DURATION_SCHEMA = {
    "type": ["string", "integer"],
    "pattern": r"^(0|([0-9]+(\.[0-9]+)?[smhdw])+)$",
    "maximum": 0,
    "minimum": 0,
    "x-kind": "duration",
}
_SIZE_SCHEMA = {
    "type": ["string", "integer"],
    "pattern": r"^[0-9]+(\.[0-9]+)? *([KMGT]i?B|B)?$",
    "minimum": 0,
    "x-kind": "size",
}
_WORDS_SCHEMA = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
    "x-kind": "glob or list of globs",
}

Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(_DURATION_SCHEMA),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str),
    WithJsonSchema(_SIZE_SCHEMA),
]
Span = Annotated[
    tuple[time, time],
    BeforeValidator(parse_span),
    PlainSerializer(format_span, return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": r"^[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]$", "x-kind": "time span"}
    ),
]
AbsolutePath = Annotated[
    Path,
    BeforeValidator(parse_path),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "x-kind": "path"}),
]
CronExpression = Annotated[
    str, BeforeValidator(parse_cron), WithJsonSchema({"type": "string", "x-kind": "cron expression"})
]
BootCheck = Annotated[Literal["off", "report", "require"], BeforeValidator(off_for_false)]
DiskFormat = Annotated[
    Format,
    BeforeValidator(parse_format),
    WithJsonSchema({"enum": [*map(str, Format), "vhd"]}),
]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", strict=True)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", strict=True)]
Text = Annotated[str, StringConstraints(min_length=1, strict=True, strip_whitespace=True)]
Globs = Annotated[tuple[Text, ...], BeforeValidator(one_or_more), Field(min_length=1), WithJsonSchema(_WORDS_SCHEMA)]
Count = Annotated[int, Field(strict=True, ge=0)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Flag = Annotated[bool, Field(strict=True)]


class Section(BaseModel):
    """A part of the configuration: cannot be changed, knows every key."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
