"""From values to pages. Whatever is shown goes through ``shown``: strangers write the titles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from imagesync.plan.render import one_line

LONGEST = 300
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_SPANS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def shown(value: object, most: int = LONGEST) -> object:
    """Return what a template shows of ``value``: one line, cut, without what steers; the template escapes it."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return ""
    return one_line(str(value), most)


def size(count: float) -> str:
    """Return a number of bytes in the unit that fits."""
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 or count >= 100 else f"{count:.1f} {_UNITS[unit]}"


def span(length: timedelta | float) -> str:
    """Return a length of time in its two largest units."""
    left = int(abs(length.total_seconds() if isinstance(length, timedelta) else length))
    parts: list[tuple[int, str]] = []
    for seconds, unit in _SPANS:
        number, left = divmod(left, seconds)
        if number or parts:
            parts.append((number, unit))
    return " ".join(f"{number} {unit}" for number, unit in parts[:2] if number) or "0 s"


def relative(at: datetime, now: datetime) -> str:
    """Return how far ``at`` is from ``now``, in words."""
    if abs(at - now) < timedelta(seconds=1):
        return "now"
    return f"in {span(at - now)}" if at > now else f"{span(now - at)} ago"


def when(at: datetime | None, now: datetime) -> Markup:
    """Return a time for people, with how far it is from ``now``."""
    if at is None:
        return Markup('<span class="none">\N{EN DASH}</span>')
    return Markup('<time datetime="{}"><span class="at">{}</span> <span class="ago">{}</span></time>').format(
        f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", f"{at.astimezone(UTC):%Y-%m-%d %H:%M}", relative(at, now)
    )


def digest(text: str | None) -> Markup:
    """Return a digest that does not need the width of a page; copying gives all of it."""
    cleaned = str(shown(text or ""))
    if not cleaned:
        return Markup('<span class="none">\N{EN DASH}</span>')
    return Markup('<code class="digest">{}</code>').format(cleaned)


def name(dn: str) -> str:
    """Return the last part of a distinguished name; the whole one stands on the list's own page."""
    return dn[dn.rfind("/CN=") + 4 :] if "/CN=" in dn else dn


@cache
def environment() -> Environment:
    """Return what renders the templates."""
    made = Environment(
        loader=PackageLoader("imagesync.daemon.web"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(size=size, span=span, when=when, digest=digest, name=name)
    return made


def page(template: str, **values: object) -> str:
    """Return a page."""
    return environment().get_template(template).render(**values)
