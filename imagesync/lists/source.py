"""Getting a list's bytes: http, https, file, or a bundle (a directory). Nothing here looks at what they say."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from imagesync.errors import TooLargeError, UnreachableError
from imagesync.http import HttpPolicy, Response, get, http_date, origin_of, redact
from imagesync.lists.local import LIST, local_path

MAX_BYTES = 16 << 20
"""The default bound: a list of ten thousand images has about 10 MiB."""

BASE_DEADLINE = 120.0
"""Seconds at most for what does not depend on the size: a list is small, and a pass waits for it."""


@dataclass(frozen=True, slots=True)
class ListRequest:
    """What to get. ``etag`` and ``last_modified`` are the validators of the stored copy, if there is one."""

    url: str
    policy: HttpPolicy
    max_bytes: int = MAX_BYTES
    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """The bytes, where they came from in the end (as it may be shown), validators, and the server's time."""

    blob: bytes
    url: str
    etag: str | None = None
    last_modified: str | None = None
    server_date: datetime | None = None


@dataclass(frozen=True, slots=True)
class NotModified:
    """The stored copy is what the server has (RFC 9110, 15.4.5)."""

    server_date: datetime | None = None


def fetch(request: ListRequest) -> Fetched | NotModified:
    """Return the list's bytes, or that they have not changed.

    The operator named the URL's host, so it may be private; a redirect to another host obeys the address policy.

    Raises:
        SourceError: it could not be had within the bounds; the subclass and its text say why.
        ConfigError: the CA bundle or a proxy of the policy cannot be used.
    """
    path = local_path(request.url)
    if path is not None:
        return _read(path, request)
    named = request.policy.named_hosts | {origin_of(request.url).host}
    deadline = min(request.policy.base_deadline, BASE_DEADLINE)
    policy = replace(request.policy, named_hosts=named, base_deadline=deadline)
    with get(request.url, policy, max_bytes=request.max_bytes, headers=_conditions(request)) as response:
        return _answer(response)


def _conditions(request: ListRequest) -> dict[str, str]:
    headers = {"If-None-Match": request.etag, "If-Modified-Since": request.last_modified}
    return {name: value for name, value in headers.items() if value}


def _answer(response: Response) -> Fetched | NotModified:
    date = http_date(response.headers.get("Date", ""))
    if response.status == 304:
        return NotModified(date)
    return Fetched(
        response.read(), response.url, response.headers.get("ETag"), response.headers.get("Last-Modified"), date
    )


def _read(path: Path, request: ListRequest) -> Fetched:
    is_bundle = path.is_dir()
    path = path / LIST if is_bundle else path
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a writer. What is in a bundle was put there by others.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (os.O_NOFOLLOW if is_bundle else 0)
        descriptor = os.open(path, flags)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - takes over the descriptor
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UnreachableError(str(path), "not a regular file", "name the file that holds the list")
            blob = file.read(request.max_bytes + 1)
    except OSError as error:
        hint = "check the path and its permissions"
        raise UnreachableError(str(path), (error.strerror or "cannot be read").lower(), hint) from error
    if len(blob) > request.max_bytes:
        detail = f"more than the {request.max_bytes} bytes allowed for a list"
        raise TooLargeError(str(path), detail, "check that it is a list, or raise `max_list_bytes`")
    return Fetched(blob, redact(request.url))
