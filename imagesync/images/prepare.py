"""From an endorsed image to the file that a target takes, with no work done twice.

What an artifact is called in the store, and in fingerprints, is (source SHA-512, format, tag). The tag is empty for
the published file itself, ``unpacked`` for what was only taken out of an archive, and the tag of the conversion
options for what qemu-img wrote.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from imagesync.backend import FileFacts, Progress
from imagesync.errors import (
    BackendRefusedError,
    CacheDamagedError,
    ContentError,
    DigestMismatchError,
    HostileImageError,
    StoredDigestError,
    UnsupportedFormatError,
)
from imagesync.images.archive import UnpackLimits, unwrap
from imagesync.images.artifact import Artifact, ConversionLimits, ConversionOptions
from imagesync.images.convert import Conversion, convert, short_name, worst_case
from imagesync.images.entries import Entry, EntryName, Record, converted_name, source_name
from imagesync.images.file import opened
from imagesync.images.hashing import file_digest
from imagesync.images.identify import Wrapper, identify
from imagesync.images.inspect import TIB, Inspection, inspect
from imagesync.images.store import Store
from imagesync.model import UNPACKED, Digest, Format

log = logging.getLogger(__name__)

Fetch = Callable[[Path, Progress], int]
"""Writes the published bytes, verified against the SHA-512, to the given path; returns how many came over the network.

An earlier attempt may have left some of them there. What it leaves itself when it fails is for the next one.
"""


@dataclass(frozen=True, slots=True)
class ArtifactRequest:
    """What a target wants. ``formats`` in order of preference; sizes in bytes.

    ``unpack_ratio`` is how many times larger than its archive an image may be. ``turn`` is entered while an image is
    unpacked and converted, and again if that is repeated. ``max_size`` is that of the largest file that the target
    takes.
    """

    sha512: Digest
    size: int
    formats: tuple[Format, ...]
    options: ConversionOptions = field(default_factory=ConversionOptions)
    max_virtual_size: int = TIB
    limits: ConversionLimits = field(default_factory=ConversionLimits)
    unpack_ratio: int = 200
    turn: AbstractContextManager[object] = field(default_factory=nullcontext)
    max_size: int | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What to make of an image: itself (``tag`` is ``None``), or the result of that name."""

    format: Format
    tag: str | None


@dataclass(frozen=True, slots=True)
class _Job:
    """One call of ``prepare``: what is wanted, where it is kept, and how it is had."""

    request: ArtifactRequest
    store: Store
    fetch: Fetch
    progress: Progress
    converting: Progress

    @property
    def subject(self) -> str:
        return short_name(self.request.sha512)

    def inspect(self, path: Path, *, bare: bool = False) -> Inspection:
        return inspect(path, subject=self.subject, max_virtual_size=self.request.max_virtual_size, bare=bare)

    def check_size(self, size: int) -> None:
        """Refuse a file that is too large for the target, before more is done for it."""
        if self.request.max_size is not None and size > self.request.max_size:
            detail = f"a file of {size} bytes would be uploaded, and the target takes at most {self.request.max_size}"
            raise BackendRefusedError(self.subject, detail, "exclude the image, or name another format for the target")


def _ignore(_count: int) -> None:
    pass


@contextmanager
def prepare(
    request: ArtifactRequest, store: Store, fetch: Fetch, progress: Progress, converting: Progress = _ignore
) -> Iterator[Artifact]:
    """Yield the artifact, held against eviction until the end.

    A finished result or a source that is in the store is used; else ``fetch`` is called, once however many processes
    ask. ``progress`` counts the bytes of the download; ``converting`` counts up to ``request.size`` as well, while
    qemu-img works.

    Raises:
        ContentError: not the endorsed bytes, no usable or safe format, no room, or the conversion failed.
        BackendRefusedError: it is larger than the target takes.
        SourceError: it could not be fetched.
        StoreError: the cache cannot be used.
    """
    job = _Job(request, store, fetch, progress, converting)
    spoiled = False
    try:
        with ExitStack() as held:
            artifact = _finished(job, held, 0) or _made_from_whole(job, held)
            job.check_size(artifact.size)
            try:
                yield artifact
            except StoredDigestError:
                spoiled = True
                raise
    finally:
        if spoiled:
            _forget(job)


def _forget(job: _Job) -> None:
    """Drop what the cache has of an image: what arrived at the target was not what the cache says it holds."""
    job.store.discard(source_name(job.request.sha512))
    for wanted, tag in _candidates(job.request):
        job.store.discard(converted_name(job.request.sha512, wanted, tag))


def _finished(job: _Job, held: ExitStack, downloaded: int) -> Artifact | None:
    """Return what an earlier run made, if it is what would be made now."""
    for wanted, tag in _candidates(job.request):
        with ExitStack() as stack:
            entry = stack.enter_context(job.store.borrow(converted_name(job.request.sha512, wanted, tag)))
            if entry is not None and _fits(job, entry, wanted, tag) and _survived(job, entry):
                held.push(stack.pop_all())
                return _result(entry, tag, downloaded)
    return None


def _candidates(request: ArtifactRequest) -> Iterator[tuple[Format, str]]:
    for wanted in request.formats:
        yield wanted, request.options.tag()
        yield wanted, UNPACKED


def _fits(job: _Job, entry: Entry, wanted: Format, tag: str) -> bool:
    if entry.record.source_format is None:
        return False
    if job.request.options.compare and not entry.record.compared and tag != UNPACKED:
        log.info("not using the cached %s: it was not compared with its source", entry.name)
        return False
    try:
        choice = _choose(job, entry.record.source_format, wrapped=entry.record.wrapped)
        found = job.inspect(entry.path, bare=wanted is Format.RAW)
    except ContentError as error:
        log.warning("not using the cached %s: %s", entry.name, error)
        return False
    return choice == Choice(wanted, tag) and found.format is wanted


def choose(
    formats: tuple[Format, ...], options: ConversionOptions, found: Format, *, wrapped: bool, subject: str
) -> Choice:
    """Return what to make of an image in format ``found``: what a target takes with the least work.

    ``formats`` are the target's, in order of preference; ``wrapped`` says that it came out of an archive.

    Raises:
        UnsupportedFormatError: the target takes neither it nor anything that it can be converted to.
    """
    if found in formats:
        return Choice(found, UNPACKED if wrapped else None)
    targets = [wanted for wanted in formats if wanted is not Format.ISO]
    if found is Format.ISO or not targets:
        detail = f"it is {found}, the target takes {', '.join(formats) or 'nothing'}, and there is no conversion"
        raise UnsupportedFormatError(subject, detail, f"add {found} to the target's formats")
    return Choice(targets[0], options.tag())


def _choose(job: _Job, found: Format, *, wrapped: bool) -> Choice:
    return choose(job.request.formats, job.request.options, found, wrapped=wrapped, subject=job.subject)


def _made_from_whole(job: _Job, held: ExitStack) -> Artifact:
    """Return what ``_made`` does. Where the cache turns out to be damaged, the source is fetched anew, once."""
    try:
        return _made(job, held)
    except CacheDamagedError as error:
        log.warning("made anew: %s", error)
    return _made(job, held)


def _made(job: _Job, held: ExitStack) -> Artifact:
    """Return the artifact after doing what is missing: download, unpacking, conversion."""
    name = source_name(job.request.sha512)
    found = False
    try:
        with ExitStack() as source:
            entry, downloaded = _source(job, name, source)
            found = True
            if (artifact := _passed_through_whole(job, entry, downloaded)) is not None:
                held.push(source.pop_all())
                return artifact
            with job.store.working(converted_name(job.request.sha512, job.request.formats[0])):
                artifact = _finished(job, held, downloaded) or _produced(job, entry, held, downloaded)
    except (HostileImageError, CacheDamagedError):
        # Nobody may use it by another way either; what rotted in the cache is fetched anew. What could not be fetched,
        # because this list says another size of it, may be there for another list.
        if found:
            job.store.discard(name)
        raise
    job.store.trim()  # nobody could say before how large the result would be; the source may go now
    return artifact


def _source(job: _Job, name: EntryName, held: ExitStack) -> tuple[Entry, int]:
    """Return the published file, held in the store, and how many bytes were fetched for it."""
    if (entry := _borrowed(job, name, held)) is not None:
        return entry, 0
    with job.store.working(name):
        if (entry := _borrowed(job, name, held)) is not None:
            return entry, 0
        return held.enter_context(_downloaded(job, name))


def _borrowed(job: _Job, name: EntryName, held: ExitStack) -> Entry | None:
    with ExitStack() as stack:
        entry = stack.enter_context(job.store.borrow(name))
        if entry is None or entry.record.size != job.request.size or not _survived(job, entry):
            return None
        held.push(stack.pop_all())
        return entry


def _survived(job: _Job, entry: Entry) -> bool:
    """Return whether an entry is what was written, also where the power may have failed since."""
    if job.store.is_settled(entry):
        return True
    with job.store.errors():
        if file_digest(entry.path, job.progress) != entry.record.digest:
            log.warning("the cached %s did not survive the last end of this machine, it is made anew", entry.name)
            return False
    job.store.settle(entry)
    return True


@contextmanager
def _downloaded(job: _Job, name: EntryName) -> Iterator[tuple[Entry, int]]:
    with ExitStack() as held:
        with job.store.workspace() as work:
            file = work / "source"
            fetched = _fetched(job, file)
            entry = held.enter_context(job.store.add(name, file, Record(job.request.sha512, job.request.size)))
        yield entry, fetched


def _fetched(job: _Job, file: Path) -> int:
    """Download to ``file``, by way of what interrupted attempts left, and return how many bytes that took."""
    size = job.request.size
    with job.store.partial(job.request.sha512) as partial, job.store.errors():
        missing = max(0, size - partial.stat().st_size)
        with job.store.room(missing, partial, kept=missing):
            fetched = job.fetch(partial, job.progress)
        found = partial.stat().st_size
        if found != size:
            raise DigestMismatchError(job.subject, f"{found} bytes were fetched, {size} are endorsed")
        partial.replace(file)
    return fetched


def _passed_through_whole(job: _Job, source: Entry, downloaded: int) -> Artifact | None:
    """Return what ``_passed_through`` does; put nothing down to the publisher that became of a file in the cache."""
    try:
        return _passed_through(job, source, downloaded)
    except ContentError:
        if not source.linkable:
            _check_cached(job, source)
        raise


def _passed_through(job: _Job, source: Entry, downloaded: int) -> Artifact | None:
    """Return the published file itself as the artifact, if the target takes it as it is."""
    with opened(source.path, job.subject) as file:
        if isinstance(identify(file), Wrapper):
            return None
    found = job.inspect(source.path)
    if _choose(job, found.format, wrapped=False).tag is not None:
        return None
    digest, size = source.record.digest, source.record.size
    return Artifact(
        source.path,
        digest,
        size,
        found.virtual_size,
        found.format,
        found.format,
        converted=False,
        downloaded=downloaded,
        linkable=source.linkable,
    )


def _check_cached(job: _Job, source: Entry) -> None:
    """Read a source that an earlier run left: what qemu-img makes of it cannot be compared with the list any more."""
    if file_digest(source.path, job.converting) != job.request.sha512:
        detail = "the copy in the cache is damaged and was removed"
        raise CacheDamagedError(job.subject, detail, "it is downloaded again; check the cache's disk")


@contextmanager
def _unchanged(job: _Job, source: Entry) -> Iterator[None]:
    """Refuse what was made of a source that somebody wrote to meanwhile: a target may have a link to it."""
    before = FileFacts.of(source.path.stat())
    if not source.linkable:
        _check_cached(job, source)
    yield
    if FileFacts.of(source.path.stat()) != before:
        hint = "it is downloaded again; see which program writes to images of a directory target"
        raise CacheDamagedError(job.subject, "its file in the cache was changed while it was converted", hint)


def _produced(job: _Job, source: Entry, held: ExitStack, downloaded: int) -> Artifact:
    request = job.request
    with request.turn, job.store.workspace() as work, job.store.errors():
        with _unchanged(job, source):
            limits = UnpackLimits(
                worst_case(request.max_virtual_size), ratio=request.unpack_ratio, reserve=job.store.room
            )
            unpacked = unwrap(source.path, work, limits, job.subject)
            image = unpacked or source.path
            found = job.inspect(image)
            choice = _choose(job, found.format, wrapped=unpacked is not None)
            tag = choice.tag or ""
            result = (image, found) if tag == UNPACKED else _converted(job, image, found, work / "result")
            record = _record(found.format, result, job.converting, wrapped=unpacked is not None)
            record = replace(record, compared=request.options.compare and tag != UNPACKED)
        name = converted_name(request.sha512, choice.format, tag)
        entry = held.enter_context(job.store.add(name, result[0], record))
    return _result(entry, tag, downloaded)


def _converted(job: _Job, image: Path, found: Inspection, into: Path) -> tuple[Path, Inspection]:
    request = job.request
    target = _choose(job, found.format, wrapped=False).format
    if target is Format.RAW:
        job.check_size(found.virtual_size)
    conversion = Conversion(image, found, into, target, request.sha512, request.options, request.limits)
    with job.store.room(worst_case(found.virtual_size), into):
        return into, convert(conversion, _scaled(job.converting, found.virtual_size, request.size))


def _scaled(progress: Progress, total: int, scale: int) -> Progress:
    """Return a callback that counts to ``total`` and reports as much of ``scale``."""
    done = 0

    def count(more: int) -> None:
        nonlocal done
        before, done = done * scale // total, done + more
        progress(done * scale // total - before)

    return count


def _record(source_format: Format, result: tuple[Path, Inspection], progress: Progress, *, wrapped: bool) -> Record:
    path, found = result
    digest = file_digest(path, progress)
    return Record(digest, path.stat().st_size, found.virtual_size, found.format, source_format, wrapped)


def _result(entry: Entry, tag: str, downloaded: int) -> Artifact:
    record = entry.record
    return Artifact(
        path=entry.path,
        digest=record.digest,
        size=record.size,
        virtual_size=record.virtual_size,
        format=record.format or Format.RAW,
        source_format=record.source_format or Format.RAW,
        converted=True,
        downloaded=downloaded,
        tag=tag,
        linkable=entry.linkable,
    )
