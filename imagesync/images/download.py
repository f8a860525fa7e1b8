"""Downloading an image: exactly the endorsed bytes end up in the file, or an error and no file."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_random
from tenacity.wait import wait_base

from imagesync.backend import Progress
from imagesync.errors import (
    ContentError,
    DigestMismatchError,
    HttpStatusError,
    NoSpaceError,
    Retry,
    SourceError,
    TooLargeError,
    UnreachableError,
)
from imagesync.http import HttpPolicy, Response, get
from imagesync.model import Digest

_LOG = logging.getLogger(__name__)

LONGEST_WAIT = 60.0
"""Seconds between two attempts. A server that asks for more is left to a later pass."""

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REPORT_EVERY = 1 << 20
_QUEUED_BLOCKS = 8


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """What to get: ``size`` in bytes and ``sha512`` as the list endorses them.

    ``attempts`` counts the first one too; ``backoff`` is the first wait between attempts in seconds, doubled each time.
    """

    uri: str
    size: int
    sha512: Digest
    policy: HttpPolicy
    attempts: int = 3
    backoff: float = 1.0


def download(request: DownloadRequest, into: Path, progress: Progress) -> None:
    """Write the endorsed bytes to ``into`` and make them durable; on any failure ``into`` is gone.

    ``progress`` counts what came over the network: an attempt that is repeated counts again.

    Raises:
        DigestMismatchError: SHA-512 or size are not the endorsed ones.
        SourceError: it could not be had; the subclass and its text say why.
        NoSpaceError: the file system is full or a quota is reached.
        ContentError: the file cannot be written for another reason.
        ConfigError: the CA bundle or a proxy of the policy cannot be used.
    """
    retrying = Retrying(
        stop=stop_after_attempt(request.attempts),
        wait=_Wait(request.backoff),
        retry=retry_if_exception(_worth_repeating),
        before_sleep=_log_retry,
        reraise=True,
    )
    try:
        retrying(_attempt, request, into, progress)
    except BaseException:
        with suppress(OSError):
            into.unlink()
        raise


def fetch(url: str, policy: HttpPolicy, limit: int, into: Path) -> None:
    """Write what ``url`` has, at most ``limit`` bytes, to the new file ``into``. Nothing vouches for it.

    Raises:
        SourceError: it could not be had, or is larger.
        NoSpaceError: the file system is full or a quota is reached.
        ContentError: the file cannot be written for another reason.
    """
    with _created(into) as descriptor, get(url, policy, max_bytes=limit) as response:
        for block in response.blocks():
            _write(descriptor, block, into)


def _attempt(request: DownloadRequest, into: Path, progress: Progress) -> None:
    with _created(into) as descriptor:
        progress(0)  # which may raise: whoever was asked to stop wants no further attempt
        _receive(request, descriptor, into, progress)


def _receive(request: DownloadRequest, descriptor: int, into: Path, progress: Progress) -> None:
    with _opened(request) as response, _Hash() as sha512:
        received = 0
        for block in _reported(response.blocks(), progress):
            sha512.update(block)
            _write(descriptor, block, into)
            received += len(block)
        _check_complete(response, received, request.size)
        _check_digest(response.url, sha512.hexdigest(), request.sha512)
        _sync(descriptor, into)


@contextmanager
def _opened(request: DownloadRequest) -> Iterator[Response]:
    """Yield the answer; its body ends the download as soon as it is longer than endorsed."""
    try:
        with get(request.uri, request.policy, max_bytes=request.size) as response:
            if response.length is not None and response.length != request.size:
                raise _wrong_size(response.url, f"the server offers {response.length}", request.size)
            yield response
    except TooLargeError as error:
        raise _wrong_size(error.subject, "the server sends more", request.size) from error


def _check_complete(response: Response, received: int, size: int) -> None:
    if received == size:
        return
    if response.delimited:
        raise _wrong_size(response.url, f"the server sent {received}", size)
    detail = f"the connection ended after {received} of {size} bytes"
    raise UnreachableError(response.url, detail, "the next pass tries again; tell the publisher if it stays so")


def _check_digest(subject: str, got: str, expected: Digest) -> None:
    if got != expected:
        detail = f"SHA-512 is {got[:16]}…, the list says {expected[:16]}…"
        raise DigestMismatchError(subject, detail, "the publisher changed the file or is not ready; tried again later")


def _wrong_size(subject: str, what: str, size: int) -> DigestMismatchError:
    hint = "the publisher changed the file or is not ready; tried again later"
    return DigestMismatchError(subject, f"{what}, the list says {size} bytes", hint)


def _reported(blocks: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    pending = 0
    for block in blocks:
        pending += len(block)
        if pending >= _REPORT_EVERY:
            progress(pending)
            pending = 0
        yield block
    if pending:
        progress(pending)


# --- trying again ----------------------------------------------------------------------------------------------------
def _worth_repeating(error: BaseException) -> bool:
    """Return whether another attempt in this pass can help."""
    match error:
        case HttpStatusError(status=status, retry_after=wait):
            return status in _TRANSIENT and (wait or 0.0) <= LONGEST_WAIT
        case SourceError():
            return error.retry is Retry.LATER
        case _:
            return False


class _Wait(wait_base):
    """Exponential back-off with jitter, but at least what the server asked for."""

    def __init__(self, backoff: float) -> None:
        self._backoff = wait_exponential(multiplier=backoff, max=LONGEST_WAIT) + wait_random(0, backoff)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = error.retry_after if isinstance(error, HttpStatusError) else None
        return max(self._backoff(retry_state), asked or 0.0)


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    _LOG.info("attempt %d failed, next in %.1f s: %s", state.attempt_number, state.upcoming_sleep, error)


# --- disk ------------------------------------------------------------------------------------------------------------
@contextmanager
def _created(into: Path) -> Iterator[int]:
    try:
        descriptor = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _unwritable(into, error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(descriptor: int, block: bytes, into: Path) -> None:
    left = memoryview(block)
    try:
        while left:
            left = left[os.write(descriptor, left) :]
    except OSError as error:
        raise _unwritable(into, error) from error


def _sync(descriptor: int, into: Path) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise _unwritable(into, error) from error


def _unwritable(into: Path, error: OSError) -> ContentError:
    text = (error.strerror or "cannot be written").lower()
    if error.errno in _NO_SPACE:
        return NoSpaceError(str(into), text, "make room in the cache's file system, or give the cache another")
    return ContentError(str(into), text, "check the cache directory, its owner and its file system")


# --- hashing ---------------------------------------------------------------------------------------------------------
class _Hash:
    """SHA-512 in a thread of its own: it takes a whole core, so the socket and the disk must not wait for it."""

    def __init__(self) -> None:
        self._hash = hashlib.sha512()
        self._blocks: queue.Queue[bytes] = queue.Queue(_QUEUED_BLOCKS)
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
            self._blocks.put(b"")
            self._thread.join()

    def _run(self) -> None:
        while block := self._blocks.get():
            self._hash.update(block)
