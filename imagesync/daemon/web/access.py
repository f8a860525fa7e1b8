"""Who may see the page, and what every answer says to the browser."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = frozenset({"/healthz", "/readyz"})
"""What needs no secret: it says yes or no, to service managers that have none."""

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may look. Without ``secret`` everybody who reaches the address; ``local`` says that this is the machine."""

    secret: str = ""
    local: bool = False

    def allow(self, authorization: str) -> bool:
        """Return whether this ``Authorization`` header has the secret, in a time that does not depend on it."""
        return not self.secret or _same(_offered(authorization), self.secret)

    def knows_host(self, host: str) -> bool:
        """Return whether a request for ``host`` is meant for us.

        A page of somebody else can have its own name resolve to this machine, and read what is open to everybody here.
        """
        return bool(self.secret) or not self.local or _is_loopback(_name_of(host))

    def admit(self, headers: Headers) -> bool:
        """Return whether a request with these headers may see everything."""
        return self.knows_host(headers.get("host", "")) and self.allow(headers.get("authorization", ""))

    def token(self) -> str:
        """Return what a form must hold, so that it is ours: nobody else's page can know it."""
        return hmac.new(self.secret.encode(), b"imagesync: due now", hashlib.sha256).hexdigest() if self.secret else ""

    def is_ours(self, token: str) -> bool:
        """Return whether a form with ``token`` is ours."""
        return bool(self.secret) and _same(token, self.token())


def is_bearer(authorization: str) -> bool:
    """Return whether it was a program: a browser adds no such header on its own."""
    return authorization[:7].lower() == "bearer "


def _offered(authorization: str) -> str:
    kind, _, value = authorization.partition(" ")
    match kind.lower():
        case "bearer":
            return value.strip()
        case "basic":
            try:
                return base64.b64decode(value, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return ""
        case _:
            return ""


def _same(offered: str, wanted: str) -> bool:
    # Of equal length whatever was offered.
    return hmac.compare_digest(
        *(hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (offered, wanted))
    )


def _name_of(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _is_loopback(name: str) -> bool:
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


class Access:
    """The outermost layer: it lets in, and adds headers to every answer."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        """Stand before ``app``."""
        self._app, self._rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on what may be seen."""
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope["path"], Headers(scope=scope))
        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, path: str, headers: Headers) -> Response | None:
        if path in OPEN:
            return None
        if not self._rules.knows_host(headers.get("host", "")):
            return PlainTextResponse("not the name of this server\n", 421)
        if not self._rules.allow(headers.get("authorization", "")):
            challenge = {"www-authenticate": 'Basic realm="imagesync", charset="UTF-8"'}
            return PlainTextResponse("the secret of daemon.auth is needed\n", 401, challenge)
        return None


def is_local(address: str) -> bool:
    """Return whether ``HOST:PORT`` is reached from this machine only."""
    return _is_loopback(_name_of(address))
