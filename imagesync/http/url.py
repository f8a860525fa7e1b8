"""URLs: what they name, and how they may be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from requests import PreparedRequest, RequestException

from imagesync.errors import ForbiddenAddressError

_SHOWN = 300
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\uffff\U00010000-\U0010ffff]")
_CONFUSING = re.compile(r"[\x00-\x1f\x7f\\]")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what a credential is bound to (RFC 6454)."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """Return ``scheme://host:port``."""
        return f"{self.scheme}://{self.host}:{self.port}"


def redact(url: str) -> str:
    """Return ``url`` as it may be shown: no userinfo, query or fragment, nothing unprintable, at most 300 characters.

    A query is left out because pre-signed URLs carry their secret there.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "(unreadable URL)"
    shown = f"{parts.scheme}:" if parts.scheme else ""
    if parts.netloc or parts.scheme == "file":
        shown += f"//{parts.netloc.rpartition('@')[2]}"
    malformed = not parts.netloc and (parts.scheme in _PORTS or not parts.path.startswith("/"))
    shown += parts.path.rpartition("@")[2] if malformed else parts.path
    shown = _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", shown)
    return (shown[: _SHOWN - 1] + "…" if len(shown) > _SHOWN else shown) + ("?…" if parts.query else "")


def split(url: str) -> SplitResult:
    """Return the parts of an absolute URL.

    Raises:
        ForbiddenAddressError: it is not one, it carries userinfo, or two programs could read it differently.
    """
    shown = redact(url)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ForbiddenAddressError(shown, "not a readable URL", "correct the URL") from None
    if "@" in parts.netloc:
        hint = "remove the user and password from the URL; give a token as `token` of the subscription"
        raise ForbiddenAddressError(shown, "the URL carries a user name or password", hint)
    # urlsplit drops tabs and line ends, other parsers read a backslash as a slash: look at the text itself.
    if _CONFUSING.search(url):
        raise ForbiddenAddressError(shown, "the URL holds control characters or a backslash", "correct the URL")
    return parts


def origin_of(url: str) -> Origin:
    """Return the origin of an http or https URL, with the scheme's default port filled in.

    Raises:
        ForbiddenAddressError: the URL has no host, another scheme, or is refused by ``split``.
    """
    parts = split(url)
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        raise ForbiddenAddressError(redact(url), f"scheme {scheme or 'none'} is not http or https", "correct the URL")
    if not parts.hostname:
        raise ForbiddenAddressError(redact(url), "the URL names no host", "correct the URL")
    if not parts.hostname.isascii():
        return origin_of(_ascii(url))
    return Origin(scheme, parts.hostname.lower(), parts.port if parts.port is not None else _PORTS[scheme])


def _ascii(url: str) -> str:
    """Return ``url`` with its host as it is looked up: the same code that prepares the request decides (RFC 5891)."""
    request = PreparedRequest()
    try:
        request.prepare_url(url, None)
    except (RequestException, ValueError):
        raise ForbiddenAddressError(redact(url), "not a usable host name", "correct the URL") from None
    return request.url or ""
