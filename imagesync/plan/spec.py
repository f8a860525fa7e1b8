"""What an image of a list becomes on a target: name, properties, fingerprint.

The property names are read by programs of others: accounting (cASO), the information system
(cloud-info-provider), monitoring probes and users' own filters. ``docs/adr/0008-properties.rst`` says which reads what.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from imagesync.backend import Digest, Fingerprint, Format, ImageKey, ImageSpec, Metadata
from imagesync.lists.select import Rule, Selected
from imagesync.model import UNPACKED, Image, TrustedList
from imagesync.plan.nova import architecture

ARTIFACT_PROPERTIES = ("imagesync_fingerprint", "imagesync_sha512", "imagesync_source_format")
"""Properties that describe the uploaded file. They are written once and survive every metadata update."""

ATTRIBUTES = (
    "ad:appid",
    "ad:base_mpuri",
    "ad:group",
    "ad:mpuri",
    "dc:identifier",
    "dc:title",
    "hv:core_minimum",
    "hv:ram_minimum",
    "hv:version",
    "sl:arch",
    "sl:checksum:sha512",
    "sl:os",
    "sl:osname",
    "sl:osversion",
)
"""The keys that go into ``APPLIANCE_ATTRIBUTES``. Its reader publishes all of them, so nothing personal is here."""

_USERINFO = re.compile(r"://[^/?#]*@")
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True)


NAME_FIELDS = ("title", "vo", "version", "list", "list_version", "identifier", "os", "osversion", "arch")
"""What a template of names may contain, in braces; ``list`` is the subscription's name."""


@dataclass(frozen=True, slots=True)
class PropertyRule:
    """Properties for the images that any of ``matching`` fits, or for all without one."""

    properties: Mapping[str, str]
    matching: tuple[Rule, ...] = ()

    def applies(self, image: Image) -> bool:
        """Return whether the rule is about ``image``."""
        return not self.matching or any(all(one.matches(image) for one in rule) for rule in self.matching)


@dataclass(frozen=True, slots=True)
class Presentation:
    """How images look on a target: forms, mark, names, and properties beyond those that every target gets.

    ``options`` are the conversion options' part of a fingerprint. Of ``rules`` a later one stands over an earlier one.
    """

    formats: tuple[Format, ...]
    options: str
    instance: str
    name: str = "{title}"
    rules: tuple[PropertyRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image that a target should offer, in one owner's project.

    ``fingerprints`` are all final forms that the target's configuration accepts, each with its format: whichever of
    them is there, is right. ``metadata`` lacks ``ARTIFACT_PROPERTIES``, which depend on the form. ``settings`` stands
    for the configuration: with another one, what failed is worth trying again.
    """

    key: ImageKey
    subscription: str
    image: Image
    metadata: Metadata
    fingerprints: Mapping[Fingerprint, Format]
    settings: str = ""

    @property
    def title(self) -> str:
        """Return the title that the list gives."""
        return self.image.title


@dataclass(frozen=True, slots=True)
class File:
    """A file that is ready to be uploaded. Sizes in bytes."""

    fingerprint: Fingerprint
    digest: Digest
    size: int
    virtual_size: int
    format: Format
    source_format: Format


def fingerprint(source: Digest, target_format: Format, options: str) -> Fingerprint:
    """Return what identifies the result of bringing ``source`` into ``target_format`` with conversion ``options``.

    ``options`` is empty for what is passed through and ``UNPACKED`` for what only left its archive. No tool version
    is part of it , so that an upgrade of qemu-img uploads nothing anew.
    """
    return Fingerprint(hashlib.sha256(f"{source}\n{target_format}\n{options}".encode()).hexdigest())


def acceptable(source: Digest, formats: tuple[Format, ...], options: str) -> dict[Fingerprint, Format]:
    """Return every final form of ``source`` that is right for a target: as published, unpacked, or converted."""
    tags = dict.fromkeys(("", UNPACKED, options))
    return {fingerprint(source, form, tag): form for form in formats for tag in tags}


def want(trusted: TrustedList, selected: Selected, owner: str, style: Presentation) -> Wanted:
    """Return what a target should offer for ``selected`` in the project ``owner``."""
    image = selected.image
    key = ImageKey(owner, trusted.identifier, image.identifier)
    added = {name: value for rule in style.rules if rule.applies(image) for name, value in rule.properties.items()}
    properties = _published_properties(trusted, selected) | added | _own_properties(trusted, image, style.instance)
    metadata = Metadata(_name(trusted, image, style.name), properties, min_ram=image.ram_min)
    return Wanted(key, trusted.subscription, image, metadata, acceptable(image.sha512, style.formats, style.options))


def complete(wanted: Wanted, file: File, at: datetime) -> ImageSpec:
    """Return the specification of the upload of ``file`` for ``wanted``; ``at`` is the time of the pass."""
    own = {
        "imagesync_fingerprint": file.fingerprint,
        "imagesync_sha512": file.digest,
        "imagesync_source_format": str(file.source_format),
    }
    base = wanted.metadata
    return ImageSpec(
        key=wanted.key,
        fingerprint=file.fingerprint,
        metadata=Metadata(base.name, {**base.properties, **own}, base.min_ram),
        format=file.format,
        digest=file.digest,
        size=file.size,
        virtual_size=file.virtual_size,
        min_disk=-(-file.virtual_size // 2**30),
        at=at,
    )


def timestamp(moment: datetime | None) -> str:
    """Return ``moment`` as ISO 8601 in UTC with whole seconds, or the empty string for ``None``."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z" if moment else ""


def moment(text: str) -> datetime | None:
    """Return what ``timestamp`` wrote, or ``None`` for anything else."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _name(trusted: TrustedList, image: Image, template: str) -> str:
    """Return the name of an image; its identifier where the template gives nothing."""
    values = (
        image.title,
        trusted.vo,
        image.version,
        trusted.subscription,
        trusted.content.version,
        image.identifier,
        image.os_name,
        image.os_version,
        image.architecture,
    )
    return template.format_map(dict(zip(NAME_FIELDS, values, strict=True))).strip() or image.identifier


def _published_properties(trusted: TrustedList, selected: Selected) -> dict[str, str]:
    """Return what others read. What is empty is left out: then its readers look elsewhere."""
    image = selected.image
    known = {
        "vmcatcher_event_ad_mpuri": image.mpuri,
        "vmcatcher_event_dc_description": image.description,
        "APPLIANCE_MPURI": image.mpuri,
        "os_distro": image.os_name.lower(),
        "os_version": image.os_version,
        "architecture": architecture(image.architecture),
        "ad:appid": _text(image.raw.get("ad:appid")),
    }
    return {
        "vmcatcher_event_dc_title": image.title,
        "APPLIANCE_ID": image.identifier,
        "APPLIANCE_IMAGE_LIST_ID": trusted.identifier,
        "APPLIANCE_VO": trusted.vo,
        "APPLIANCE_VERSION": image.version,
        "APPLIANCE_TITLE": image.title,
        "APPLIANCE_EXPIRATION_DATE": str(int(selected.expires.timestamp())),
        "APPLIANCE_ATTRIBUTES": _attributes(image),
    } | {name: value for name, value in known.items() if value}


def _own_properties(trusted: TrustedList, image: Image, instance: str) -> dict[str, str]:
    content = trusted.content
    return {
        "imagesync_instance": instance,
        "imagesync_subscription": trusted.subscription,
        "imagesync_list": trusted.identifier,
        "imagesync_list_version": content.version,
        "imagesync_list_expires": timestamp(content.expires),
        "imagesync_image": image.identifier,
        "imagesync_image_expires": timestamp(image.expires),
        "imagesync_source_sha512": image.sha512,
        "imagesync_signer": content.signer.identity.dn,
    }


def _attributes(image: Image) -> str:
    """Return the allow-listed keys of the entry as one JSON object of strings, as cloud-info-provider expects."""
    values = {name: _text(image.raw.get(name)) for name in ATTRIBUTES}
    public = {name: value for name, value in values.items() if value and not _holds_userinfo(value)}
    return _ENCODER.encode(public)


def _holds_userinfo(text: str) -> bool:
    return "@" in text and _USERINFO.search(text) is not None


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
