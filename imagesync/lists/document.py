"""The JSON document of an image list on the publisher's side: its keys, its text, and what a site would refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

_LIST_KEYS = ("dc:identifier", "dc:date:created", "dc:date:expires", "hv:version", "hv:endorser", "hv:images")
_IMAGE_KEYS = ("dc:identifier", "hv:uri", "hv:size", "hv:version", "sl:checksum:sha512")
_SHA512 = re.compile(r"[0-9a-f]{128}")


def dump(document: Mapping[str, Any]) -> bytes:
    r"""Return the document as JSON text that survives every transport: ASCII only, LF line ends, ``\u`` escapes."""
    return (json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii")


def timestamp(moment: datetime) -> str:
    """Return ``moment`` as lists write dates: ``2026-01-31T23:59:59Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def problems(document: Mapping[str, Any], now: datetime) -> list[str]:
    """Return one line for each thing in the document for which a site would refuse the list or skip an image."""
    content = document["hv:imagelist"]
    missing = [f"{key} is missing" for key in _LIST_KEYS if key not in content]
    return [*missing, *_date_problems(content, now), *_image_problems(content.get("hv:images"))]


def _date_problems(content: Mapping[str, Any], now: datetime) -> Iterator[str]:
    dates: dict[str, datetime] = {}
    for key in ("dc:date:created", "dc:date:expires"):
        if key not in content:
            continue
        moment = _moment(content[key])
        if moment is None:
            yield f"{key} is no date with a time zone: {content[key]!r}"
        else:
            dates[key] = moment
    if dates.get("dc:date:created", now) > now:
        yield f"dc:date:created lies in the future: {content['dc:date:created']}"
    if "dc:date:expires" in dates and dates["dc:date:expires"] <= now:
        yield f"dc:date:expires has passed: {content['dc:date:expires']}"


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _image_problems(entries: object) -> Iterator[str]:
    if not isinstance(entries, list):
        yield "hv:images is no array"
        return
    seen: set[str] = set()
    for position, entry in enumerate(entries):
        image = entry.get("hv:image") if isinstance(entry, dict) else None
        if not isinstance(image, dict):
            yield f"hv:images[{position}] holds no hv:image"
            continue
        yield from (f"hv:images[{position}]: {problem}" for problem in _entry_problems(image))
        identifier = str(image.get("dc:identifier"))
        if identifier in seen:
            yield f"hv:images[{position}]: dc:identifier {identifier} stands twice"
        seen.add(identifier)


def _entry_problems(image: Mapping[str, Any]) -> Iterator[str]:
    missing = [key for key in _IMAGE_KEYS if image.get(key) in (None, "")]
    yield from (f"{key} is missing" for key in missing)
    if "sl:checksum:sha512" not in missing and not _SHA512.fullmatch(str(image["sl:checksum:sha512"]).lower()):
        yield "sl:checksum:sha512 is not 128 hexadecimal digits"
    if "hv:size" not in missing and not str(image["hv:size"]).isdecimal():
        yield f"hv:size is no number of bytes: {image['hv:size']!r}"
