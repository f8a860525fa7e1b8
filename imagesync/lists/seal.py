"""Makes detached S/MIME messages of the form in which HEPiX image lists are published.

The content stands in the first part of a ``multipart/signed`` message exactly as it is hashed: with CRLF line ends
(RFC 8551, section 3.1.1) and without a MIME header of its own, as every publisher of lists writes it. The second part
is a CMS SignedData (RFC 5652) with one signer, the signed attributes content type, signing time and message digest,
and the certificates.

``cryptography.hazmat.primitives.serialization.pkcs7.PKCS7SignatureBuilder`` is not used: it takes the signing time
from the clock, and a pass has one clock reading that is handed in.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from pyasn1.codec.der.decoder import decode
from pyasn1.codec.der.encoder import encode
from pyasn1.type import namedtype, tag, univ, useful
from pyasn1_modules import rfc5280, rfc5652

from imagesync.errors import ConfigError

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

# pyasn1 has no types.
_Asn1: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class SigningIdentity:
    """Who signs: a certificate, its private key, and the certificates between it and the trust anchor."""

    certificate: x509.Certificate
    key: SigningKey
    chain: tuple[x509.Certificate, ...] = ()

    def __repr__(self) -> str:
        """Name the subject; never the key."""
        return f"SigningIdentity({self.certificate.subject.rfc4514_string()!r})"


@dataclass(frozen=True, slots=True)
class _Algorithm:
    """A digest with the names that MIME and CMS give to it and to the signature made with it."""

    micalg: str
    hash: hashes.HashAlgorithm
    digest_oid: str
    ecdsa_oid: str


_SHA256 = _Algorithm("sha-256", hashes.SHA256(), "2.16.840.1.101.3.4.2.1", "1.2.840.10045.4.3.2")
_SHA384 = _Algorithm("sha-384", hashes.SHA384(), "2.16.840.1.101.3.4.2.2", "1.2.840.10045.4.3.3")
_SHA512 = _Algorithm("sha-512", hashes.SHA512(), "2.16.840.1.101.3.4.2.3", "1.2.840.10045.4.3.4")

_RSA_OID = "1.2.840.113549.1.1.1"
_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_SIGNING_TIME = "1.2.840.113549.1.9.5"


class _Certificates(univ.SetOf):  # type: ignore[misc]  # pyasn1 has no types
    """The certificates as the bytes they are: decoding and encoding them again could change what was signed."""

    componentType = univ.Any()  # noqa: N815


class _SignedData(univ.Sequence):  # type: ignore[misc]  # pyasn1 has no types
    componentType = namedtype.NamedTypes(  # noqa: N815
        namedtype.NamedType("version", rfc5652.CMSVersion()),
        namedtype.NamedType("digestAlgorithms", rfc5652.DigestAlgorithmIdentifiers()),
        namedtype.NamedType("encapContentInfo", rfc5652.EncapsulatedContentInfo()),
        namedtype.NamedType(
            "certificates", _Certificates().subtype(implicitTag=tag.Tag(tag.tagClassContext, tag.tagFormatSimple, 0))
        ),
        namedtype.NamedType("signerInfos", rfc5652.SignerInfos()),
    )


def seal(content: bytes, identity: SigningIdentity, now: datetime) -> bytes:
    """Return ``content`` as a signed message. What the content says is not looked at.

    ``now`` becomes the signing time, in whole seconds.

    Raises:
        ConfigError: the content has a carriage return that ends no line, or a zero byte; neither survives mail.
    """
    canonical = canonicalise(content)
    algorithm = _algorithm_for(identity.key)
    message = _signed_data(canonical, identity, algorithm, now)
    # Derived, not random: the same content signed twice by an RSA key gives the same message.
    boundary = f"----{hashlib.sha256(canonical + message).hexdigest()[:32].upper()}"
    return _multipart(canonical, message, boundary, algorithm.micalg)


def canonicalise(content: bytes) -> bytes:
    r"""Return ``content`` with every line end as CRLF: the bytes that are hashed.

    Raises:
        ConfigError: a carriage return without a line feed, or a zero byte.
    """
    lines = content.replace(b"\r\n", b"\n")
    if b"\r" in lines or b"\0" in lines:
        raise ConfigError("list", "holds a bare carriage return or a zero byte", "write it as plain text")
    return lines.replace(b"\n", b"\r\n")


def _multipart(canonical: bytes, message: bytes, boundary: str, micalg: str) -> bytes:
    head = (
        "MIME-Version: 1.0\n"
        'Content-Type: multipart/signed; protocol="application/x-pkcs7-signature"; '
        f'micalg="{micalg}"; boundary="{boundary}"\n'
        "\nThis is an S/MIME signed message\n"
        f"\n--{boundary}\n"
    )
    tail = (
        f"\n--{boundary}\n"
        'Content-Type: application/x-pkcs7-signature; name="smime.p7s"\n'
        "Content-Transfer-Encoding: base64\n"
        'Content-Disposition: attachment; filename="smime.p7s"\n'
        f"\n{base64.encodebytes(message).decode('ascii')}"
        f"\n--{boundary}--\n\n"
    )
    return head.replace("\n", "\r\n").encode("ascii") + canonical + tail.replace("\n", "\r\n").encode("ascii")


def _algorithm_for(key: SigningKey) -> _Algorithm:
    """Return the digest that fits the strength of the key."""
    match key:
        case ec.EllipticCurvePrivateKey() if key.key_size > 384:
            return _SHA512
        case ec.EllipticCurvePrivateKey() if key.key_size > 256:
            return _SHA384
        case _:
            return _SHA256


def _signed_data(canonical: bytes, identity: SigningIdentity, algorithm: _Algorithm, now: datetime) -> bytes:
    """Return the DER of the ContentInfo (RFC 5652, sections 3 and 5.1)."""
    data = _SignedData()
    data["version"] = 1
    data["digestAlgorithms"].append(_algorithm_identifier(algorithm.digest_oid))
    data["encapContentInfo"]["eContentType"] = rfc5652.id_data
    for certificate in (identity.certificate, *identity.chain):
        data["certificates"].append(univ.Any(certificate.public_bytes(Encoding.DER)))
    data["signerInfos"].append(_signer_info(canonical, identity, algorithm, now))
    info = rfc5652.ContentInfo()
    info["contentType"] = rfc5652.id_signedData
    info["content"] = univ.Any(encode(data))
    return bytes(encode(info))


def _signer_info(canonical: bytes, identity: SigningIdentity, algorithm: _Algorithm, now: datetime) -> _Asn1:
    signer = rfc5652.SignerInfo()
    signer["version"] = 1
    issuer, _ = decode(identity.certificate.issuer.public_bytes(), asn1Spec=rfc5280.Name())
    signer["sid"]["issuerAndSerialNumber"]["issuer"] = issuer
    signer["sid"]["issuerAndSerialNumber"]["serialNumber"] = identity.certificate.serial_number
    signer["digestAlgorithm"] = _algorithm_identifier(algorithm.digest_oid)
    for attribute in _attributes(canonical, algorithm, now):
        signer["signedAttrs"].append(attribute)
    # RFC 5652, section 5.4: what is signed carries the tag SET OF, not the implicit [0] it is sent with.
    signed = rfc5652.SignedAttributes()
    signed.extend(signer["signedAttrs"])
    signer["signatureAlgorithm"] = _signature_identifier(identity.key, algorithm)
    signer["signature"] = _raw_signature(identity.key, algorithm.hash, encode(signed))
    return signer


def _attributes(canonical: bytes, algorithm: _Algorithm, now: datetime) -> list[_Asn1]:
    digest = hashlib.new(algorithm.hash.name, canonical).digest()
    return [
        _attribute(_CONTENT_TYPE, rfc5652.id_data),
        _attribute(_SIGNING_TIME, _time(now)),
        _attribute(_MESSAGE_DIGEST, univ.OctetString(digest)),
    ]


def _attribute(oid: str, value: _Asn1) -> _Asn1:
    attribute = rfc5652.Attribute()
    attribute["attrType"] = univ.ObjectIdentifier(oid)
    attribute["attrValues"].append(univ.Any(encode(value)))
    return attribute


def _time(now: datetime) -> _Asn1:
    """Return UTCTime through 2049 and GeneralizedTime after it (RFC 5652, section 11.3)."""
    moment = now.astimezone(UTC)
    if moment.year < 2050:
        return useful.UTCTime(moment.strftime("%y%m%d%H%M%SZ"))
    return useful.GeneralizedTime(moment.strftime("%Y%m%d%H%M%SZ"))


def _algorithm_identifier(oid: str, *, null: bool = False) -> _Asn1:
    identifier = rfc5280.AlgorithmIdentifier()
    identifier["algorithm"] = univ.ObjectIdentifier(oid)
    if null:
        identifier["parameters"] = univ.Any(encode(univ.Null("")))
    return identifier


def _signature_identifier(key: SigningKey, algorithm: _Algorithm) -> _Asn1:
    """Return rsaEncryption with NULL (RFC 3370, section 3.2) or ecdsa-with-SHA2 without parameters (RFC 5754)."""
    if isinstance(key, rsa.RSAPrivateKey):
        return _algorithm_identifier(_RSA_OID, null=True)
    return _algorithm_identifier(algorithm.ecdsa_oid)


def _raw_signature(key: SigningKey, digest: hashes.HashAlgorithm, data: bytes) -> _Asn1:
    match key:
        case rsa.RSAPrivateKey():
            return univ.OctetString(key.sign(data, padding.PKCS1v15(), digest))
        case ec.EllipticCurvePrivateKey():
            return univ.OctetString(key.sign(data, ec.ECDSA(digest)))
