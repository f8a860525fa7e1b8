"""SHA-512 beside what waits for sockets and disks."""

from __future__ import annotations

import hashlib
import queue
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from imagesync.backend import Progress
from imagesync.model import Digest

_QUEUED_BLOCKS = 8
_BLOCK = 1 << 20


def file_digest(path: Path, progress: Progress) -> Digest:
    """Return the SHA-512 of a file. ``progress`` is called with 0 for each block, and may raise to end it."""
    sha512, buffer = hashlib.sha512(), memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            sha512.update(buffer[:count])
            progress(0)
    return Digest(sha512.hexdigest())


class BackgroundHash:
    """SHA-512 in a thread of its own: it takes a whole core, so the socket and the disk must not wait for it."""

    def __init__(self) -> None:
        self._hash = hashlib.sha512()
        self._blocks: queue.Queue[bytes | None] = queue.Queue(_QUEUED_BLOCKS)
        self._thread = threading.Thread(target=self._run, name="sha512", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the thread."""
        self._finish()

    def update(self, block: bytes) -> None:
        """Add a block, waiting while too many are queued."""
        self._blocks.put(block)

    def hexdigest(self) -> str:
        """Return the digest of everything added. Nothing can be added afterwards."""
        self._finish()
        return self._hash.hexdigest()

    def _finish(self) -> None:
        if self._thread.is_alive():
            self._blocks.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (block := self._blocks.get()) is not None:
            self._hash.update(block)
