"""What Glance can hold of names and properties. Pure.

Found out on Glance 33 and in its database's columns: a name or a property's name has at most 255 characters, a value is
a TEXT of 64 KiB, and characters beyond the first plane are refused wherever they stand.
"""

from __future__ import annotations

import json
import re

from imagesync.backend import RESERVED_PROPERTIES, Metadata

ATTRIBUTES = "APPLIANCE_ATTRIBUTES"
"""Read as JSON by cloud-info-provider, which publishes nothing at all of a site when one is no object."""

MPURI = "vmcatcher_event_ad_mpuri"
"""Compared byte by byte by accounting: never changed, at worst refused by Glance."""

RECORD = "imagesync_record"
"""The property in which this backend keeps what only it needs."""

LONGEST_NAME = 255
LONGEST_VALUE = 65_535
"""In bytes of UTF-8."""

_LARGEST_RAM = 2**31 - 1

_UNHOLDABLE = re.compile("[\ud800-\udfff\U00010000-\U0010ffff]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_BLANK = re.compile(r"[\x00-\x20\x7f]+")


def fit_metadata(metadata: Metadata) -> Metadata:
    """Return what Glance can hold of ``metadata``; fitting twice changes nothing more."""
    properties = {name: _fit_value(name, value) for name, value in metadata.properties.items() if is_property(name)}
    return Metadata(fit_name(metadata.name), properties, max(0, min(metadata.min_ram, _LARGEST_RAM)))


def fit_name(name: str) -> str:
    """Return an image's name on one line and of at most 255 characters; never empty."""
    text = _BLANK.sub(" ", _UNHOLDABLE.sub("\ufffd", name)).strip()
    return text[:LONGEST_NAME].rstrip() or "image"


def is_property(name: str) -> bool:
    """Return whether a property can have that name."""
    is_ours = name not in RESERVED_PROPERTIES | {RECORD} and not name.startswith("os_glance_")
    return is_ours and 0 < len(name) <= LONGEST_NAME and name.isprintable() and not _UNHOLDABLE.search(name)


def _fit_value(name: str, value: str) -> str:
    match name:
        case "vmcatcher_event_ad_mpuri":
            return value
        case "APPLIANCE_ATTRIBUTES":
            return _fit_object(value)
        case _:
            return _shortened(_CONTROL.sub(" ", _UNHOLDABLE.sub("\ufffd", value)))


def _shortened(value: str) -> str:
    if len(value) * 4 <= LONGEST_VALUE or len(value.encode()) <= LONGEST_VALUE:
        return value
    return value.encode()[: LONGEST_VALUE - len("…".encode())].decode(errors="ignore") + "…"


# --- APPLIANCE_ATTRIBUTES ---------------------------------------------------------------------------------------------
def _fit_object(value: str) -> str:
    """Return a JSON object in which nothing has to be replaced; what is too long loses its longest values first."""
    try:
        attributes = json.loads(value, strict=False)
    except ValueError:
        return "{}"
    if not isinstance(attributes, dict):
        return "{}"
    if not _UNHOLDABLE.search(value) and not _CONTROL.search(value) and len(value.encode()) <= LONGEST_VALUE:
        return value
    return _encoded(attributes)


def _encoded(attributes: dict[str, object]) -> str:
    texts = {name: json.dumps(item) for name, item in attributes.items()}
    while (text := json.dumps(attributes)) and len(text) > LONGEST_VALUE:
        longest = max(attributes, key=lambda name: (len(texts[name]), name))
        attributes = {name: item for name, item in attributes.items() if name != longest}
    return text
