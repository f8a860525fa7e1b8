"""What the list says of an image, under the names that handlers of vmcatcher's events know.

The names are the keys of the HEPiX image list in upper case, as vmcatcher exports them (its ``launch.py``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagesync.errors import TrustError
from imagesync.images.entries import source_name
from imagesync.lists import envelope
from imagesync.model import Digest

_IMAGE_KEYS = (
    *("dc:description", "dc:identifier", "dc:title", "hv:hypervisor", "hv:size", "hv:uri", "hv:version", "hv:format"),
    *("sl:arch", "sl:checksum:sha512", "sl:comments", "sl:os", "sl:osversion", "ad:mpuri"),
)


Content = Mapping[str, Any]
"""What an accepted message says."""


def read(blob: bytes) -> Content:
    """Return what an accepted message says; nothing if it cannot be read any more."""
    try:
        found = json.loads(envelope.split(blob).json)["hv:imagelist"]
    except (TrustError, KeyError, TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def details(content: Content, key: str, cache: Path) -> dict[str, str]:
    """Return what a message says of the image ``key``; nothing if it does not have it.

    ``FILENAME`` is the published file in ``cache``, where it is still there.
    """
    try:
        entries = [holder["hv:image"] for holder in content["hv:images"]]
        entry = next(one for one in entries if key.endswith(f"{content['dc:identifier']}/{one['dc:identifier']}"))
    except (KeyError, TypeError, StopIteration):
        return {}
    found = {key.upper().replace(":", "_"): _text(entry.get(key)) for key in _IMAGE_KEYS}
    found |= {"IL_DC_IDENTIFIER": _text(content.get("dc:identifier")), "VO": _text(content.get("ad:vo"))}
    file = cache / source_name(Digest(found["SL_CHECKSUM_SHA512"].lower()))
    return found | {"FILENAME": str(file) if file.is_file() else ""}


def _text(value: Any) -> str:  # noqa: ANN401 - whatever a publisher wrote
    return "" if value is None else str(value)
