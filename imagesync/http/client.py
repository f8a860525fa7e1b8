"""One bounded GET."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urljoin

import requests

from imagesync import __version__
from imagesync.errors import ForbiddenAddressError, SourceError, TooLargeError, TooSlowError, UnreachableError
from imagesync.http import failure
from imagesync.http.address import Address, literal, refusal
from imagesync.http.connect import open_session
from imagesync.http.policy import HttpPolicy
from imagesync.http.url import Origin, origin_of, redact, split
from imagesync.http.watchdog import Watchdog

_BLOCK = 1 << 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Beside 200, what a request may be answered with that has such a header.
_ASKED_FOR = {"If-None-Match": 304, "If-Modified-Since": 304, "Range": 206}


@contextmanager
def get(
    url: str,
    policy: HttpPolicy,
    *,
    max_bytes: int,
    headers: Mapping[str, str] | None = None,
    due: float = math.inf,
) -> Iterator[Response]:
    """Ask for ``url`` and yield the answer: status 200, or 304 or 206 if ``headers`` ask for a change or a range.

    At most ``max_bytes`` of the body are handed out, for as long as the policy gives them, and not after ``due`` on the
    monotonic clock. Everything that leaves this function or the response is a
    ``SourceError``, but for the configuration's own faults.

    Raises:
        ForbiddenAddressError: the URL or a redirect leads where the policy does not allow.
        UnreachableError: no connection, no TLS, no proper HTTP, an encoded body.
        HttpStatusError: any other status.
        TooSlowError: the headers took too long.
        TooLargeError: the announced length exceeds ``max_bytes``.
        ConfigError: the CA bundle or a proxy of the policy cannot be used.
    """
    began = time.monotonic()
    with Watchdog() as watchdog:
        direct, proxied = _Direct(policy, watchdog), _Proxied(watchdog)
        with open_session(direct, proxied, policy.ca_bundle, system_store=policy.system_store) as session:
            visit = _Visit(session, policy, watchdog, min(due, began + policy.deadline(max_bytes)))
            answer, subject = visit.follow(url, headers or {})
            try:
                yield Response(answer, subject, max_bytes, visit)
            finally:
                answer.close()


class Response:
    """An answer whose body is read in a bounded way.

    Attributes:
        status: 200, 304 or 206.
        url: where the answer came from in the end, as it may be shown.
        headers: case-insensitive.
        length: the announced length of the body in bytes, ``None`` where the server does not say.
        delimited: whether the end of the body can be told from a broken connection.
    """

    def __init__(self, answer: requests.Response, subject: str, max_bytes: int, visit: _Visit) -> None:
        self.status = answer.status_code
        self.url = subject
        self.headers: Mapping[str, str] = answer.headers
        self.length: int | None = answer.raw.length_remaining
        self.delimited = self.length is not None or bool(answer.raw.chunked)
        self._raw, self._visit, self._max_bytes = answer.raw, visit, max_bytes
        self._received = 0
        self._window_bytes, self._window_seconds = 0, 0.0
        if self.length is not None and self.length > max_bytes:
            raise self._too_large(f"the server announces {self.length} bytes")

    def read(self) -> bytes:
        """Return the whole body, and raise what ``blocks`` raises."""
        return b"".join(self.blocks())

    def blocks(self) -> Iterator[bytes]:
        """Yield the body as it arrives, at most 1 MiB at a time; one byte too many is where it stops.

        Raises:
            TooLargeError: more than ``max_bytes``.
            TooSlowError: a stall, below the minimum rate, or past the deadline.
            UnreachableError: the connection broke, or ended before the announced length.
        """
        while block := self._receive(min(_BLOCK, self._max_bytes + 1 - self._received)):
            self._received += len(block)
            if self._received > self._max_bytes:
                raise self._too_large("the server sends more bytes")
            yield block

    def _receive(self, at_most: int) -> bytes:
        began = time.monotonic()
        self._visit.allow_until(began + self._visit.policy.stall_timeout, "no data for {:g} s")
        try:
            # One receive at a time: whatever waits for a full block cannot see a drip.
            block: bytes = self._raw.read1(at_most, decode_content=False)
        except failure.FOREIGN as error:
            raise self._visit.failed(self.url, error, self._progress()) from None
        self._visit.arrived(self.url)
        self._keep_pace(len(block), time.monotonic() - began)
        return block

    def _keep_pace(self, size: int, seconds: float) -> None:
        # Only the time spent waiting for the server counts: a slow disk of ours is not its fault.
        self._window_bytes += size
        self._window_seconds += seconds
        policy = self._visit.policy
        if not size or self._window_seconds < policy.rate_window:
            return
        rate = self._window_bytes / self._window_seconds
        if rate < policy.minimum_rate:
            detail = f"{rate:.0f} bytes/s, below the minimum of {policy.minimum_rate:.0f}, after {self._progress()}"
            raise TooSlowError(self.url, detail, failure.AGAIN)
        self._window_bytes, self._window_seconds = 0, 0.0

    def _progress(self) -> str:
        return f"{self._received} of {self.length} bytes" if self.length is not None else f"{self._received} bytes"

    def _too_large(self, what: str) -> TooLargeError:
        return TooLargeError(self.url, f"{what}, allowed are {self._max_bytes}", "check what is published there")


@dataclass(slots=True)
class _Visit:
    """What the hops of one request share. ``due`` is the overall deadline on the monotonic clock."""

    session: requests.Session
    policy: HttpPolicy
    watchdog: Watchdog
    due: float

    def follow(self, url: str, headers: Mapping[str, str]) -> tuple[requests.Response, str]:
        """Return the final answer, its body unread, and its URL as it may be shown."""
        before: Origin | None = None
        for _ in range(self.policy.max_redirects + 1):
            request, origin = self._prepare(url, headers, before)
            answer = self._send(request)
            target = answer.headers.get("Location") if answer.status_code in _REDIRECTS else None
            if target is None:
                return _accepted(answer, redact(url), headers), redact(url)
            answer.close()
            # The watchdog guards the newest connection: none may stay in the pool for a later hop.
            self.session.close()
            url, before = _join(url, target), origin
        hint = "give the URL where the file really is"
        raise ForbiddenAddressError(redact(url), f"more than {self.policy.max_redirects} redirects", hint)

    def _prepare(
        self, url: str, headers: Mapping[str, str], before: Origin | None
    ) -> tuple[requests.PreparedRequest, Origin]:
        _check_scheme(url, self.policy, before)
        fixed = {"User-Agent": f"imagesync/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
        try:
            request = requests.Request("GET", url, headers={**headers, **fixed}).prepare()
        except failure.FOREIGN:
            raise ForbiddenAddressError(redact(url), "not a usable URL", "correct the URL") from None
        # The prepared URL is the one that is used: an international name may turn into an address on the way.
        origin = origin_of(request.url or "")
        _check_host(origin, redact(url), self.policy)
        credential = self.policy.credential
        if credential is not None and credential.origin == origin:
            request.headers["Authorization"] = credential.header()
        return request, origin

    def _send(self, request: requests.PreparedRequest) -> requests.Response:
        subject, policy = redact(request.url or ""), self.policy
        self.allow_until(time.monotonic() + policy.header_timeout, "no complete answer within {:g} s")
        try:
            answer = self.session.send(
                request,
                stream=True,
                allow_redirects=False,
                timeout=(policy.connect_timeout, policy.header_timeout),
                proxies=dict(policy.proxies),
            )
        except failure.FOREIGN as error:
            raise self.failed(subject, error, "") from None
        try:
            # http.client takes a connection that ends within the headers for the end of the headers.
            self.arrived(subject)
        except TooSlowError:
            answer.close()
            raise
        return answer

    def allow_until(self, due: float, why: str) -> None:
        """Let the watchdog end the connection at ``due``, or at the overall deadline if that comes first."""
        left = due - time.monotonic()
        if due > self.due:
            why = "not complete when its time, scaled by its size, was over"
        self.watchdog.set(min(due, self.due), why.format(round(left, 1)))

    def arrived(self, subject: str) -> None:
        """Call the watchdog off, or raise if it was there first: a connection that it ended looks like an end."""
        self.watchdog.rest()
        if self.watchdog.expired:
            raise TooSlowError(subject, self.watchdog.expired, failure.AGAIN)

    def failed(self, subject: str, error: BaseException, progress: str) -> SourceError:
        """Return our error for a foreign one that came while waiting."""
        self.watchdog.rest()
        if self.watchdog.expired:
            return TooSlowError(subject, self.watchdog.expired, failure.AGAIN)
        found = failure.from_exception(subject, error)
        detail = f"{found.detail}, after {progress}" if progress else found.detail
        return type(found)(subject, detail, found.hint)


@dataclass(frozen=True, slots=True)
class _Proxied:
    """Lets every connection through: a proxy is named by the operator. Its time is limited all the same."""

    watchdog: Watchdog

    def address(self, host: str, address: Address) -> None:  # noqa: ARG002 - the gate's signature
        if self.watchdog.expired:
            raise TooSlowError(host, self.watchdog.expired, failure.AGAIN)

    def connected(self, connection: socket.socket) -> None:
        self.watchdog.guard(connection)


@dataclass(frozen=True, slots=True)
class _Direct:
    """Lets connections to public addresses through, and to what the policy allows beside them."""

    policy: HttpPolicy
    watchdog: Watchdog

    def address(self, host: str, address: Address) -> None:
        _Proxied(self.watchdog).address(host, address)
        kind = refusal(address)
        if kind and not self.policy.may_be_private(host.lower()):
            raise _forbidden(host, f"resolves to {address}, a {kind} address")

    def connected(self, connection: socket.socket) -> None:
        self.watchdog.guard(connection)


def _check_scheme(url: str, policy: HttpPolicy, before: Origin | None) -> None:
    scheme = split(url).scheme.lower()
    if scheme not in policy.schemes:
        what = "redirected to a URL" if before else "a URL"
        hint = f"use {' or '.join(sorted(policy.schemes, reverse=True))}"
        raise ForbiddenAddressError(redact(url), f"{what} with scheme {scheme or 'none'}, which is not allowed", hint)
    if before is not None and before.scheme == "https" and scheme != "https":
        raise ForbiddenAddressError(redact(url), f"redirected from https ({before}) to {scheme}", "use the https URL")


def _check_host(origin: Origin, subject: str, policy: HttpPolicy) -> None:
    """Refuse a host whose spelling alone says that it is not public. A proxy would resolve it out of our sight."""
    if policy.may_be_private(origin.host):
        return
    host = origin.host.rstrip(".")
    address = literal(host)
    kind = refusal(address) if address else "loopback" if host.rpartition(".")[2] == "localhost" else ""
    if kind:
        raise _forbidden(subject, f"names {address or host}, a {kind} address")


def _forbidden(subject: str, detail: str) -> ForbiddenAddressError:
    hint = "if that is meant, set `allow_private_addresses: true` for this subscription"
    return ForbiddenAddressError(subject, detail, hint)


def _join(url: str, location: str) -> str:
    try:
        # http.client decodes headers as Latin-1; what servers write there is UTF-8.
        return urljoin(url, location.encode("latin-1").decode("utf-8"))
    except ValueError:
        raise ForbiddenAddressError(redact(url), "redirects to an unreadable URL", "tell who runs the server") from None


def _accepted(answer: requests.Response, subject: str, asked: Mapping[str, str]) -> requests.Response:
    problem: SourceError | None = None
    accepted = {200, *(status for name, status in _ASKED_FOR.items() if name in asked)}
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if answer.status_code not in accepted:
        problem = failure.from_status(subject, answer.status_code, answer.headers)
    elif encoding not in {"", "identity"}:
        hint = "let the server send the file as it is, without Content-Encoding"
        problem = UnreachableError(subject, f"sent with Content-Encoding {redact(encoding)}, which is refused", hint)
    if problem is None:
        return answer
    answer.close()
    raise problem
