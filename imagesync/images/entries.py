"""What the store keeps: names, side records, and locks on single files."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NewType

from imagesync.backend import FileFacts
from imagesync.model import Digest, Format

EntryName = NewType("EntryName", str)
"""``sources/<sha512>``, ``converted/<sha512>-<format>[-<tag>]`` or ``partial/<sha512>``: the path below the root."""

RECORD_SUFFIX = ".json"

PARTIAL_AREA = "partial"
"""Where interrupted downloads are; see ``imagesync.images.partial``."""


def source_name(sha512: Digest) -> EntryName:
    """Return the name of a file as published."""
    return EntryName(f"sources/{sha512}")


def partial_name(sha512: Digest) -> EntryName:
    """Return the name of what there is of a download that was interrupted."""
    return EntryName(f"{PARTIAL_AREA}/{sha512}")


def converted_name(sha512: Digest, format: Format, tag: str = "") -> EntryName:  # noqa: A002 - the field's word
    """Return the name of what was made from the source ``sha512``; ``tag`` tells apart different makings."""
    return EntryName(f"converted/{sha512}-{format}{f'-{tag}' if tag else ''}")


@dataclass(frozen=True, slots=True)
class Record:
    """The side record of an entry. Sizes are in bytes; ``mtime_ns`` and ``size`` are compared at every use.

    ``digest`` is the SHA-512 of the file. ``format`` is ``None`` for a source: it is inspected at every use, so that
    a rule that is new refuses what was stored before. ``source_format`` and ``wrapped`` say what it was made from.
    ``boot`` names the run of the kernel in which the bytes were written, empty once they are known to be on the disk.
    ``compared`` says that the result of a conversion was compared with its source.
    """

    digest: Digest
    size: int
    virtual_size: int = 0
    format: Format | None = None
    source_format: Format | None = None
    wrapped: bool = False
    mtime_ns: int = 0
    boot: str = ""
    compared: bool = False

    def to_json(self) -> str:
        """Return the record as a JSON object."""
        return json.dumps(asdict(self), indent=1) + "\n"


def parse_record(text: str) -> Record | None:
    """Return the record, or ``None`` if it is not a complete one."""
    try:
        raw = json.loads(text)
        return Record(
            digest=Digest(str(raw["digest"])),
            size=int(raw["size"]),
            virtual_size=int(raw["virtual_size"]),
            format=Format(raw["format"]) if raw["format"] else None,
            source_format=Format(raw["source_format"]) if raw["source_format"] else None,
            wrapped=bool(raw["wrapped"]),
            mtime_ns=int(raw["mtime_ns"]),
            boot=str(raw["boot"]),
            compared=bool(raw.get("compared", False)),
        )
    except (ValueError, TypeError, LookupError):
        return None


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in the store. ``allocated`` is what it takes on disk, in bytes; ``used_ns`` its last use.

    What a directory target has a link to takes nothing here: removing it would free nothing. ``linkable`` is what the
    file was when it came in, if that was just now: its digest is of bytes that were read since.
    """

    name: EntryName
    path: Path
    record: Record
    allocated: int
    used_ns: int
    linkable: FileFacts | None = None

    @property
    def is_whole(self) -> bool:
        """Return whether it is something to use, and no download that was interrupted or still runs."""
        return not self.name.startswith(f"{PARTIAL_AREA}/")


def read_entry(root: Path, name: EntryName) -> Entry | None:
    """Return the entry if file and record are there and fit each other, without reading the content."""
    path = root / name
    side = record_path(path)
    try:
        record = parse_record(side.read_text("utf-8"))
        status, used = path.lstat(), side.stat().st_mtime_ns
    except (OSError, UnicodeDecodeError):
        return None
    if record is None or (record.size, record.mtime_ns) != (status.st_size, status.st_mtime_ns):
        return None
    return Entry(name, path, record, allocated(status), used)


def note_use(root: Path, names: Iterable[EntryName]) -> None:
    """Let those of ``names`` that are there count as used now, so that others are evicted before."""
    for name in names:
        with suppress(OSError):
            os.utime(record_path(root / name))


def allocated(status: os.stat_result) -> int:
    """Return how many bytes removing a file would free."""
    return status.st_blocks * 512 if status.st_nlink == 1 else 0


def record_path(path: Path) -> Path:
    """Return where the side record of the file at ``path`` is."""
    return path.with_name(path.name + RECORD_SUFFIX)


def lock_file(path: Path, *, shared: bool, wait: bool) -> int | None:
    """Lock the file or directory at ``path`` and return the descriptor that holds the lock.

    Returns ``None`` if it is gone, was replaced while waiting, or (without ``wait``) is locked by somebody else. The
    kernel drops the lock with the last descriptor, also when a process is killed.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        if os.path.samestat(os.fstat(descriptor), path.lstat()):
            return descriptor
    except OSError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


@contextmanager
def exclusively(path: Path) -> Iterator[bool]:
    """Yield whether nobody else holds the file or directory at ``path``; keep others out until the end."""
    descriptor = lock_file(path, shared=False, wait=False)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def write_whole(path: Path, text: str, scratch: Path) -> None:
    """Replace ``path`` in one step, by way of the new file ``scratch`` in the same file system."""
    scratch.write_text(text, "utf-8")
    scratch.replace(path)


def sync(path: Path) -> None:
    """Make the bytes of a file, or renames and removals in a directory, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
