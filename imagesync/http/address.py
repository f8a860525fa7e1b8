"""Which addresses a list may send us to. Pure: no name is resolved here."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address

# ``is_global`` of Python 3.11 calls several of these global; each needs its own line whatever the version says.
_REFUSED = tuple(
    (ip_network(network), kind)
    for network, kind in (
        ("127.0.0.0/8", "loopback"),
        ("::1/128", "loopback"),
        ("169.254.0.0/16", "link-local or metadata"),
        ("fe80::/10", "link-local"),
        ("168.63.129.16/32", "metadata"),
        ("192.0.0.0/24", "protocol assignment"),
        ("224.0.0.0/4", "multicast"),
        ("ff00::/8", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("fec0::/10", "site-local"),
        ("5f00::/16", "segment routing"),
        ("3fff::/20", "documentation"),
        # An IPv4 address in an IPv6 one reaches hosts that the lines above refuse (RFC 4291, 2765, 6052, 8215, 3056).
        ("::/96", "IPv4-compatible"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("::ffff:0:0:0/96", "translation prefix"),
        ("64:ff9b::/96", "translation prefix"),
        ("64:ff9b:1::/48", "translation prefix"),
        ("2001::/32", "Teredo tunnel"),
        ("2002::/16", "6to4 tunnel"),
        ("192.88.99.0/24", "6to4 relay"),
    )
)


def refusal(address: Address) -> str:
    """Return what kind of address it is when a list must not send us there, else the empty string."""
    for network, kind in _REFUSED:
        if address in network:
            return kind
    if address.is_private:
        return "private"
    return "" if address.is_global else "not public"


def parse(text: str) -> Address:
    """Return the address in ``text``, as the socket functions give it, without an IPv6 scope."""
    return ip_address(text.partition("%")[0])


def literal(host: str) -> Address | None:
    """Return the address that ``host`` spells, in every spelling that the C library resolves, or ``None`` for a name.

    ``2130706433``, ``0x7f000001``, ``127.1`` and ``0`` are addresses to ``getaddrinfo`` (inet_aton(3)).
    """
    try:
        return parse(host.strip("[]"))
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError, ValueError):
        return None


def peer(connection: socket.socket) -> Address:
    """Return the address at the other end of a connected socket."""
    return parse(str(connection.getpeername()[0]))
