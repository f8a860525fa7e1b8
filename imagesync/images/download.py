"""Downloading an image: exactly the endorsed bytes are the result, or there is an error."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random

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
from imagesync.http import HttpPolicy, Response, get, redact
from imagesync.images.diskerrors import FULL, text
from imagesync.images.hashing import BackgroundHash
from imagesync.images.partial import Mark, drop_mark, is_rest, kept, mark_of, read_mark, write_mark
from imagesync.model import Digest

_LOG = logging.getLogger(__name__)

LONGEST_WAIT = 60.0
"""Seconds between two attempts. A server that asks for more is left to a later pass."""

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
# How servers refuse a range: wrong condition, outside of the file, not known.
_NO_RANGES = frozenset({400, 412, 416, 501})
_BLOCK = 1 << 20
_NAP = 0.25


@dataclass(frozen=True, slots=True)
class Source:
    """A place that may have the file, and what asking it may cost."""

    uri: str
    policy: HttpPolicy


def _unthrottled(_count: int) -> float:
    return 0.0


def _any_time(_uri: str) -> AbstractContextManager[object]:
    return nullcontext()


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """What to get: ``size`` in bytes and ``sha512`` as the list endorses them.

    ``mirrors`` are asked before ``uri``, in order. ``attempts`` is how often in a row each is asked in vain, the first
    time included; one that brings the file ``further`` bytes on was not in vain. ``backoff`` is the first
    wait between attempts in seconds, doubled by each that was in vain. All attempts at one place together take no
    longer than its policy gives the file. ``throttle`` is told of bytes that came over the network, and says for how
    many seconds to read no more; ``turn`` gives what is held while a place is asked.
    """

    uri: str
    size: int
    sha512: Digest
    policy: HttpPolicy
    attempts: int = 3
    backoff: float = 1.0
    mirrors: tuple[Source, ...] = ()
    further: int = 16 << 20
    throttle: Callable[[int], float] = _unthrottled
    turn: Callable[[str], AbstractContextManager[object]] = _any_time


def download(request: DownloadRequest, into: Path, progress: Progress) -> int:
    """Write the endorsed bytes to ``into``, and return how many came over the network.

    What an interrupted download left in ``into`` is gone on with if the server still has the same version of the file.
    When this one fails, ``into`` stays as far as it came if a later one can go on with it, else it is gone.

    ``progress`` counts how far the file is: what is there already counts at once, and is taken back if it has to be
    fetched anew.

    Raises:
        DigestMismatchError: SHA-512 or size are not the endorsed ones.
        SourceError: it could not be had; the subclass and its text say why.
        NoSpaceError: the file system is full or a quota is reached.
        ContentError: the file cannot be written, or read again, for another reason.
        ConfigError: the CA bundle or a proxy of the policy cannot be used.
    """
    with _opened_file(into) as descriptor:
        work = _Download(request, into, descriptor, progress)
        try:
            work.run()
        except BaseException as error:
            work.leave(error)
            raise
    drop_mark(into)
    return work.received


def fetch(url: str, policy: HttpPolicy, limit: int, into: Path) -> None:
    """Write what ``url`` has, at most ``limit`` bytes, to the new file ``into``. Nothing vouches for it.

    Raises:
        SourceError: it could not be had, or is larger.
        NoSpaceError: the file system is full or a quota is reached.
        ContentError: the file cannot be written for another reason.
    """
    with _opened_file(into, os.O_TRUNC) as descriptor, get(url, policy, max_bytes=limit) as response:
        for block in response.blocks():
            _write(descriptor, block, into)


class _UselessError(Exception):
    """What is there of the file, or what the server says about the rest of it, is of no use: begin anew."""


@dataclass(slots=True)
class _Download:
    """One download: how much of the file is there and was reported, and how much came over the network.

    ``furthest`` and ``fruitless`` say how far the file ever was, and how many attempts in a row brought it no further.
    ``due`` is when the place that is asked has had its time, on the monotonic clock.
    """

    request: DownloadRequest
    into: Path
    descriptor: int
    progress: Progress
    position: int = 0
    reported: int = 0
    received: int = 0
    furthest: int = 0
    fruitless: int = 0
    due: float = math.inf

    def run(self) -> None:
        """Ask the mirrors and then the published place, each until it has the file or asking again is no use."""
        for mirror in self.request.mirrors:
            try:
                return self._persist(mirror)
            except (SourceError, DigestMismatchError) as error:
                _LOG.warning("a mirror does not help, the next place is asked: %s", error)
        return self._persist(Source(self.request.uri, self.request.policy))

    def leave(self, error: BaseException) -> None:
        """Remove what no later attempt can go on with: also what could not be written, because it takes room."""
        with suppress(OSError):
            unwritable = isinstance(error, ContentError) and not isinstance(error, DigestMismatchError)
            if unwritable or not self.position or read_mark(self.into) is None:
                drop_mark(self.into)
                self.into.unlink()

    def _persist(self, source: Source) -> None:
        self.fruitless = 0
        with self.request.turn(source.uri):
            self.due = time.monotonic() + source.policy.deadline(self.request.size)
            Retrying(
                stop=self._is_hopeless,
                wait=self._wait,
                sleep=self._pause,
                retry=retry_if_exception(_worth_repeating),
                before_sleep=_log_retry,
                reraise=True,
            )(self._attempt, source)

    def _is_hopeless(self, _state: RetryCallState) -> bool:
        """Return whether to stop. Whoever brings a large file further by each attempt gets another one, in its time."""
        further = self.position >= self.furthest + self.request.further
        self.furthest = self.position if further else self.furthest
        self.fruitless = 0 if further else self.fruitless + 1
        return self.fruitless >= self.request.attempts or time.monotonic() >= self.due

    def _wait(self, state: RetryCallState) -> float:
        """Return the seconds to the next attempt: exponential with jitter, but at least what the server asked for."""
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, HttpStatusError) else None
        backoff = self.request.backoff
        doubled = min(backoff * (1 << min(max(self.fruitless - 1, 0), 20)), LONGEST_WAIT)
        return max(doubled + wait_random(0, backoff)(state), asked or 0.0)

    def _attempt(self, source: Source) -> None:
        self.progress(0)  # which may raise: whoever was asked to stop wants no further attempt
        mark, start = kept(self.into, source.uri), os.fstat(self.descriptor).st_size
        if mark is not None and 0 < start <= self.request.size:
            try:
                return self._continue(source, mark, start)
            except (DigestMismatchError, HttpStatusError, _UselessError) as error:
                if isinstance(error, HttpStatusError) and error.status not in _NO_RANGES:
                    raise
                _LOG.info("not gone on with after %d bytes, but fetched anew: %s", start, error)
        return self._begin(source)

    def _continue(self, source: Source, mark: Mark, start: int) -> None:
        """Fetch what is missing, after reading again what is there."""
        with BackgroundHash() as sha512:
            self._read_again(sha512, start)
            if start == self.request.size:
                self._finish(redact(source.uri), sha512)
                return
            with self._opened(source, mark.headers(start)) as response:
                length = self.request.size - start
                if response.status != 206 or response.length not in {None, length} or not mark.fits(response.headers):
                    raise _UselessError(f"{response.url}: has another version, or knows no ranges")
                if not is_rest(response.headers, start, self.request.size):
                    raise _UselessError(f"{response.url}: sends another part than the one asked for")
                self._receive(response, sha512)

    def _begin(self, source: Source) -> None:
        """Fetch the file from its first byte."""
        with self._opened(source, {}) as response, BackgroundHash() as sha512:
            self._empty(mark_of(source.uri, response.headers))
            try:
                self._receive(response, sha512)
            except DigestMismatchError:
                drop_mark(self.into)
                raise

    def _read_again(self, sha512: BackgroundHash, size: int) -> None:
        self._count(-self.position)
        for at in range(0, size, _BLOCK):
            length = min(_BLOCK, size - at)
            try:
                block = os.pread(self.descriptor, length, at)
            except OSError as error:
                raise _UselessError(f"what is there cannot be read: {text(error)}") from error
            if len(block) != length:
                raise _UselessError("what is there became shorter")
            sha512.update(block)
            self._count(len(block))

    def _empty(self, mark: Mark | None) -> None:
        self._count(-self.position)
        try:
            # In this order, killed anywhere: never the mark of one version with bytes of another.
            drop_mark(self.into)
            os.ftruncate(self.descriptor, 0)
            if mark is not None:
                write_mark(self.into, mark)
        except OSError as error:
            raise _unwritable(self.into, error) from error

    def _receive(self, response: Response, sha512: BackgroundHash) -> None:
        os.lseek(self.descriptor, self.position, os.SEEK_SET)
        for block in response.blocks():
            if self.position + len(block) > self.request.size:
                raise _wrong_size(response.url, "the server sends more", self.request.size)
            sha512.update(block)
            _write(self.descriptor, block, self.into)
            self.received += len(block)
            self._count(len(block))
            self._pause(self.request.throttle(len(block)))
        _check_complete(response, self.position, self.request.size)
        self._finish(response.url, sha512)

    def _pause(self, seconds: float) -> None:
        """Wait, before the next attempt or to let others have the line, but no longer than anybody wants the file.

        The bounds on a slow server count only the time spent waiting for its bytes.
        """
        due = time.monotonic() + seconds
        while (left := due - time.monotonic()) > 0:
            time.sleep(min(left, _NAP))
            self.progress(0)

    def _finish(self, subject: str, sha512: BackgroundHash) -> None:
        self._count(0)
        _check_digest(subject, sha512.hexdigest(), self.request.sha512)

    @contextmanager
    def _opened(self, source: Source, headers: Mapping[str, str]) -> Iterator[Response]:
        """Yield the answer; its body ends the download as soon as it is longer than endorsed."""
        size = self.request.size
        try:
            with get(source.uri, source.policy, max_bytes=size, headers=headers, due=self.due) as response:
                if response.status == 200 and response.length not in {None, size}:
                    raise _wrong_size(response.url, f"the server offers {response.length}", size)
                yield response
        except TooLargeError as error:
            raise _wrong_size(error.subject, "the server sends more", size) from error

    def _count(self, size: int) -> None:
        """Count bytes, and report them once they are many, or no more come."""
        self.position += size
        pending = self.position - self.reported
        if abs(pending) >= _BLOCK or (pending and size <= 0):
            self.reported = self.position
            self.progress(pending)


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


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    _LOG.info("attempt %d failed, next in %.1f s: %s", state.attempt_number, state.upcoming_sleep, error)


# --- disk ------------------------------------------------------------------------------------------------------------
@contextmanager
def _opened_file(into: Path, flags: int = 0) -> Iterator[int]:
    try:
        descriptor = os.open(into, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o644)
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


def _unwritable(into: Path, error: OSError) -> ContentError:
    if error.errno in FULL:
        return NoSpaceError(str(into), text(error), "make room in the cache's file system, or give the cache another")
    return ContentError(str(into), text(error), "check the cache directory, its owner and its file system")
