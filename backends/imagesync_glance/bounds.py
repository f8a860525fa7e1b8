"""Connections whose answers end: an endpoint that is broken, or not what it seems, must not fill the memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from imagesync.errors import BackendUnavailableError

LARGEST = 64 << 20
"""Bytes of one answer, unpacked. A page of a thousand images with much text has some ten million."""


class BoundedAdapter(HTTPAdapter):
    """Reads no more of an answer than ``LARGEST`` bytes."""

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:  # noqa: ANN401 - as requests has it
        """Send a request; the body of the answer raises ``BackendUnavailableError`` where it becomes too long."""
        response = super().send(request, *args, **options)
        response.raw = _Bounded(response.raw, str(request.url))
        return response


class _Bounded:
    """The stream of an answer."""

    def __init__(self, raw: Any, url: str) -> None:  # noqa: ANN401 - whatever urllib3 has
        self._raw = raw
        self._url = url

    def stream(self, amount: int, *, decode_content: bool | None = None) -> Iterator[bytes]:
        """Yield the body piece by piece."""
        total = 0
        for piece in self._raw.stream(amount, decode_content=decode_content):
            total += len(piece)
            if total > LARGEST:
                self._raw.close()
                parts = urlsplit(self._url)
                where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
                detail = f"the answer is longer than {LARGEST >> 20} MiB"
                raise BackendUnavailableError(where, detail, "see what answers at this address")
            yield piece

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._raw, name)
