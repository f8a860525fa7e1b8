"""The part of CMS that a detached signature is made of (RFC 5652), in pyasn1's terms.

``pyasn1_modules.rfc5652`` says the same, and a test holds the two together. It is not used for reading because it
defines all of CMS and three generations of X.509 whenever it is imported, which took a tenth of a pass with nothing
to do. Here certificates, CRLs and the issuer's name are the bytes they are: ``cryptography`` reads them.
"""

from __future__ import annotations

from typing import Any

from pyasn1.type import constraint, namedtype, namedval, tag, univ, useful

Asn1 = Any
"""A pyasn1 value or type: the library has no annotations."""

ID_DATA = univ.ObjectIdentifier("1.2.840.113549.1.7.1")
ID_SIGNED_DATA = univ.ObjectIdentifier("1.2.840.113549.1.7.2")
ID_CONTENT_TYPE = univ.ObjectIdentifier("1.2.840.113549.1.9.3")
ID_MESSAGE_DIGEST = univ.ObjectIdentifier("1.2.840.113549.1.9.4")
ID_SIGNING_TIME = univ.ObjectIdentifier("1.2.840.113549.1.9.5")
ID_SIGNING_CERTIFICATE = univ.ObjectIdentifier("1.2.840.113549.1.9.16.2.12")
ID_SIGNING_CERTIFICATE_V2 = univ.ObjectIdentifier("1.2.840.113549.1.9.16.2.47")

_field = namedtype.NamedType
_optional = namedtype.OptionalNamedType


def _sequence(*fields: Asn1) -> Asn1:
    return univ.Sequence(componentType=namedtype.NamedTypes(*fields))


def _choice(*fields: Asn1) -> Asn1:
    return univ.Choice(componentType=namedtype.NamedTypes(*fields))


def _set_of(component: Asn1, **constraints: Asn1) -> Asn1:
    return univ.SetOf(componentType=component, **constraints)


def _sequence_of(component: Asn1, **constraints: Asn1) -> Asn1:
    return univ.SequenceOf(componentType=component, **constraints)


def _implicit(number: int, kind: Asn1) -> Asn1:
    return kind.subtype(implicitTag=tag.Tag(tag.tagClassContext, tag.tagFormatSimple, number))


def _explicit(number: int, kind: Asn1) -> Asn1:
    return kind.subtype(explicitTag=tag.Tag(tag.tagClassContext, tag.tagFormatSimple, number))


_VERSION = univ.Integer(namedValues=namedval.NamedValues(*((f"v{number}", number) for number in range(6))))

ALGORITHM = _sequence(_field("algorithm", univ.ObjectIdentifier()), _optional("parameters", univ.Any()))
"""RFC 5280 section 4.1.1.2."""

_ATTRIBUTE = _sequence(_field("attrType", univ.ObjectIdentifier()), _field("attrValues", _set_of(univ.Any())))
_SOME = constraint.ValueSizeConstraint(1, float("inf"))
_ATTRIBUTES = _set_of(_ATTRIBUTE, subtypeSpec=_SOME)

_ENCAPSULATED = _sequence(
    _field("eContentType", univ.ObjectIdentifier()), _optional("eContent", _explicit(0, univ.OctetString()))
)

_SIGNER = _choice(
    _field("issuerAndSerialNumber", _sequence(_field("issuer", univ.Any()), _field("serialNumber", univ.Integer()))),
    _field("subjectKeyIdentifier", _implicit(0, univ.OctetString())),
)

_SIGNER_INFO = _sequence(
    _field("version", _VERSION),
    _field("sid", _SIGNER),
    _field("digestAlgorithm", ALGORITHM),
    _optional("signedAttrs", _implicit(0, _ATTRIBUTES)),
    _field("signatureAlgorithm", ALGORITHM),
    _field("signature", univ.OctetString()),
    _optional("unsignedAttrs", _implicit(1, _ATTRIBUTES)),
)

CONTENT_INFO = _sequence(_field("contentType", univ.ObjectIdentifier()), _field("content", _explicit(0, univ.Any())))
"""Section 3."""

SIGNED_DATA = _sequence(
    _field("version", _VERSION),
    _field("digestAlgorithms", _set_of(ALGORITHM)),
    _field("encapContentInfo", _ENCAPSULATED),
    _optional("certificates", _implicit(0, _set_of(univ.Any()))),
    _optional("crls", _implicit(1, _set_of(univ.Any()))),
    _field("signerInfos", _set_of(_SIGNER_INFO)),
)
"""Section 5.1."""

TIME = _choice(_field("utcTime", useful.UTCTime()), _field("generalTime", useful.GeneralizedTime()))
"""Section 11.3."""

_ISSUER_SERIAL = _sequence(
    _field("issuer", _sequence_of(univ.Any(), subtypeSpec=_SOME)), _field("serialNumber", univ.Integer())
)
_CERTIFICATE_ID = (_field("certHash", univ.OctetString()), _optional("issuerSerial", _ISSUER_SERIAL))
_POLICIES = _optional("policies", _sequence_of(univ.Any()))

SIGNING_CERTIFICATE = _sequence(_field("certs", _sequence_of(_sequence(*_CERTIFICATE_ID))), _POLICIES)
"""RFC 5035 section 5, from RFC 2634: with SHA-1."""

# SHA-256 is the default of ``hashAlgorithm``. Some write it nevertheless, so that it is read as optional.
SIGNING_CERTIFICATE_V2 = _sequence(
    _field("certs", _sequence_of(_sequence(_optional("hashAlgorithm", ALGORITHM), *_CERTIFICATE_ID))), _POLICIES
)
"""RFC 5035 section 3."""
