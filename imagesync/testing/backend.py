"""A target in memory. PUBLIC.

``FakeCloud`` is the world: it survives the end of a session, as a cloud does. ``FakeBackend`` is one session with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from imagesync.backend import (
    Backend,
    Capabilities,
    Context,
    Digest,
    Format,
    ImageSpec,
    Metadata,
    OwnedImage,
    Progress,
    Retirement,
    State,
    state_properties,
)
from imagesync.errors import (
    BackendConflictError,
    BackendError,
    BackendRefusedError,
    BackendUnavailableError,
    ConfigError,
    StoredDigestError,
)
from imagesync.testing.steps import Steps


@dataclass(frozen=True, slots=True)
class FakeRecord:
    """One record of the cloud. ``instance`` is the ownership mark, empty for somebody else's record.

    ``notes`` are properties that others wrote on it.
    """

    instance: str
    image: OwnedImage
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class FakeCloud:
    """What is there, whoever looks.

    ``projects`` maps a VO to the ids of its projects; ``None`` is a cloud without projects. ``faults`` are raised one
    by one by the next calls of a method. ``calls`` are the names of all calls so far. ``steps`` counts the steps inside
    of an upload, for tests that die there. ``editable`` is the capability of that name.
    """

    records: dict[str, FakeRecord] = field(default_factory=dict)
    projects: Mapping[str, Sequence[str]] | None = None
    formats: frozenset[Format] = frozenset(Format)
    max_size: int | None = None
    editable: bool = False
    faults: dict[str, list[BackendError]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    in_use: set[str] = field(default_factory=set)
    is_down: bool = False
    steps: Steps = field(default_factory=Steps)
    _created: int = 0

    def open_backend(self, settings: Mapping[str, object], context: Context) -> _Session:
        """Return a session; this method is an ``OpenBackend`` without settings.

        Raises:
            ConfigError: there are settings.
        """
        if settings:
            problems = tuple(f"{key}: unknown key, the fake has none" for key in sorted(settings))
            raise ConfigError(f"target {context.target}", "; ".join(problems), problems=problems)
        return _Session(self, context)

    def published(self) -> list[OwnedImage]:
        """Return everything that users can boot, of whatever owner."""
        return [record.image for record in self.records.values() if record.image.state is State.PUBLISHED]

    def next_ref(self) -> str:
        """Return a name that no record ever had."""
        self._created += 1
        return f"image-{self._created:06}"

    def tamper(self, ref: str, content: bytes | None) -> None:
        """Replace the bytes of a record behind everybody's back; ``None`` loses them."""
        digest = None if content is None else Digest(hashlib.sha512(content).hexdigest())
        record = self.records[ref]
        self.records[ref] = replace(record, image=replace(record.image, digest=digest))


class _Session:
    """What ``open_backend`` returns."""

    def __init__(self, cloud: FakeCloud, context: Context) -> None:
        self._cloud = cloud
        self._context = context

    def __enter__(self) -> Backend:
        """Open a session.

        Raises:
            BackendUnavailableError: the cloud is down.
        """
        if self._cloud.is_down:
            raise BackendUnavailableError(self._context.target, "connection refused", "see whether the cloud runs")
        return FakeBackend(self._cloud, self._context.instance)

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""


class FakeBackend:
    """A session for one instance. See ``imagesync.backend.Backend`` for what each method promises."""

    def __init__(self, cloud: FakeCloud, instance: str) -> None:
        """Act on the records of ``cloud`` that carry ``instance``."""
        self._cloud = cloud
        self._instance = instance

    def capabilities(self) -> Capabilities:
        """Return the cloud's."""
        return Capabilities(self._cloud.formats, self._cloud.max_size, editable=self._cloud.editable)

    def owners(self, vo: str) -> Sequence[str]:
        """Return the projects of ``vo``."""
        if self._cloud.projects is None:
            return [""]
        if not self._cloud.projects.get(vo):
            raise BackendRefusedError(vo, "has no project on this target", "give it one under projects")
        return list(self._cloud.projects[vo])

    def fit(self, metadata: Metadata) -> Metadata:
        """Return ``metadata``: all of it can be held."""
        return metadata

    def owned(self) -> Sequence[OwnedImage]:
        """Return our records, ordered by key."""
        self._enter("owned")
        return tuple(sorted(self._mine(), key=lambda image: (image.key, image.ref)))

    def _mine(self) -> list[OwnedImage]:
        return [record.image for record in self._cloud.records.values() if record.instance == self._instance]

    def upload(self, spec: ImageSpec, data: Path, progress: Progress) -> OwnedImage:
        """Create a partial record, read ``data``, and stage it."""
        self._enter("upload")
        if self._cloud.max_size is not None and spec.size > self._cloud.max_size:
            raise BackendRefusedError(spec.metadata.name, f"larger than {self._cloud.max_size} bytes")
        same = [image for image in self._mine() if (image.key, image.fingerprint) == (spec.key, spec.fingerprint)]
        for image in same:
            if image.state is State.STAGED and image.digest == spec.digest:
                return self._put(_moved(replace(image, metadata=spec.metadata), State.STAGED))
            if image.state is not State.PARTIAL and image.digest == spec.digest:
                return image
        partial = next((image for image in same if image.state is State.PARTIAL), None)
        begun = _begin(spec, partial.ref if partial else self._cloud.next_ref())
        self._put(begun)
        self._cloud.steps.step(f"created {begun.ref}")
        return self._fill(begun, spec, data, progress)

    def _fill(self, begun: OwnedImage, spec: ImageSpec, data: Path, progress: Progress) -> OwnedImage:
        try:
            digest, size = _read(data, progress)
        except OSError as error:
            del self._cloud.records[begun.ref]
            raise BackendUnavailableError(spec.metadata.name, str(error)) from error
        if digest != spec.digest:
            del self._cloud.records[begun.ref]
            raise StoredDigestError(spec.metadata.name, f"stored bytes have SHA-512 {digest[:16]}…")
        self._cloud.steps.step(f"filled {begun.ref}")
        return self._put(_moved(replace(begun, digest=digest, size=size), State.STAGED))

    def publish(self, ref: str) -> None:
        """Make a record bootable."""
        self._enter("publish")
        image = self._get(ref)
        if image.state is State.PARTIAL or image.digest is None:
            raise BackendConflictError(ref, "its bytes are not all there", "observe the target again")
        self._put(_moved(image, State.PUBLISHED))

    def update(self, ref: str, metadata: Metadata) -> None:
        """Replace the metadata; the notes of others stay."""
        self._enter("update")
        image = self._get(ref)
        self._put(_moved(replace(image, metadata=metadata), image.state, image.retirement))

    def retire(self, ref: str, retirement: Retirement) -> None:
        """Make a published record unbootable."""
        self._enter("retire")
        image = self._get(ref)
        if image.state is State.PUBLISHED:
            self._put(_moved(image, State.RETIRED, retirement))
        elif image.retirement is not None:
            self._put(_moved(image, State.RETIRED, image.retirement.followed_by(retirement)))
        else:
            raise BackendConflictError(ref, "was never published", "observe the target again")

    def delete(self, ref: str) -> None:
        """Remove a record."""
        self._enter("delete")
        if self._find(ref) is None:
            return
        if ref in self._cloud.in_use:
            raise BackendConflictError(ref, "is in use", "it is tried again later")
        del self._cloud.records[ref]

    def _enter(self, method: str) -> None:
        """Note the call, and raise what is due."""
        self._cloud.calls.append(method)
        if self._cloud.is_down:
            raise BackendUnavailableError("fake", "connection reset", "see whether the cloud runs")
        due = self._cloud.faults.get(method)
        if due:
            raise due.pop(0)

    def _find(self, ref: str) -> OwnedImage | None:
        record = self._cloud.records.get(ref)
        return record.image if record and record.instance == self._instance else None

    def _get(self, ref: str) -> OwnedImage:
        image = self._find(ref)
        if image is None:
            raise BackendConflictError(ref, "there is no such record of this instance", "observe the target again")
        return image

    def _put(self, image: OwnedImage) -> OwnedImage:
        old = self._cloud.records.get(image.ref)
        self._cloud.records[image.ref] = FakeRecord(self._instance, image, old.notes if old else {})
        return image


def _begin(spec: ImageSpec, ref: str) -> OwnedImage:
    image = OwnedImage(
        ref=ref,
        key=spec.key,
        fingerprint=spec.fingerprint,
        state=State.PARTIAL,
        metadata=spec.metadata,
        format=spec.format,
        digest=None,
        size=0,
        virtual_size=spec.virtual_size,
        created_at=spec.at,
    )
    return _moved(image, State.PARTIAL)


def _moved(image: OwnedImage, state: State, retirement: Retirement | None = None) -> OwnedImage:
    """Return the record in another state, with the properties that follow it."""
    metadata = replace(image.metadata, properties={**image.metadata.properties, **state_properties(state)})
    return replace(image, state=state, metadata=metadata, retirement=retirement)


def _read(data: Path, progress: Progress) -> tuple[Digest, int]:
    sha512, size = hashlib.sha512(), 0
    with data.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            sha512.update(chunk)
            size += len(chunk)
            progress(len(chunk))
    return Digest(sha512.hexdigest()), size
