"""Distinguished names as text: one canonical slash form.

Lists, configurations and trust anchors write names as ``/DC=EU/O=EGI.eu/CN=appdb.egi.eu``, each tool with its own
escapes and abbreviations. Two rules keep the comparison of texts as safe as a comparison of certificates:

* ``render`` is injective: names for which the slash form would be ambiguous (several attributes in one RDN, a value
  that contains ``/TYPE=``) are refused, so two different names never render alike.
* ``normalise`` only maps equivalent renderings of one name to the form that ``render`` gives.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from imagesync.errors import UntrustedSignerError
from imagesync.model import Identity

if TYPE_CHECKING:  # keeps the pure modules that compare names free of OpenSSL
    from cryptography import x509

Comparable = tuple[frozenset[tuple[str, str | bytes]], ...]
"""A name as RFC 5280 compares names."""

_EMAIL, _UID = "emailAddress", "UID"

_TYPES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.17": "postalCode",
    "2.5.4.42": "GN",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": _UID,
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": _EMAIL,
}
_ALIASES = {
    "e": _EMAIL,
    "email": _EMAIL,
    "emailaddress": _EMAIL,
    "uid": _UID,
    "userid": _UID,
}
_ATTRIBUTE = re.compile(r"/([A-Za-z][A-Za-z0-9.-]*|[0-9]+(?:\.[0-9]+)+)=")
_ESCAPED = re.compile(r"(?:\\[xX][0-9A-Fa-f]{2})+|\\[/+\\]")


def render(name: x509.Name) -> str:
    r"""Return the canonical slash form of a certificate's subject or issuer.

    Attribute types are OpenSSL's short names, or dotted where there is none; values are as they are, but a backslash
    and whatever is not printable become ``\xHH`` of their UTF-8 bytes.

    Raises:
        UntrustedSignerError: The name is empty, has an RDN with several attributes, a value that is no text, or a
            value that contains ``/TYPE=``: no text could stand for it without ambiguity.
    """
    if not name.rdns:
        raise UntrustedSignerError("certificate", "it has an empty name")
    return "".join(_render_rdn(rdn) for rdn in name.rdns)


def comparable(name: x509.Name) -> Comparable:
    """Return a name such that names are equal which RFC 5280 section 7.1 calls equal.

    Neither the type of a string counts, nor case, nor how much white space there is. This finds what may belong to a
    name; whether it does, a signature has to say.
    """
    return tuple(frozenset((one.oid.dotted_string, _folded(one.value)) for one in rdn) for rdn in name.rdns)


def _folded(value: str | bytes) -> str | bytes:
    return " ".join(unicodedata.normalize("NFKC", value).casefold().split()) if isinstance(value, str) else value


def _render_rdn(rdn: x509.RelativeDistinguishedName) -> str:
    attributes = list(rdn)
    if len(attributes) != 1:
        found = "+".join(_type(attribute) for attribute in attributes)
        raise UntrustedSignerError("certificate", f"its name has several attributes in one RDN ({found})")
    kind, value = _type(attributes[0]), attributes[0].value
    if not isinstance(value, str):
        raise UntrustedSignerError("certificate", f"the value of {kind} in its name is no text")
    if _ATTRIBUTE.search(value):
        raise UntrustedSignerError(
            "certificate", f"the value of {kind} in its name reads like a name: {_escape(value)}"
        )
    return f"/{kind}={_escape(value)}"


def _type(attribute: x509.NameAttribute[str | bytes]) -> str:
    dotted = attribute.oid.dotted_string
    return _TYPES.get(dotted, dotted)


def _escape(value: str) -> str:
    r"""Write what cannot be shown safely as ``\xHH``."""
    if value.isprintable() and "\\" not in value:
        return value
    return "".join(c if c.isprintable() and c != "\\" else _hex(c.encode("utf-8", "surrogatepass")) for c in value)


def _hex(data: bytes) -> str:
    return "".join(f"\\x{byte:02X}" for byte in data)


def normalise(text: str) -> str:
    r"""Return the canonical form of a name somebody wrote down, equal to what ``render`` gives for the same name.

    Equivalent are: ``\xHH`` and the UTF-8 character, ``\/`` and ``/``, ``Email``/``E`` and ``emailAddress``,
    ``USERID`` and ``UID``, a dotted type and its short name. Case of values is significant. A text that is no slash
    form comes back unharmed: it just never equals a certificate's name.
    """
    text = text.strip()
    # A match behind an odd number of backslashes is an escaped slash inside a value, not the start of an RDN.
    starts = [match for match in _ATTRIBUTE.finditer(text) if _backslashes(text[: match.start()]) % 2 == 0]
    if not starts or starts[0].start() != 0:
        return "".join(c if c.isprintable() else _hex(c.encode("utf-8", "surrogatepass")) for c in text)
    ends = [match.start() for match in starts[1:]] + [len(text)]
    return "".join(
        f"/{_canonical_type(match[1])}={_canonical_value(text[match.end() : end])}"
        for match, end in zip(starts, ends, strict=True)
    )


def normal(identity: Identity) -> Identity:
    """Return an identity with both names as ``render`` gives them."""
    return Identity(normalise(identity.dn), normalise(identity.ca))


def _backslashes(text: str) -> int:
    return len(text) - len(text.rstrip("\\"))


def _canonical_type(written: str) -> str:
    return _ALIASES.get(written.lower()) or _TYPES.get(written) or written


def _canonical_value(written: str) -> str:
    value = _ESCAPED.sub(_unescape, written)
    if _ATTRIBUTE.search(value):  # render refuses such a value: the text must not turn into two RDNs
        return written.replace("\\", _hex(b"\\"))
    return _escape(value)


def _unescape(match: re.Match[str]) -> str:
    escape = match[0]
    if escape[1] not in "xX":
        return escape[1]
    data = bytes.fromhex(escape.replace("\\x", "").replace("\\X", ""))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return escape


def renderings(name: str) -> tuple[str, ...]:
    """Return a canonical name and its common other spellings, for matching against patterns in policy files."""
    spellings = {name}
    for kind, others in ((_EMAIL, ("Email", "E")), (_UID, ("USERID",))):
        spellings |= {name.replace(f"/{kind}=", f"/{other}=") for other in others}
    return tuple(sorted(spellings))
