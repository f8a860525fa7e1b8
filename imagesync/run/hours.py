"""When images may be downloaded and converted: the times of day of ``limits.heavy_work``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from datetime import time as clock

Span = tuple[clock, clock]
"""From when to when on the clock on the wall; over midnight where the second is not later than the first."""

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Hours:
    """The times for heavy work, as seen from one moment.

    Heavy work may begin for ``left`` seconds from ``since`` on, which is on the monotonic clock, and again at
    ``opens``; with ``None`` at any time.
    """

    left: float | None = None
    opens: datetime | None = None
    since: float = field(default_factory=time.monotonic)

    def objection(self) -> str:
        """Return why nothing heavy may begin now, or an empty string."""
        if self.left is None or time.monotonic() - self.since < self.left:
            return ""
        return f"waits until {self.opens:%Y-%m-%d %H:%M %Z}, when limits.heavy_work allows downloads and conversions"


def hours(spans: Sequence[Span], now: datetime) -> Hours:
    """Return the times for heavy work as seen from ``now``. The spans are in the time zone of this machine."""
    open_times = _joined(sorted(_periods(spans, now.astimezone())))
    current = next((end for start, end in open_times if start <= now < end), now)
    if not spans or current - now > _DAY:
        return Hours()
    opens = next(start for start, _ in open_times if start > current)
    return Hours((current - now).total_seconds(), opens)


def _periods(spans: Iterable[Span], now: datetime) -> Iterator[tuple[datetime, datetime]]:
    for start, end in spans:
        for days in range(-1, 4):
            day = now.date() + timedelta(days=days)
            # Without a zone these are what the clock on the wall shows, also across a change to summer time.
            begins = datetime.combine(day, start).astimezone()
            ends = datetime.combine(day + (_DAY if end <= start else timedelta()), end).astimezone()
            yield begins, ends


def _joined(periods: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    joined: list[tuple[datetime, datetime]] = []
    for start, end in periods:
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined
