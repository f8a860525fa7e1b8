"""Times on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

import click

MOST_DAYS = 365_000
"""How many days may be added to now."""

_EARLIEST, _LATEST = 1900, 9900
"""What leaves room to add and to take away whatever a policy says."""


class _Moment(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return an aware datetime in UTC; without an offset the text means UTC."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no ISO 8601 time such as 2026-11-22T12:00:00Z", param, ctx)
        try:
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except OverflowError:
            moment = datetime.max.replace(tzinfo=UTC)
        if not _EARLIEST <= moment.year <= _LATEST:
            self.fail(f"{value!r} lies outside of the years {_EARLIEST} to {_LATEST}", param, ctx)
        return moment


MOMENT = _Moment()
