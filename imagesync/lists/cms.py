"""CMS SignedData (RFC 5652) in strict DER, read with pyasn1 into plain values.

Nothing here decides on trust; it decides what the bytes say, and refuses whatever says it in an unusual way. The
certificates stay opaque bytes: ``cryptography`` reads them. Every parsed structure is encoded again and compared with
the bytes it came from, so that no second reading of them exists (BER forms, unsorted sets, trailing data). No value of
pyasn1 leaves this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pyasn1.codec.der.decoder import decode as der_decode
from pyasn1.codec.der.encoder import encode as der_encode
from pyasn1.error import PyAsn1Error
from pyasn1.type import univ

from imagesync.errors import BadSignatureError
from imagesync.lists import grammar
from imagesync.lists.grammar import Asn1

MAX_CERTIFICATES = 20
MAX_ATTRIBUTES = 32
MAX_ELEMENTS = 10_000
MAX_OID_BYTES = 64
MAX_DIGESTS = 16

_DIGESTS = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_SHA1 = {"1.3.14.3.2.26": "sha1"}
_WEAK_DIGESTS = {"1.2.840.113549.2.5": "MD5", "1.3.14.3.2.26": "SHA-1", "2.16.840.1.101.3.4.2.4": "SHA-224"}
_RSA_PSS = "1.2.840.113549.1.1.10"
_MGF1 = "1.2.840.113549.1.1.8"
_SCHEMES = {
    "1.2.840.113549.1.1.1": ("rsa", None),
    "1.2.840.113549.1.1.11": ("rsa", "sha256"),
    "1.2.840.113549.1.1.12": ("rsa", "sha384"),
    "1.2.840.113549.1.1.13": ("rsa", "sha512"),
    "1.2.840.10045.4.3.2": ("ecdsa", "sha256"),
    "1.2.840.10045.4.3.3": ("ecdsa", "sha384"),
    "1.2.840.10045.4.3.4": ("ecdsa", "sha512"),
    "1.3.101.112": ("ed25519", "sha512"),  # RFC 8419 section 3.1: SHA-512 where there are signed attributes
}
_SIGNING_CERTIFICATE = {
    str(grammar.ID_SIGNING_CERTIFICATE): grammar.SIGNING_CERTIFICATE,
    str(grammar.ID_SIGNING_CERTIFICATE_V2): grammar.SIGNING_CERTIFICATE_V2,
}
_DIRECTORY_NAME = 0xA4
_LONGEST_OID = 64
_OID = 0x06
_NULL = b"\x05\x00"
_TIME = re.compile(r"(?:\d{12}|\d{14})Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class IssuerSerial:
    """A signer named by the DER of its issuer's name and its serial number."""

    issuer: bytes
    serial: int


@dataclass(frozen=True, slots=True)
class KeyIdentifier:
    """A signer named by its subject key identifier."""

    value: bytes


@dataclass(frozen=True, slots=True)
class CertificateId:
    """A certificate named by the digest of its DER, and perhaps by issuer and serial number too (RFC 5035)."""

    digest: str
    value: bytes
    named: IssuerSerial | None


@dataclass(frozen=True, slots=True)
class Scheme:
    """How the signature was made: key ``kind`` (rsa, rsa-pss, ecdsa, ed25519), digest name, PSS salt in bytes."""

    kind: str
    digest: str
    salt: int = 0


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """What a detached SignedData with one signer says. ``attributes`` is the DER SET OF that was signed.

    ``bound`` has, for each signing-certificate attribute, the certificates to which the signer bound the signature:
    first its own, then others of its path.
    """

    signer: IssuerSerial | KeyIdentifier
    scheme: Scheme
    attributes: bytes
    message_digest: bytes
    signing_time: datetime | None
    signature: bytes
    certificates: tuple[bytes, ...]
    bound: tuple[tuple[CertificateId, ...], ...] = ()


def parse(der: bytes, *, allow_sha1: bool = False) -> SignedMessage:
    """Return what the signature part of a message says, without judging whether it is true.

    ``allow_sha1`` is for RSA signatures (PKCS #1 v1.5) only.

    Raises:
        BadSignatureError: It is no detached SignedData over plain data, in strict DER, with exactly one signer that
            signs attributes, with algorithms that are good enough.
    """
    _bound_elements(der)
    content = _decode(der, grammar.CONTENT_INFO, "the signature")
    if content["contentType"] != grammar.ID_SIGNED_DATA:
        raise _bad(f"it is no SignedData but {_dotted(content['contentType'])}")
    data = _decode(bytes(content["content"]), grammar.SIGNED_DATA, "the SignedData")
    _check_encapsulated(data["encapContentInfo"])
    if len(data["signerInfos"]) != 1:
        raise _bad(f"it has {len(data['signerInfos'])} signers where exactly one is needed")
    (info,) = data["signerInfos"]
    _check_versions(data, info)
    if len(data["digestAlgorithms"]) > MAX_DIGESTS:
        raise _bad(f"it has more than {MAX_DIGESTS} digest algorithms")
    scheme = _scheme(info, _DIGESTS | _SHA1 if allow_sha1 else _DIGESTS)
    if str(info["digestAlgorithm"]["algorithm"]) not in {str(a["algorithm"]) for a in data["digestAlgorithms"]}:
        raise _bad("the signer's digest algorithm is not among those of the message")
    return _message(info, scheme, _certificates(data))


def _bad(detail: str) -> BadSignatureError:
    return BadSignatureError("signature", detail)


def _dotted(oid: Asn1) -> str:
    """Return an object identifier for a message; a hostile one can be a million digits long."""
    text = str(oid)
    return text if len(text) <= _LONGEST_OID else text[:_LONGEST_OID] + "..."


def _bound_elements(der: bytes) -> None:
    """Refuse more elements than an honest message has, before pyasn1 spends some 50 microseconds on each of them."""
    start, stop = _contents(der, 0, len(der))
    pending, count = [(start, stop)], 0
    while pending:
        at, end = pending.pop()
        while at < end:
            kind, constructed = der[at], der[at] & 0x20
            start, at = _contents(der, at, end)
            count += 1
            if kind == _OID and at - start > MAX_OID_BYTES:
                raise _bad(f"it has an object identifier of more than {MAX_OID_BYTES} bytes")
            if count > MAX_ELEMENTS:
                raise _bad(f"it has more than {MAX_ELEMENTS} elements")
            if constructed:
                pending.append((start, at))


def _contents(der: bytes, at: int, end: int) -> tuple[int, int]:
    """Return where the contents of the element at a position begin and end (X.690 section 10.1: definite lengths)."""
    header = der[at : min(at + 6, end)]
    if len(header) < 2 or header[0] & 0x1F == 0x1F or header[1] in {0x80, *range(0x85, 0x100)}:
        raise _bad("the signature is not in DER")
    size = header[1] & 0x7F if header[1] & 0x80 else 0
    length = int.from_bytes(header[2 : 2 + size], "big") if size else header[1]
    start = at + 2 + size
    if start + length > end:
        raise _bad("the signature is not in DER, or truncated")
    return start, start + length


def _decode(der: bytes, spec: Asn1, what: str) -> Asn1:
    try:
        value, rest = der_decode(der, asn1Spec=spec)
        again = bytes(der_encode(value))
    except PyAsn1Error as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise _bad(f"{what} is not what RFC 5652 says: {reason}") from error
    if rest:
        raise _bad(f"{what} is followed by {len(rest)} more bytes")
    if again != der:
        raise _bad(f"{what} is not in DER")
    return value


def _check_encapsulated(info: Asn1) -> None:
    if info["eContentType"] != grammar.ID_DATA:
        raise _bad(f"the content type is {_dotted(info['eContentType'])}, not data")
    if info["eContent"].isValue:
        raise _bad("it carries the content as well (it must be detached)")


def _check_versions(data: Asn1, info: Asn1) -> None:
    """Check both version numbers, which follow from the rest (sections 5.1 and 5.3): plain data, X.509 certificates."""
    right = 1 if info["sid"].getName() == "issuerAndSerialNumber" else 3
    for version, what in ((info["version"], "SignerInfo"), (data["version"], "SignedData")):
        if version != right:
            raise _bad(f"the {what} is of another version than its content ({right})")


def _certificates(data: Asn1) -> tuple[bytes, ...]:
    if not data["certificates"].isValue:
        raise _bad("it carries no certificate of the signer")
    if len(data["certificates"]) > MAX_CERTIFICATES:
        raise _bad(f"it carries more than {MAX_CERTIFICATES} certificates")
    return tuple(bytes(certificate) for certificate in data["certificates"])


def _message(info: Asn1, scheme: Scheme, certificates: tuple[bytes, ...]) -> SignedMessage:
    if not info["signedAttrs"].isValue:
        raise _bad("it has no signed attributes")
    attributes = _attributes(info["signedAttrs"])
    if _required(attributes, grammar.ID_CONTENT_TYPE, univ.ObjectIdentifier()) != grammar.ID_DATA:
        raise _bad("the signed content type is not data")
    return SignedMessage(
        signer=_signer(info["sid"]),
        scheme=scheme,
        # RFC 5652 section 5.4: the signature is over the attributes as an EXPLICIT SET OF, not over their [0] form.
        attributes=b"\x31" + bytes(der_encode(info["signedAttrs"]))[1:],
        message_digest=bytes(_required(attributes, grammar.ID_MESSAGE_DIGEST, univ.OctetString())),
        signing_time=_signing_time(attributes),
        signature=bytes(info["signature"]),
        certificates=certificates,
        bound=tuple(_bound(attributes)),
    )


def _signer(sid: Asn1) -> IssuerSerial | KeyIdentifier:
    if sid.getName() == "subjectKeyIdentifier":
        return KeyIdentifier(bytes(sid.getComponent()))
    named = sid.getComponent()
    return IssuerSerial(bytes(named["issuer"]), int(named["serialNumber"]))


# --- attributes ------------------------------------------------------------------------------------------------------
def _attributes(found: Asn1) -> dict[str, bytes]:
    """Return the one value of each signed attribute by dotted type (RFC 5652 section 11: one instance, one value)."""
    if len(found) > MAX_ATTRIBUTES:
        raise _bad(f"it has more than {MAX_ATTRIBUTES} signed attributes")
    values: dict[str, bytes] = {}
    for attribute in found:
        kind = str(attribute["attrType"])
        if kind in values:
            raise _bad(f"the signed attribute {_dotted(kind)} occurs twice")
        if len(attribute["attrValues"]) != 1:
            raise _bad(
                f"the signed attribute {_dotted(kind)} has {len(attribute['attrValues'])} values where one is needed"
            )
        (value,) = attribute["attrValues"]
        values[kind] = bytes(value)
    return values


def _required(attributes: dict[str, bytes], kind: Asn1, spec: Asn1) -> Asn1:
    value = attributes.get(str(kind))
    if value is None:
        raise _bad(f"the signed attribute {kind} is missing")
    return _decode(value, spec, f"the signed attribute {kind}")


def _signing_time(attributes: dict[str, bytes]) -> datetime | None:
    value = attributes.get(str(grammar.ID_SIGNING_TIME))
    if value is None:
        return None
    text = str(_decode(value, grammar.TIME, "the signing time").getComponent())
    if not _TIME.fullmatch(text):
        raise _bad(f"the signing time {text[:32]!r} is not in UTC with seconds")
    if len(text) == 13:  # UTCTime, RFC 5280 section 4.1.2.5.1: 50 and above is 19xx
        text = ("19" if text >= "50" else "20") + text
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise _bad(f"the signing time {text!r} does not exist") from error


def _bound(attributes: Mapping[str, bytes]) -> Iterator[tuple[CertificateId, ...]]:
    """Yield what each signing-certificate attribute says (RFC 5035 section 3; the older one has SHA-1)."""
    for kind, spec in _SIGNING_CERTIFICATE.items():
        if kind in attributes:
            found = _decode(attributes[kind], spec, f"the signed attribute {kind}")["certs"]
            if not len(found):
                raise _bad(f"the signed attribute {kind} names no certificate")
            yield tuple(_certificate_id(one) for one in found)


def _certificate_id(one: Asn1) -> CertificateId:
    if "hashAlgorithm" not in one:
        digest = "sha1"
    elif one["hashAlgorithm"].isValue:
        digest = _digest(one["hashAlgorithm"], "certificate's digest")
    else:
        digest = "sha256"
    named = _issuer_serial(one["issuerSerial"]) if one["issuerSerial"].isValue else None
    return CertificateId(digest, bytes(one["certHash"]), named)


def _issuer_serial(said: Asn1) -> IssuerSerial:
    names = [bytes(name) for name in said["issuer"]]
    if len(names) != 1 or names[0][0] != _DIRECTORY_NAME:
        raise _bad("a certificate is named by an issuer that is not one distinguished name")
    (name,) = names
    start, end = _contents(name, 0, len(name))
    return IssuerSerial(name[start:end], int(said["serialNumber"]))


# --- algorithms ------------------------------------------------------------------------------------------------------
def _scheme(info: Asn1, accepted: Mapping[str, str]) -> Scheme:
    digest = _digest(info["digestAlgorithm"], "digest", accepted)
    algorithm = str(info["signatureAlgorithm"]["algorithm"])
    if algorithm == _RSA_PSS:
        return _pss(info["signatureAlgorithm"]["parameters"], digest)
    if algorithm not in _SCHEMES:
        raise _bad(
            f"the signature algorithm {_dotted(algorithm)} is not accepted (RSA, ECDSA and Ed25519 with SHA-2 are)"
        )
    kind, fixed = _SCHEMES[algorithm]
    _absent_or_null(info["signatureAlgorithm"]["parameters"], allow_null=kind == "rsa")
    if fixed not in {None, digest}:  # which refuses SHA-1 but with RSA
        raise _bad(f"the signature algorithm is for {fixed}, the digest is {digest}")
    return Scheme(kind, digest)


def _digest(algorithm: Asn1, what: str, accepted: Mapping[str, str] = _DIGESTS) -> str:
    dotted = str(algorithm["algorithm"])
    if dotted not in accepted:
        name = _WEAK_DIGESTS.get(dotted) or _dotted(dotted)
        raise _bad(f"the {what} algorithm {name} is not accepted (SHA-256, SHA-384 and SHA-512 are)")
    _absent_or_null(algorithm["parameters"], allow_null=True)
    return accepted[dotted]


def _absent_or_null(parameters: Asn1, *, allow_null: bool) -> None:
    if parameters.isValue and not (allow_null and bytes(parameters) == _NULL):
        raise _bad("an algorithm has parameters where none belong")


def _pss(parameters: Asn1, digest: str) -> Scheme:
    """Read RSASSA-PSS parameters (RFC 4055 section 3.1): one hash for everything."""
    if not parameters.isValue:
        raise _bad("RSASSA-PSS has no parameters")
    from pyasn1_modules import rfc4055  # defines all of X.509; hardly a list is signed like this

    values = _decode(bytes(parameters), rfc4055.RSASSA_PSS_params(), "the RSASSA-PSS parameters")
    mask = values["maskGenAlgorithm"]
    if not mask["parameters"].isValue or str(mask["algorithm"]) != _MGF1:
        raise _bad("RSASSA-PSS has a mask function other than MGF1 with a hash")
    inner = _decode(bytes(mask["parameters"]), grammar.ALGORITHM, "the MGF1 parameters")
    if {_digest(values["hashAlgorithm"], "RSASSA-PSS hash"), _digest(inner, "MGF1 hash")} != {digest}:
        raise _bad("RSASSA-PSS uses another hash than the digest")
    if int(values["trailerField"]) != 1 or int(values["saltLength"]) < 0:
        raise _bad("RSASSA-PSS has a salt or trailer that does not exist")
    return Scheme("rsa-pss", digest, int(values["saltLength"]))
