"""Which files were opened and read while something ran, by any process, as the kernel tells it (inotify(7))."""

import ctypes
import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_ACCESS, _OPEN, _OVERFLOW, _DIRECTORY = 0x1, 0x20, 0x4000, 0x40000000
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class Accesses:
    """How often files were opened, and which were read from. A mapping into memory is not seen, its opening is."""

    opened: Counter[Path] = field(default_factory=Counter)
    read: set[Path] = field(default_factory=set)


@contextmanager
def watched(directories: Iterable[Path]) -> Iterator[Accesses]:
    """Yield what is filled at the end with what happened to files directly inside ``directories``."""
    accesses = Accesses()
    descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        places = {_watch(descriptor, path): path for path in directories}
        yield accesses
        for event, mask, name in _events(descriptor):
            if mask & _OVERFLOW:
                raise RuntimeError("the kernel lost events: raise fs.inotify.max_queued_events")
            if mask & _DIRECTORY or not name:
                continue
            path = places[event] / name
            accesses.opened[path] += bool(mask & _OPEN)
            if mask & _ACCESS:
                accesses.read.add(path)
    finally:
        os.close(descriptor)


def _watch(descriptor: int, path: Path) -> int:
    found = _libc.inotify_add_watch(descriptor, os.fsencode(path), _ACCESS | _OPEN)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    return int(found)


def _events(descriptor: int) -> Iterator[tuple[int, int, str]]:
    while True:
        try:
            block = os.read(descriptor, 1 << 20)
        except BlockingIOError:
            return
        at = 0
        while at < len(block):
            watch, mask, _cookie, length = _EVENT.unpack_from(block, at)
            at += _EVENT.size
            yield watch, mask, os.fsdecode(block[at : at + length].rstrip(b"\0"))
            at += length
