"""Connections that are judged between being made and being used."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from functools import cached_property, partial
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, Protocol

from requests import PreparedRequest, Session
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError
from urllib3.util.connection import create_connection

from imagesync.errors import ConfigError, ForbiddenAddressError
from imagesync.http.address import Address, peer
from imagesync.http.address import parse as parse_address

# A name with a thousand dead addresses must not cost a thousand connect timeouts.
_MOST_ADDRESSES = 8

_Pools = dict[str, type[HTTPConnectionPool]]


class Gate(Protocol):
    """Decides about connections. Both methods raise to refuse."""

    def address(self, host: str, address: Address) -> None:
        """Judge an address of ``host``: first before connecting to it, then as the address of the connected peer."""
        ...

    def connected(self, connection: socket.socket) -> None:
        """Take note of a connection, before any byte is sent."""
        ...


def open_session(direct: Gate, proxied: Gate, ca_bundle: Path | None, *, system_store: bool = False) -> Session:
    """Return a session that reads no environment, follows no redirect and keeps no cookie.

    It trusts ``ca_bundle``, the system's store where there is none, and both with ``system_store``.
    ``proxied`` decides about connections to a proxy, ``direct`` about all others. Using the session raises
    ``ConfigError`` when the CA bundle cannot be read or a proxy is of a kind that is not supported.
    """
    session = _PlainSession()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    adapter = _Adapter(_pools(direct), _pools(proxied), partial(_tls, ca_bundle, system_store=system_store))
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class _PlainSession(Session):
    def get_redirect_target(self, resp: object) -> None:
        """Return no target: to name the next request, requests would read the whole body of a redirect."""


class _Adapter(HTTPAdapter):
    """Requests' adapter with our connection classes and our TLS context."""

    def __init__(self, direct: _Pools, proxied: _Pools, trust: Callable[[], ssl.SSLContext]) -> None:
        self._direct, self._proxied, self._trust = direct, proxied, trust
        super().__init__(max_retries=0)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Reading a CA bundle takes 40 ms, which a plain http request need not wait for."""
        return self._trust()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as the overridden method has it
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._direct

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:  # noqa: ANN401 - as the overridden method has it
        if not proxy.lower().startswith(("http://", "https://")):
            raise ConfigError("proxies", "only http and https proxies are supported", "name an http:// proxy")
        if proxy.lower().startswith("https://"):
            kwargs["proxy_ssl_context"] = self._tls
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = self._proxied
        return manager

    def build_connection_pool_key_attributes(
        self,
        request: PreparedRequest,
        verify: Any,  # noqa: ANN401 - as the overridden method has it
        cert: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._tls} if host["scheme"] == "https" else {}

    def cert_verify(self, conn: object, url: object, verify: object, cert: object) -> None:
        """Leave the connection alone: the overridden method would add certifi's roots to our context."""


def _pools(gate: Gate) -> _Pools:
    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _dial(self, gate)

    class Tls(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _dial(self, gate)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = Tls

    return {"http": PlainPool, "https": TlsPool}


def _dial(wanted: HTTPConnection, gate: Gate) -> socket.socket:
    """Connect to the first address that the gate lets through and that answers.

    Raises:
        ForbiddenAddressError: the gate let none through.
        OSError: no name, no connection.
        ConnectTimeoutError: no connection in time.
    """
    failure: Exception = socket.gaierror(socket.EAI_NONAME, "no address")
    for address in _resolve(wanted):
        try:
            gate.address(wanted.host, address)
            connection = create_connection(
                (str(address), wanted.port), wanted.timeout, wanted.source_address, wanted.socket_options
            )
        except TimeoutError:
            failure = ConnectTimeoutError(wanted, "no connection in time")
        except (OSError, ForbiddenAddressError) as error:
            failure = error
        else:
            return _passed(gate, wanted.host, connection)
    raise failure


def _resolve(wanted: HTTPConnection) -> list[Address]:
    # urllib3 keeps the name with its trailing dot, which is what has to be resolved, in this attribute only.
    name = wanted._dns_host  # noqa: SLF001
    found = socket.getaddrinfo(name, wanted.port, type=socket.SOCK_STREAM)
    return [parse_address(str(entry[4][0])) for entry in found][:_MOST_ADDRESSES]


def _passed(gate: Gate, host: str, connection: socket.socket) -> socket.socket:
    try:
        gate.address(host, peer(connection))
        gate.connected(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _tls(ca_bundle: Path | None, *, system_store: bool = False) -> ssl.SSLContext:
    # Not ssl.create_default_context: that one reads SSL_CERT_FILE, SSL_CERT_DIR and SSLKEYLOGFILE.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_bundle is None or system_store:
        _load_system_store(context)
    if ca_bundle is None:
        return context
    try:
        if ca_bundle.is_dir():
            context.load_verify_locations(capath=str(ca_bundle))
        else:
            context.load_verify_locations(cafile=str(ca_bundle))
    except OSError as error:
        hint = "name a PEM file or a directory of CA certificates in `ca_bundle`"
        raise ConfigError(str(ca_bundle), f"no usable CA bundle: {error.strerror}", hint) from error
    return context


def _load_system_store(context: ssl.SSLContext) -> None:
    paths = ssl.get_default_verify_paths()
    file, directory = Path(paths.openssl_cafile), Path(paths.openssl_capath)
    # Debian has both, with the same content; a directory with hashed names costs nothing until it is asked.
    if any(directory.glob("*.0")):
        context.load_verify_locations(capath=str(directory))
    else:
        context.load_verify_locations(cafile=str(file) if file.is_file() else DEFAULT_CA_BUNDLE_PATH)
