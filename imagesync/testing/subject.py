"""What the conformance tests are told of a backend, and what they work with. PUBLIC."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from imagesync.backend import (
    Backend,
    Context,
    Digest,
    Fingerprint,
    Format,
    ImageId,
    ImageKey,
    ImageSpec,
    ListId,
    Metadata,
    OpenBackend,
    OwnedImage,
    Retirement,
    State,
    state_properties,
)
from imagesync.testing.steps import Died

NOW = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
"""The time of the first pass in every test."""

LATER = Retirement(NOW + timedelta(days=1), "withdrawn")
"""The usual retirement."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The backend to be tested, and what its own interface cannot do.

    ``plant_foreign`` puts records and other things of somebody else on the target, the more like ours the better;
    ``foreign`` returns a value that stays equal as long as they are untouched. ``annotate`` writes something of
    somebody else on the record ``ref``, and ``annotation`` reads it back; leave both out if a record can hold nothing
    of others. ``tamper`` replaces the stored bytes of a record, or loses them if given ``None``; leave it out if
    nobody can. ``content`` makes different files by number, in ``format``.
    """

    open_backend: OpenBackend
    settings: Mapping[str, object]
    plant_foreign: Callable[[], None]
    foreign: Callable[[], object]
    annotate: Callable[[str], None] | None = None
    annotation: Callable[[str], object] | None = None
    tamper: Callable[[str, bytes | None], None] | None = None
    vo: str = "vo.example.org"
    format: Format = Format.RAW
    content: Callable[[int], bytes] = field(default=lambda number: f"image {number}\n".encode() * 40_000)

    def open(self, instance: str = "conformance") -> AbstractContextManager[Backend]:
        """Return a session that is opened by entering it."""
        return self.open_backend(self.settings, Context("conformance", instance))


class Bench:
    """What the tests do with a subject: makes files and specifications."""

    def __init__(self, subject: Subject, folder: Path) -> None:
        """Put files into ``folder``."""
        self.subject = subject
        self._folder = folder

    def file(self, number: int) -> Path:
        """Return the file with content ``number``."""
        path = self._folder / f"content-{number}"
        if not path.exists():
            path.write_bytes(self.subject.content(number))
        return path

    def spec(self, image: str = "image-1", number: int = 1, owner: str = "") -> ImageSpec:
        """Return what is to be uploaded for ``image`` with content ``number``."""
        content = self.file(number).read_bytes()
        properties = {"imagesync_list": "list-1", "ad:mpuri": f"https://appdb.example.org/{image}/{number}"}
        return ImageSpec(
            key=ImageKey(owner, ListId("list-1"), ImageId(image)),
            fingerprint=Fingerprint(hashlib.sha256(f"{number}".encode()).hexdigest()),
            metadata=Metadata(f"Title of {image}", properties, min_ram=512),
            format=self.subject.format,
            digest=Digest(hashlib.sha512(content).hexdigest()),
            size=len(content),
            virtual_size=len(content),
            min_disk=1,
            at=NOW,
        )

    def upload(self, backend: Backend, image: str = "image-1", number: int = 1) -> OwnedImage:
        """Upload content ``number`` for ``image``."""
        return backend.upload(self.own(backend, image, number), self.file(number), lambda _: None)

    def publish(self, backend: Backend, image: str = "image-1", number: int = 1) -> OwnedImage:
        """Upload and publish, and return the record as it is listed then."""
        uploaded = self.upload(backend, image, number)
        backend.publish(uploaded.ref)
        return listed(backend)[uploaded.ref]

    def remove(self, backend: Backend, ref: str) -> None:
        """Retire a published record, and delete it."""
        backend.retire(ref, LATER)
        backend.delete(ref)

    def own(self, backend: Backend, image: str = "image-1", number: int = 1) -> ImageSpec:
        """Return a specification for the first owner of the subject's VO."""
        return self.spec(image, number, owner=backend.owners(self.subject.vo)[0])

    def interrupt(self, backend: Backend, image: str = "image-1", number: int = 1) -> None:
        """Upload and die at the first bytes."""

        def die(_: int) -> None:
            raise Died("in the middle of an upload")

        with suppress(Died):
            backend.upload(self.own(backend, image, number), self.file(number), die)


def listed(backend: Backend) -> dict[str, OwnedImage]:
    """Return what is owned, by reference."""
    return {image.ref: image for image in backend.owned()}


def described(metadata: Metadata, state: State) -> Metadata:
    """Return ``metadata`` as a record in ``state`` has it."""
    return replace(metadata, properties={**metadata.properties, **state_properties(state)})
