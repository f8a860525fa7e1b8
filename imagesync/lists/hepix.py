"""A verified payload becomes an image list. Pure.

The format is the HEPiX one with AppDB's additions. Unknown keys are kept, never refused. What is wrong with the list
refuses the list; what is wrong with one image makes that entry a ``BrokenImage``, which is never mistaken for one that
was withdrawn.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from imagesync.errors import ListFormatError
from imagesync.lists.names import normalise
from imagesync.lists.strict_json import Json, loads
from imagesync.model import BrokenImage, Digest, Identity, Image, ImageId, ImageList, ListId, SignedPayload

MAX_IMAGE_BYTES = 1 << 50
MAX_IMAGES = 20_000
"""Of one list; twice as many as the largest that is known to work."""
MAX_RAM_MIB = 131_072
MAX_CORES = 1024
MAX_WARNINGS = 20
MAX_WORDS = 4096
"""Characters of what is compared or taken apart: names, versions, VOs."""

_SUBJECT = "list"
_ENVELOPE = "hv:imagelist"
_KINDS = {
    type(None): "null or nothing",
    bool: "a boolean",
    str: "a string",
    int: "a number",
    float: "a number",
    list: "an array",
}
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+@-]{0,127}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:?[0-9]{2})")
_SHA512 = re.compile(r"[0-9a-fA-F]{128}")
_DIGITS = re.compile(r"[0-9]{1,20}")
_URI = re.compile(r"https?://[^\s/\x00-\x20\x7f][^\s\x00-\x20\x7f]*", re.IGNORECASE)

_ANY = re.compile(r".+", re.DOTALL)

Entry = Mapping[str, Json]


class _EntryError(Exception):
    """What is wrong with one image entry."""


def parse(payload: SignedPayload) -> ImageList:
    """Return the list that a verified payload holds.

    Sizes are in bytes, RAM in MiB, dates aware and in UTC. ``digest`` is the SHA-512 of the JSON bytes, so that the
    same content has the same digest whoever signed it when.

    Raises:
        ListFormatError: It is no HEPiX image list; the text names the path of the key that is wrong.
    """
    content = _object(_object(loads(payload.json), "the document").get(_ENVELOPE), _ENVELOPE)
    warnings: list[str] = list(payload.warnings)
    found = list(_entries(content, warnings))
    _refuse_twins(found)
    return ImageList(
        identifier=ListId(_identifier(content)),
        version=_required(content, "hv:version"),
        vo=_short(_optional(content, "ad:vo"), f"{_ENVELOPE}.ad:vo") or None,
        title=_optional(content, "dc:title"),
        uri=_optional(content, "hv:uri"),
        created=_date(content, "dc:date:created"),
        expires=_date(content, "dc:date:expires"),
        endorser=_endorser(content),
        signer=payload.signer,
        digest=Digest(hashlib.sha512(payload.json).hexdigest()),
        images=tuple(image for image in found if isinstance(image, Image)),
        broken=tuple(image for image in found if isinstance(image, BrokenImage)),
        warnings=_bounded(warnings),
    )


# --- the list --------------------------------------------------------------------------------------------------------
def _bad(path: str, detail: str, hint: str = "") -> ListFormatError:
    return ListFormatError(_SUBJECT, f"{path}: {detail}" if path else detail, hint)


def _object(value: Json, path: str) -> Entry:
    if isinstance(value, dict):
        return value
    if value is None and path == _ENVELOPE:
        raise _bad("", f"it has no {_ENVELOPE!r}: signed JSON, but no HEPiX image list", "check the URL")
    raise _bad(path, f"{_kind(value)} where an object is needed")


def _kind(value: Json) -> str:
    """Return JSON's word for a value's type."""
    return _KINDS.get(type(value), "an object")


def _required(content: Entry, key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str):
        raise _bad(f"{_ENVELOPE}.{key}", f"{_kind(value)} where a string is needed")
    if not value:
        raise _bad(f"{_ENVELOPE}.{key}", "it is empty")
    return _short(value, f"{_ENVELOPE}.{key}")


def _short(value: str, path: str) -> str:
    if len(value) > MAX_WORDS:
        raise _bad(path, f"it has more than {MAX_WORDS} characters")
    return value


def _optional(content: Entry, key: str) -> str:
    value = content.get(key)
    if value is not None and not isinstance(value, str):
        raise _bad(f"{_ENVELOPE}.{key}", f"{_kind(value)} where a string is needed")
    return value or ""


def _identifier(content: Entry) -> str:
    value = _required(content, "dc:identifier")
    if not _IDENTIFIER.fullmatch(value):
        raise _bad(f"{_ENVELOPE}.dc:identifier", f"{value[:40]!r} is no identifier (letters, digits, .:+@_-)")
    return value


def _date(content: Entry, key: str) -> datetime:
    value = _required(content, key)
    try:
        return _utc(value)
    except ValueError as error:
        raise _bad(f"{_ENVELOPE}.{key}", str(error)) from error


def _utc(text: str) -> datetime:
    """Return a time in UTC; a text without a time zone could mean two moments, so it is refused."""
    if not _TIME.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no date like 2030-12-31T23:59:59Z, with its time zone")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is a date that does not exist") from error


def _endorser(content: Entry) -> Identity:
    path = f"{_ENVELOPE}.hv:endorser"
    claim = _object(_object(content.get("hv:endorser"), path).get("hv:x509"), f"{path}.hv:x509")
    names = []
    for key in ("hv:dn", "hv:ca"):
        value = claim.get(key)
        if not isinstance(value, str) or not value:
            raise _bad(f"{path}.hv:x509.{key}", f"{_kind(value)} where a distinguished name is needed")
        names.append(normalise(_short(value, f"{path}.hv:x509.{key}")))
    return Identity(*names)


def _bounded(warnings: list[str]) -> tuple[str, ...]:
    if len(warnings) <= MAX_WARNINGS:
        return tuple(warnings)
    return (*warnings[:MAX_WARNINGS], f"and {len(warnings) - MAX_WARNINGS} more warnings")


# --- the images ------------------------------------------------------------------------------------------------------
def _entries(content: Entry, warnings: list[str]) -> Iterator[Image | BrokenImage]:
    images = content.get("hv:images")
    if not isinstance(images, list):
        raise _bad(f"{_ENVELOPE}.hv:images", f"{_kind(images)} where an array is needed")
    if len(images) > MAX_IMAGES:
        raise _bad(f"{_ENVELOPE}.hv:images", f"more than {MAX_IMAGES} entries")
    for number, wrapped in enumerate(images):
        path = f"{_ENVELOPE}.hv:images[{number}]"
        entry = wrapped.get("hv:image") if isinstance(wrapped, dict) else None
        if isinstance(entry, dict):
            yield _entry(entry, f"{path}.hv:image", warnings)
        else:
            yield BrokenImage(None, "", f"{path}: no object with an object 'hv:image' in it")


def _entry(entry: Entry, path: str, warnings: list[str]) -> Image | BrokenImage:
    try:
        return _image(entry, path, warnings)
    except _EntryError as error:
        identifier, title = entry.get("dc:identifier"), entry.get("dc:title")
        known = isinstance(identifier, str) and _IDENTIFIER.fullmatch(identifier)
        return BrokenImage(
            ImageId(str(identifier)) if known else None,
            title if isinstance(title, str) else "",
            f"{path}.{error}",
        )


def _image(entry: Entry, path: str, warnings: list[str]) -> Image:
    expires = _text(entry, "dc:date:expires")
    return Image(
        identifier=ImageId(_matching(entry, "dc:identifier", _IDENTIFIER, "identifier")),
        title=_text(entry, "dc:title"),
        description=_text(entry, "dc:description"),
        version=_matching(entry, "hv:version", _ANY, "version"),
        uri=_matching(entry, "hv:uri", _URI, "http or https URL"),
        sha512=Digest(_matching(entry, "sl:checksum:sha512", _SHA512, "SHA-512 in hexadecimal digits").lower()),
        size=_size(entry),
        expires=_own_date(expires) if expires else None,
        mpuri=_text(entry, "ad:mpuri"),
        architecture=_text(entry, "sl:arch"),
        os_name=_text(entry, "sl:osname") or _text(entry, "sl:os"),
        os_version=_text(entry, "sl:osversion"),
        ram_min=_ram(_number(entry, "hv:ram_minimum", path, warnings)),
        cores_min=min(_number(entry, "hv:core_minimum", path, warnings), MAX_CORES),
        raw=entry,
    )


def _text(entry: Entry, key: str) -> str:
    value = entry.get(key)
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    raise _EntryError(f"{key}: {_kind(value)} where a string is needed")


def _matching(entry: Entry, key: str, form: re.Pattern[str], what: str) -> str:
    value = _text(entry, key)
    if not value:
        raise _EntryError(f"{key}: it is missing or empty")
    if not form.fullmatch(value):
        raise _EntryError(f"{key}: {value[:60]!r} is no {what}")
    return value


def _own_date(text: str) -> datetime:
    try:
        return _utc(text)
    except ValueError as error:
        raise _EntryError(f"dc:date:expires: {error}") from error


def _size(entry: Entry) -> int:
    value = entry.get("hv:size")
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _EntryError(f"hv:size: {_kind(value)} where a whole number of bytes is needed")
    if not 0 < value <= MAX_IMAGE_BYTES:
        raise _EntryError(f"hv:size: {value} is no size of an image")
    return value


def _number(entry: Entry, key: str, path: str, warnings: list[str]) -> int:
    """Return a hint about resources; publishers write odd things there, which must not cost the image."""
    value = entry.get(key)
    if value is None or value == "":
        return 0
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, str | int | float):
        raise _EntryError(f"{key}: {_kind(value)} where a number is needed")
    warnings.append(f"{path}.{key}: {str(value)[:40]!r} is no number and is ignored")
    return 0


def _ram(number: int) -> int:
    """Return MiB. HEPiX says bytes, old AppDB rows hold GiB, MiB or KiB: told apart by what makes sense for a VM."""
    if number <= 64:
        mebibytes = number * 1024
    elif number <= 65_536:
        mebibytes = number
    elif number < 64 << 20:
        mebibytes = -(-number // 1024)
    else:
        mebibytes = -(-number // (1 << 20))
    return min(mebibytes, MAX_RAM_MIB)


def _refuse_twins(found: list[Image | BrokenImage]) -> None:
    """Refuse a list with two entries for one image: which of them was endorsed?"""
    seen: set[ImageId] = set()
    for image in found:
        if image.identifier is None:
            continue
        if image.identifier in seen:
            raise _bad(f"{_ENVELOPE}.hv:images", f"two entries have the identifier {image.identifier}")
        seen.add(image.identifier)
