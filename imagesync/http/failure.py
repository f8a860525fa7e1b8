"""Foreign exceptions and error answers turned into our errors. No text of theirs is passed on that may hold a URL."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from requests import RequestException, Timeout
from urllib3.exceptions import ConnectTimeoutError, HTTPError, ReadTimeoutError

from imagesync.errors import HttpStatusError, SourceError, TooSlowError, UnreachableError

FOREIGN = (RequestException, HTTPError, OSError, http.client.HTTPException, ValueError)
"""What requests, urllib3, http.client and the socket layer raise."""

_DEEPEST = 12
_TUNNEL = re.compile(r"^Tunnel connection failed: (\d{3})\b")
AGAIN = "the next pass tries again; if it stays so, tell who runs the server"
_NETWORK = "check the server, the firewall and the route; configure `proxies` if this host needs a proxy"


def from_exception(subject: str, error: BaseException) -> SourceError:
    """Return our error for a foreign one."""
    root = _root(error)
    # The order matters: what reads better is a subclass of what follows.
    match root:
        case ssl.SSLError():
            detail, hint = _tls(root)
        case ConnectTimeoutError():
            detail, hint = "no connection in time", _NETWORK
        case TimeoutError() | Timeout() | ReadTimeoutError():
            return TooSlowError(subject, "no answer in time", AGAIN)
        case http.client.RemoteDisconnected() | http.client.IncompleteRead():
            detail, hint = "the server closed the connection early", AGAIN
        case OSError():
            detail, hint = _network(root)
        case _:
            detail, hint = f"no proper HTTP answer ({type(root).__name__})", "check what serves this address"
    return UnreachableError(subject, detail, hint)


def _tls(error: ssl.SSLError) -> tuple[str, str]:
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "check the server's certificate; if its CA is the site's own, name that CA in `ca_bundle`"
        return f"its TLS certificate is not trusted: {error.verify_message}", hint
    reason = (error.reason or "connection closed").replace("_", " ").lower()
    return f"TLS failed: {reason}", "check that the server speaks TLS on this port"


def _network(error: OSError) -> tuple[str, str]:
    if isinstance(error, socket.gaierror):
        return f"the name does not resolve: {error.strerror}", "check the name and the DNS of this host"
    if refused := _TUNNEL.search(str(error)):
        return f"the proxy refuses with HTTP {refused[1]}", "check the proxy and what it allows"
    return (error.strerror or "the connection broke").lower(), _NETWORK


def _root(error: BaseException) -> BaseException:
    """Return the innermost cause: requests and urllib3 wrap up to five times, and their texts repeat the URL."""
    for _ in range(_DEEPEST):
        candidates = (getattr(error, "reason", None), *error.args, error.__cause__, error.__context__)
        inner = next((c for c in candidates if isinstance(c, BaseException)), None)
        if inner is None or isinstance(error, (ssl.SSLError, http.client.HTTPException)):
            return error
        error = inner
    return error


def from_status(subject: str, status: int, headers: Mapping[str, str]) -> HttpStatusError:
    """Return our error for an answer with an error status, with what to do about it and its ``Retry-After``."""
    match status:
        case 401 | 403:
            hint = "check the token and whether it may read this"
        case 404 | 410:
            hint = "check the URL; the publisher may have moved or withdrawn it"
        case 407:
            hint = "check the user and password of the proxy"
        case 408 | 425 | 429 | 502 | 503 | 504:
            hint = "the server is busy or down; the next pass tries again"
        case _ if status >= 500:
            hint = "the server is broken; tell who runs it"
        case _:
            hint = "check the URL"
    date = http_date(headers.get("Date", ""))
    return HttpStatusError(subject, status, hint, retry_after=retry_after(headers), server_date=date)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``Retry-After`` asks for (RFC 9110, 10.2.3), or ``None``.

    A date is compared with the answer's own ``Date``, so that nobody's clock matters.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    until, sent = http_date(value), http_date(headers.get("Date", ""))
    return max(0.0, (until - sent) / timedelta(seconds=1)) if until and sent else None


def http_date(value: str) -> datetime | None:
    """Return the aware datetime of an HTTP date, or ``None`` where there is none that can be read."""
    try:
        found = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else None
