"""Makes the document of an image list from a folder of images or from a YAML description.

Identifiers live as long as their images: they are taken from the previous document, and where there is none derived
from what does not change (the list from its VO and place, an image from its file name), so that even a lost previous
document gives the same ones.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha512
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from imagesync.errors import ConfigError
from imagesync.lists import description
from imagesync.lists.description import Description, ImageDescription
from imagesync.lists.document import timestamp
from imagesync.lists.sniff import sniff

logger = logging.getLogger(__name__)

_CHUNK = 1 << 20

Sniff = Callable[[Path], str | None]
"""Returns ``hv:format`` of a file as found in its bytes, ``None`` if it is no image."""


def _ignore(_count: int) -> None:
    """Show no progress."""


@dataclass(frozen=True, slots=True)
class MakeOptions:
    """What the publisher decides about a list, beside its images.

    ``base_url`` is where the files will be served; the list itself is expected at ``list_url`` (default:
    ``image.list`` there). ``previous`` is the document made last time, if it exists. ``lifetime`` is that of the
    list; ``image_lifetime`` that of each image, for readers that want a date there: it is longer, because a list
    that is renewed late has a grace period at the sites and an image that expires has none. ``progress`` is called
    with the number of bytes read since the last call.
    """

    vo: str
    base_url: str
    now: datetime
    previous: Path | None = None
    list_url: str = ""
    identifier: str = ""
    title: str = ""
    lifetime: timedelta = timedelta(days=28)
    image_lifetime: timedelta = timedelta(days=365)
    sniff: Sniff = sniff
    progress: Callable[[int], None] = _ignore


@dataclass(frozen=True, slots=True)
class _Previous:
    """What is kept from the previous document: identifiers, and the versions of images that did not change."""

    identifier: str = ""
    version: str = ""
    images: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Publication:
    """One making of one list: what every entry needs to know."""

    options: MakeOptions
    base_url: str
    list_identifier: str
    version: str
    previous: _Previous


def describe(source: Path, options: MakeOptions) -> dict[str, Any]:
    """Return the document of a list of the images in ``source``: a folder, or a YAML description.

    The names of the endorser are left empty; signing fills them.

    Raises:
        ConfigError: ``source`` or the previous document cannot be used, no image found, one that is none, two with
            one identifier, or a base URL that nobody could fetch from.
    """
    described = _describe_folder(source, options) if source.is_dir() else description.load(source)
    if described.vo not in ("", options.vo):
        raise ConfigError(str(source), f"describes a list of {described.vo}, asked for is {options.vo}")
    base_url = _checked_base(options.base_url)
    previous = _load_previous(options.previous)
    publication = _Publication(
        options,
        base_url,
        options.identifier or described.identifier or previous.identifier or _derived_list(options.vo, base_url),
        described.version or next_version(options.now, previous.version),
        previous,
    )
    entries = [_entry(image, publication) for image in described.images]
    _refuse_twins(entries, source)
    return {"hv:imagelist": {**_head(described, publication), "hv:images": [{"hv:image": entry} for entry in entries]}}


def _head(described: Description, publication: _Publication) -> dict[str, Any]:
    options = publication.options
    return {
        "dc:identifier": publication.list_identifier,
        "dc:title": described.title or options.title or f"Images of {options.vo}",
        "dc:description": described.description,
        "dc:source": described.source or publication.base_url,
        "dc:date:created": timestamp(options.now),
        "dc:date:expires": timestamp(described.expires or options.now + options.lifetime),
        "hv:version": publication.version,
        "hv:uri": options.list_url or f"{publication.base_url}image.list",
        "ad:vo": options.vo,
        "hv:endorser": {
            "hv:x509": {
                "hv:dn": "",
                "hv:ca": "",
                "hv:email": described.endorser.email,
                "dc:creator": described.endorser.creator,
            }
        },
    }


def _describe_folder(folder: Path, options: MakeOptions) -> Description:
    """Return a description of the images directly inside ``folder``; what is no image is left out and named."""
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise ConfigError(str(folder), f"cannot be read: {error.strerror}") from error
    images = [path for path in files if options.sniff(path) is not None]
    for path in sorted(set(files) - set(images)):
        logger.warning("%s is no image and is left out", path)
    if not images:
        raise ConfigError(str(folder), "holds no image", "name a folder of images, or a YAML description of them")
    return Description(images=tuple(ImageDescription(file=path) for path in images))


def _entry(image: ImageDescription, publication: _Publication) -> dict[str, Any]:
    """Return one ``hv:image``: the keys of HEPiX in the forms that AppDB writes, plus the ``ad:`` keys sites read."""
    options = publication.options
    name = image.file.name
    format_found = options.sniff(image.file) if image.file.is_file() else None
    if format_found is None:
        raise ConfigError(str(image.file), "is no image" if image.file.is_file() else "is no file")
    size, digest = _measure(image.file, options.progress)
    uri = image.uri or f"{publication.base_url}{quote(name)}"
    before = publication.previous.images.get(_last_part(uri), {})
    identifier = image.identifier or str(before.get("dc:identifier") or _derived_image(publication, name))
    version = image.version or _kept_version(before, digest) or publication.version
    return {
        "dc:identifier": identifier,
        "dc:title": image.title or image.file.stem,
        "dc:description": image.description,
        "dc:date:expires": timestamp(image.expires or options.now + options.image_lifetime),
        "hv:version": version,
        "hv:uri": uri,
        "hv:size": size,
        "hv:format": image.format or format_found,
        "hv:hypervisor": image.hypervisor,
        "sl:checksum:sha512": digest,
        "sl:arch": image.arch,
        "sl:os": image.os,
        "sl:osname": image.osname,
        "sl:osversion": image.osversion,
        "sl:comments": image.comments,
        "ad:group": "General group",
        "ad:mpuri": image.mpuri or f"{publication.base_url}{identifier}:{version}/",
        **_requirements(image),
        **image.extra,
    }


def _requirements(image: ImageDescription) -> dict[str, int]:
    """Return memory in bytes, as the HEPiX format defines it, and cores; only what is known."""
    found: dict[str, int] = {}
    if image.ram_mib is not None:
        found["hv:ram_minimum"] = image.ram_mib << 20
    if image.cores is not None:
        found["hv:core_minimum"] = image.cores
    return found


def _measure(path: Path, progress: Callable[[int], None]) -> tuple[int, str]:
    """Return size and SHA-512 of the same reading, so that they fit each other."""
    size, digest = 0, sha512()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                progress(len(chunk))
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
    return size, digest.hexdigest()


def _last_part(uri: str) -> str:
    """Return the file's name: images stay the same when the publisher moves to another server."""
    return uri.rsplit("/", 1)[-1]


def _kept_version(before: Mapping[str, Any], digest: str) -> str:
    """Return the version of an image whose bytes are the same as last time, or the empty string."""
    return str(before.get("hv:version", "")) if before.get("sl:checksum:sha512") == digest else ""


def _derived_list(vo: str, base_url: str) -> str:
    # Not AppDB's own derivation: its list of the same VO may be subscribed to beside this one.
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{base_url}image.list#{vo}"))


def _derived_image(publication: _Publication, name: str) -> str:
    parent = uuid.uuid5(uuid.NAMESPACE_URL, publication.list_identifier)
    return str(uuid.uuid5(parent, name))


def next_version(now: datetime, previous: str) -> str:
    """Return the UTC time as a number, higher than ``previous`` in any case: sites refuse a list that goes back.

    Raises:
        ConfigError: ``previous`` has a part that is no number and so nothing is higher than it.
    """
    version = now.astimezone(UTC).strftime("%Y%m%d%H%M%S")
    if not previous:
        return version
    parts = re.split(r"[-,./]", previous)
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(
            "list", f"no version is higher than the previous one, {previous}", "describe the list in YAML with version"
        )
    # Only when the clock went back or the list is made twice in a second.
    return version if int(parts[0]) < int(version) else str(int(parts[0]) + 1)


def _checked_base(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("base URL", f"{parts.scheme or 'nothing'} is no http or https address", "give --base-url")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigError("base URL", "must have no user, query or fragment", "the list is read by everybody")
    return url if url.endswith("/") else f"{url}/"


def _load_previous(path: Path | None) -> _Previous:
    if path is None or not path.exists():
        return _Previous()
    try:
        content = json.loads(path.read_bytes())["hv:imagelist"]
        entries = [holder["hv:image"] for holder in content["hv:images"]]
        images = {_last_part(str(entry["hv:uri"])): entry for entry in entries}
        return _Previous(str(content["dc:identifier"]), str(content["hv:version"]), images)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            str(path), "is no document made before", "name the unsigned JSON, or another file to write to"
        ) from error


def _refuse_twins(entries: list[dict[str, Any]], source: Path) -> None:
    for key in ("dc:identifier", "hv:uri"):
        twins = sorted(set(_repeated(str(entry[key]) for entry in entries)))
        if twins:
            raise ConfigError(str(source), f"two images with {key} {', '.join(twins)}", "each needs its own")


def _repeated(values: Iterator[str]) -> Iterator[str]:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            yield value
        seen.add(value)
