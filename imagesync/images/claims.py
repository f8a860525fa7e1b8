"""Room in the cache that is promised to what is being written, so that no two are given the same.

A claim is a file below ``claims/`` that whoever writes holds locked: what a dead process claimed counts no more. Call
everything here under the store's lock on its room.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from imagesync.images.entries import exclusively

AREA = "claims"


@dataclass(frozen=True, slots=True)
class Claim:
    """What writing the file ``path`` may take, in bytes; ``kept`` of it stays. ``had`` is what it took before."""

    needed: int
    kept: int
    path: str
    had: int

    @property
    def written(self) -> int:
        """Return how much of it is on the disk by now."""
        return max(0, taken(Path(self.path)) - self.had)


def taken(path: Path) -> int:
    """Return how many bytes a file takes on the disk; nothing if there is none."""
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0


@contextmanager
def claimed(root: Path, claim: Claim) -> Iterator[None]:
    """Hold a claim until the end."""
    path, descriptor = _new(root / AREA)
    try:
        os.write(descriptor, json.dumps(asdict(claim)).encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _new(directory: Path) -> tuple[Path, int]:
    for number in itertools.count():
        path = directory / str(number)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        except FileExistsError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return path, descriptor
    raise AssertionError


def outstanding(root: Path) -> tuple[int, int]:
    """Return how many bytes all claims together have yet to write, and how many of these stay."""
    claims = list(_living(root / AREA))
    left = [(max(0, claim.needed - claim.written), max(0, claim.kept - claim.written)) for claim in claims]
    return sum(needed for needed, _ in left), sum(kept for _, kept in left)


def _living(directory: Path) -> Iterator[Claim]:
    for path in sorted(directory.iterdir()):
        with exclusively(path) as ours:
            if ours:
                path.unlink(missing_ok=True)
                continue
        try:
            yield Claim(**json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            continue  # it ended meanwhile
