"""What the list says of an image, under the names that handlers of vmcatcher's events know.

The names are the keys of the HEPiX image list in upper case, as vmcatcher exports them (its ``launch.py``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from imagesync.daemon.notify.events import OF_IMAGES, Event
from imagesync.errors import TrustError
from imagesync.images.entries import source_name
from imagesync.lists import envelope
from imagesync.model import Digest
from imagesync.state.repository import Repository

_IMAGE_KEYS = (
    *("dc:description", "dc:identifier", "dc:title", "hv:hypervisor", "hv:size", "hv:uri", "hv:version", "hv:format"),
    *("sl:arch", "sl:checksum:sha512", "sl:comments", "sl:os", "sl:osversion", "ad:mpuri"),
)


_SHA512 = re.compile(r"[0-9a-f]{128}")
_VERSIONS = 50
"""Versions of a list that are looked back on for what they say of an image."""


def with_details(events: Iterable[Event], state: Repository, cache: Path) -> list[Event]:
    """Return ``events`` with what the newest version of its list that has an image says of it.

    What is withdrawn is not in the last one. Each version is read once, whatever the number of images.

    Raises:
        StateError: the state cannot be read.
    """
    events = list(events)
    wanted: dict[str, set[str]] = {}
    for event in events:
        if event.kind in OF_IMAGES:
            wanted.setdefault(event.subscription, set()).add(event.key)
    found = {name: _look_up(name, keys, state, cache) for name, keys in wanted.items()}
    return [replace(one, details=found.get(one.subscription, {}).get(one.key, {})) for one in events]


def _look_up(name: str, keys: Iterable[str], state: Repository, cache: Path) -> dict[str, dict[str, str]]:
    missing = set(keys)
    found: dict[str, dict[str, str]] = {}
    for version in state.versions_of(name, _VERSIONS):
        if not missing:
            break
        said = details(state.message(version.message) or b"", missing, cache)
        found |= said
        missing -= said.keys()
    return found


def details(blob: bytes, keys: Iterable[str], cache: Path) -> dict[str, dict[str, str]]:
    """Return what an accepted message says of those images among ``keys`` that it has.

    ``FILENAME`` is the published file in ``cache``, where it is still there.
    """
    # With the project in front of it where there is one: LIST/IMAGE, or PROJECT:LIST/IMAGE.
    named: dict[str, set[str]] = {}
    for key in keys:
        for name in (key, key.partition(":")[2]):
            named.setdefault(name, set()).add(key)
    try:
        content = json.loads(envelope.split(blob).json)["hv:imagelist"]
        entries = [holder["hv:image"] for holder in content["hv:images"]]
        said = {f"{content['dc:identifier']}/{entry['dc:identifier']}": entry for entry in entries}
    except (TrustError, KeyError, TypeError, ValueError):
        return {}
    return {key: _facts(content, entry, cache) for name, entry in said.items() if name in named for key in named[name]}


def _facts(content: Mapping[str, Any], entry: Mapping[str, Any], cache: Path) -> dict[str, str]:
    facts = {key.upper().replace(":", "_"): _text(entry.get(key)) for key in _IMAGE_KEYS}
    facts |= {"IL_DC_IDENTIFIER": _text(content.get("dc:identifier")), "VO": _text(content.get("ad:vo"))}
    return facts | {"FILENAME": _file(facts["SL_CHECKSUM_SHA512"].lower(), cache)}


def _file(sha512: str, cache: Path) -> str:
    """Return the published file, or nothing where the cache has none; a list may have anything for a checksum."""
    if not _SHA512.fullmatch(sha512):
        return ""
    file = cache / source_name(Digest(sha512))
    try:
        return str(file) if file.is_file() else ""
    except OSError:  # the cache may not be looked into
        return ""


def _text(value: Any) -> str:  # noqa: ANN401 - whatever a publisher wrote
    return "" if value is None else str(value)
