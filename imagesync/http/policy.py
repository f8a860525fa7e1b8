"""What a request may do: limits, addresses, proxies, credentials. Values only."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from imagesync.errors import ConfigError
from imagesync.http.url import Origin

_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy")


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """A secret that is sent to one origin, over https. Showing it shows nothing.

    ``basic`` sends the secret as user with the password ``x-oauth-basic``, as AppDB wants it; ``bearer`` is RFC 6750.

    Raises:
        ConfigError: the origin is not https, or the secret cannot stand in a header.
    """

    origin: Origin
    kind: Literal["basic", "bearer"]
    secret: str

    def __post_init__(self) -> None:
        """Refuse what must not or cannot be sent."""
        if self.origin.scheme != "https":
            raise ConfigError(str(self.origin), "a token is sent over https only", "use an https URL, or no token")
        if not self.secret or not all("!" <= letter <= "~" for letter in self.secret):
            hint = "write the token alone into its file, without spaces or line breaks inside"
            raise ConfigError(str(self.origin), "the token is empty or has characters that no header may hold", hint)

    def __repr__(self) -> str:
        """Return a text without the secret."""
        return "Credential(…)"

    def header(self) -> str:
        """Return the value of the Authorization header."""
        if self.kind == "bearer":
            return f"Bearer {self.secret}"
        return "Basic " + base64.b64encode(f"{self.secret}:x-oauth-basic".encode()).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpPolicy:
    """What requests may do. Times are in seconds, rates in bytes per second.

    Attributes:
        schemes: allowed at every hop; an https URL is never left for http, whatever they are.
        allow_private: whether addresses that are not public may be connected to.
        named_hosts: hosts (lower case) that the operator named and that may therefore be private.
        max_redirects: how many are followed.
        connect_timeout: for each address of the host.
        header_timeout: from the request to the end of the answer's headers, connecting included.
        stall_timeout: the longest wait for any next byte of the body.
        minimum_rate: least mean rate over each ``rate_window`` of waiting for the body.
        rate_window: over how many seconds the rate is measured.
        base_deadline: what ``deadline`` adds for everything that does not depend on the size.
        proxies: scheme, or ``scheme://host``, to proxy URL.
        ca_bundle: a PEM file, or a directory with OpenSSL's hashed names; ``None`` is the system's store.
        system_store: whether the system's store counts beside ``ca_bundle``.
        credential: sent where its origin is the one asked.
    """

    schemes: frozenset[str] = frozenset({"https", "http"})
    allow_private: bool = False
    named_hosts: frozenset[str] = frozenset()
    max_redirects: int = 5
    connect_timeout: float = 15.0
    header_timeout: float = 60.0
    stall_timeout: float = 60.0
    minimum_rate: float = 32 * 1024.0
    rate_window: float = 60.0
    base_deadline: float = 600.0
    # Proxy URLs may hold a password.
    proxies: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    ca_bundle: Path | None = None
    system_store: bool = False
    credential: Credential | None = None

    def deadline(self, size: int) -> float:
        """Return how long getting ``size`` bytes may take in all, in seconds."""
        return self.base_deadline + size / self.minimum_rate

    def may_be_private(self, host: str) -> bool:
        """Return whether ``host`` may have an address that is not public."""
        return self.allow_private or host in self.named_hosts


def ignored_proxy_warning(environment: Mapping[str, str], proxies: Mapping[str, str]) -> str | None:
    """Return a warning when the environment names a proxy that nobody configured, else ``None``.

    The proxy's URL is not repeated: it may hold a password.
    """
    found = next((name for name in _PROXY_VARIABLES if environment.get(name)), None)
    if found is None or proxies:
        return None
    return f"{found} is set but ignored: the environment is never read; configure `proxies` if a proxy is needed"
