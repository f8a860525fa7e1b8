"""The values everybody speaks.

Rules this module keeps:

* Values are frozen; none of them does I/O, reads a clock or knows a library outside the standard one.
* There is a type per level of trust. ``SignedPayload`` is constructed only in ``imagesync.lists.smime``,
  ``ImageList`` only in ``imagesync.lists.hepix``, ``TrustedList`` only in ``imagesync.lists.admit``. A test walks
  the source and holds every module to that.
* Every ``datetime`` is aware and in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

ListId = NewType("ListId", str)
"""``dc:identifier`` of an image list: stable for the life of the list."""

ImageId = NewType("ImageId", str)
"""``dc:identifier`` of an image: constant over the versions of that image, unique within one list only."""

Digest = NewType("Digest", str)
"""A SHA-512 as 128 lower-case hexadecimal digits."""

Fingerprint = NewType("Fingerprint", str)
"""What makes two uploads interchangeable: source SHA-512, target format and conversion options (design, section 7)."""


UNPACKED = "unpacked"
"""Stands for conversion options in the fingerprint of an image that was only taken out of an archive."""


class Format(StrEnum):
    """Disk formats as found in the bytes, by qemu-img's names; the value is also what a configuration says."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VMDK = "vmdk"
    VDI = "vdi"
    VHD = "vpc"
    VHDX = "vhdx"
    ISO = "iso"


@dataclass(frozen=True, slots=True, order=True)
class ImageKey:
    """What identifies an image on a target: the project that owns it, its list and its identifier there.

    ``owner`` is the project's id, or the empty string on a target without projects.
    """

    owner: str
    list: ListId
    image: ImageId

    def __str__(self) -> str:
        """Return ``list/image``, with ``owner:`` in front where there is one."""
        return f"{self.owner}:{self.list}/{self.image}" if self.owner else f"{self.list}/{self.image}"


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate's subject and its issuer, both as canonical slash-separated distinguished names."""

    dn: str
    ca: str


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed a list, read from the certificate that verified.

    ``sha256`` is the certificate's fingerprint in lower-case hexadecimal digits; ``expects_pin`` says that the
    certificate's purpose (a host certificate, say) is acceptable only together with a pinned identity.
    """

    identity: Identity
    not_after: datetime
    sha256: str
    expects_pin: bool = False


@dataclass(frozen=True, slots=True)
class SignedPayload:
    """Bytes whose signature was verified, and by whom. Made only by ``imagesync.lists.smime``.

    ``content`` is what was hashed (canonical line ends); ``json`` is the part of it that holds the list;
    ``warnings`` are findings that do not refuse the message. ``chain`` has the certificates from the signer's to that
    of a root, in DER.
    """

    content: bytes
    json: bytes
    signer: Signer
    signed_at: datetime | None
    warnings: tuple[str, ...] = ()
    chain: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """One image entry of a list, after parsing. ``size`` is in bytes, of the file as published.

    ``raw`` keeps every key of the entry as published, also those nobody here understands. ``ram_min`` is in MiB,
    ``cores_min`` a count; both 0 when the list does not say.
    """

    identifier: ImageId
    title: str
    description: str
    version: str
    uri: str
    sha512: Digest
    size: int
    expires: datetime | None
    mpuri: str
    architecture: str
    os_name: str
    os_version: str
    ram_min: int
    cores_min: int
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BrokenImage:
    """An image entry that is not usable. It is skipped with its reason; it never counts as withdrawn.

    ``identifier`` is ``None`` when not even that could be read: then nothing of the list may be withdrawn, because
    the entry could stand for any image of it.
    """

    identifier: ImageId | None
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImageList:
    """A parsed list whose signature was verified, but which nobody admitted yet. Made only by ``lists.hepix``.

    ``digest`` is the SHA-512 of the canonical payload: equal digests mean the same content, whatever the signature.
    ``endorser`` is what the list claims; ``signer`` is who really signed.
    """

    identifier: ListId
    version: str
    vo: str | None
    title: str
    uri: str
    created: datetime
    expires: datetime
    endorser: Identity
    signer: Signer
    digest: Digest
    images: tuple[Image, ...]
    broken: tuple[BrokenImage, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrustedList:
    """A list that was admitted for a subscription in this pass. Made only by ``imagesync.lists.admit``.

    ``vo`` is the subscription's VO. ``floor_lifted`` says that the operator allowed an older version
    (``imagesync list reset``), so that versions seen on a target do not refuse it.
    """

    subscription: str
    vo: str
    content: ImageList
    floor_lifted: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def identifier(self) -> ListId:
        """Return the list's identifier."""
        return self.content.identifier


class Verdict(StrEnum):
    """What became of one list in one pass."""

    TRUSTED = "trusted"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Unknown:
    """A list of which this pass knows nothing, and why. It is not an empty list: nothing of it may be withdrawn.

    ``list`` is the identifier pinned for the subscription, if there is one. ``verdict`` is ``REFUSED`` for what must
    not be trusted and ``UNAVAILABLE`` for what could not be had.
    """

    subscription: str
    vo: str
    list: ListId | None
    verdict: Verdict
    reason: str
    hint: str = ""


Observation = TrustedList | Unknown


@dataclass(frozen=True, slots=True)
class Floor:
    """A version of a list that no older one may follow. ``digest`` is its content's, ``None`` if that is not known."""

    version: str
    digest: Digest | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """What is remembered of the last accepted version of a subscription's list.

    ``expiries`` maps each image of that version to its own date, or ``None`` where the list's date counts.
    ``version`` is ``None`` after the operator lifted the floor, ``pinned`` is off after the operator dropped the pin:
    then another list may take its place, but the dates here still count. ``lifted`` says that a lower version was
    accepted after that: the floor is here, and not in the versions that records on targets name, until no record on any
    target names a higher one.
    """

    subscription: str
    list: ListId
    version: str | None
    digest: Digest
    created: datetime
    expires: datetime
    accepted_at: datetime
    signer: Signer
    expiries: Mapping[ImageId, datetime | None]
    pinned: bool = True
    lifted: bool = False
