"""A publisher of image lists on loopback, whose lists a test edits and publishes. PUBLIC.

Like AppDB it serves signed lists at ``/store/vo/<vo>/image.list``, derives identifiers from the VO, writes sizes as
text, and gives every image a new ``ad:mpuri`` at each publication, changed or not::

    with ListServer(endorser, now) as server:
        fedcloud = server.add_list("vo.example.org")
        alma = fedcloud.add(tmp_path / "alma.qcow2", title="AlmaLinux 9")
        fedcloud.publish()                               # signed; sites see it from now on
        ...
        fedcloud.replace(alma, tmp_path / "alma-new.qcow2")
        fedcloud.publish()
        fedcloud.withdraw(alma)
        fedcloud.publish(signer=somebody_else)
        server.misbehave(fedcloud.path, Status(503))     # everything of WebServer works too

``PublishedList`` has plain attributes for what a test wants to be wrong: ``expires``, ``created``, ``version``,
``identifier``, ``claims``, ``extra``.
"""

from __future__ import annotations

import json
import ssl
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha512
from pathlib import Path
from typing import Any
from urllib.parse import quote

from imagesync.lists.seal import SigningIdentity, seal
from imagesync.model import Identity, ImageId, ListId
from imagesync.testing.web import WebServer

_LIFETIME = timedelta(days=28)


@dataclass(slots=True, eq=False)
class PublishedImage:
    """One image as the publisher keeps it. ``keys`` are written last into the entry; ``None`` takes a key out."""

    identifier: ImageId
    guid: uuid.UUID
    uri: str
    size: int
    sha512: str
    title: str
    version: int = 1
    expires: datetime | None = None
    keys: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class PublishedList:
    """One list. Editing changes nothing for anybody before ``publish``.

    ``created`` and ``expires`` are by default the server's time at publication and 28 days later. ``claims`` is what
    ``hv:endorser`` says instead of the signer's names. ``extra`` overrides keys of the list; ``None`` takes one out.
    ``content`` is the JSON last published, ``message`` the signed form of it.
    """

    server: ListServer
    vo: str
    identifier: ListId
    title: str
    signer: SigningIdentity
    version: int = 0
    created: datetime | None = None
    expires: datetime | None = None
    claims: Identity | None = None
    images: dict[ImageId, PublishedImage] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    content: bytes = b""
    message: bytes = b""

    @property
    def path(self) -> str:
        """Return the path at which the list is served: what faults are keyed by."""
        return f"/store/vo/{self.vo}/image.list"

    @property
    def url(self) -> str:
        """Return the address of the list."""
        return f"{self.server.url}{self.path}"

    def add(self, file: Path, *, title: str = "", expires: datetime | None = None, **keys: object) -> ImageId:
        """Put ``file`` among the images and return its identifier; size and SHA-512 are those of the file.

        ``keys`` are keys of the entry with ``_`` for the colon of their prefix (``sl_arch="i686"``).
        """
        guid = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.vo}/{file.name}/{len(self.images)}")
        identifier = ImageId(str(uuid.uuid5(uuid.NAMESPACE_OID, f"vowide_image_list_image:{self.vo}:{guid}")))
        size, digest = _measure(file)
        uri = self.server.serve_image(self.vo, file)
        image = PublishedImage(identifier, guid, uri, size, digest, title or file.stem, expires=expires)
        image.keys.update({key.replace("_", ":", 1): value for key, value in keys.items()})
        self.images[identifier] = image
        return identifier

    def replace(self, identifier: ImageId, file: Path) -> None:
        """Give the image new bytes and the next version."""
        image = self.images[identifier]
        image.size, image.sha512 = _measure(file)
        image.uri = self.server.serve_image(self.vo, file)
        image.version += 1

    def withdraw(self, identifier: ImageId) -> None:
        """Take the image out of the list; its file stays where it is."""
        del self.images[identifier]

    def image_path(self, identifier: ImageId) -> str:
        """Return the path of the image's file on the server: what faults are keyed by."""
        return self.images[identifier].uri.removeprefix(self.server.url)

    def publish(self, *, version: int | None = None, signer: SigningIdentity | None = None) -> bytes:
        """Sign the list and serve it; return the message.

        ``version`` is the next one by default. ``signer`` signs this time only.
        """
        self.version = self.version + 1 if version is None else version
        by = signer or self.signer
        self.content = (json.dumps(self._document(by), indent=2) + "\n").encode("ascii")
        self.message = seal(self.content, by, self.server.now)
        self.server.put(self.path, self.message)
        return self.message

    def publish_bytes(self, message: bytes) -> None:
        """Serve ``message`` as the list, whatever it is."""
        self.message = message
        self.server.put(self.path, message)

    def _document(self, signer: SigningIdentity) -> dict[str, Any]:
        created = self.created or self.server.now
        keys = {
            "dc:identifier": self.identifier,
            "dc:title": self.title,
            "dc:description": "",
            "dc:source": self.server.url,
            "dc:date:created": _date(created),
            "dc:date:expires": _date(self.expires or created + _LIFETIME),
            "hv:version": str(self.version),
            "hv:uri": self.url,
            "ad:vo": self.vo,
            "hv:endorser": {"hv:x509": self._endorser(signer)},
            "hv:images": [{"hv:image": self._entry(image)} for image in self.images.values()],
        } | self.extra
        return {"hv:imagelist": {key: value for key, value in keys.items() if value is not None}}

    def _endorser(self, signer: SigningIdentity) -> dict[str, str]:
        claims = self.claims or identity_of(signer)
        return {"hv:dn": claims.dn, "hv:ca": claims.ca, "hv:email": "images@example.org", "dc:creator": "Publisher"}

    def _entry(self, image: PublishedImage) -> dict[str, Any]:
        keys: dict[str, Any] = {
            "dc:identifier": image.identifier,
            "dc:title": image.title,
            "dc:description": "",
            "dc:date:expires": _date(image.expires) if image.expires else None,
            "hv:version": f"{image.version}.0",
            "hv:uri": image.uri,
            "hv:size": str(image.size),
            "hv:format": "OVA",  # what AppDB says of every image, whatever its bytes are
            "hv:hypervisor": "KVM",
            "sl:checksum:sha512": image.sha512,
            "sl:arch": "x86_64",
            "sl:os": "Linux",
            "sl:osname": "Other",
            "sl:osversion": "1",
            "sl:comments": "",
            "hv:ram_minimum": str(1 << 30),
            "hv:core_minimum": "1",
            "ad:group": "General group",
            "ad:mpuri": f"{self.server.url}/store/vo/image/{image.guid}:{self.server.next_row()}/",
            "ad:base_mpuri": f"{self.server.url}/store/vm/image/{image.guid}:{image.version}/",
            "ad:appid": "1",
        }
        return {key: value for key, value in (keys | image.keys).items() if value is not None}


class ListServer(WebServer):
    """The publisher: a web server with lists and images. See ``WebServer`` for requests and faults."""

    def __init__(self, signer: SigningIdentity, now: datetime, *, tls: ssl.SSLContext | None = None) -> None:
        """Prepare a publisher who signs as ``signer``; ``now`` dates its lists and its answers."""
        super().__init__(now, tls=tls)
        self.signer = signer
        self.lists: dict[str, PublishedList] = {}
        self._row = 0

    def add_list(self, vo: str, title: str = "") -> PublishedList:
        """Return a new, empty list of ``vo`` that is not published yet."""
        identifier = ListId(str(uuid.uuid5(uuid.NAMESPACE_OID, f"vowide_image_list:{vo}")))
        found = PublishedList(self, vo, identifier, title or f"Images of {vo}", self.signer)
        self.lists[vo] = found
        return found

    def serve_image(self, vo: str, file: Path) -> str:
        """Serve ``file`` among the images of ``vo`` and return its URL."""
        return self.put(f"/images/{quote(vo)}/{quote(file.name)}", file)

    def next_row(self) -> int:
        """Return a number that was not used before, as AppDB numbers the rows of its lists."""
        self._row += 1
        return self._row


def identity_of(signer: SigningIdentity) -> Identity:
    """Return the names of a signer in the form in which lists and subscriptions write them."""
    from imagesync.lists.names import render

    return Identity(render(signer.certificate.subject), render(signer.certificate.issuer))


def _measure(file: Path) -> tuple[int, str]:
    digest = sha512()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return file.stat().st_size, digest.hexdigest()


def _date(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
