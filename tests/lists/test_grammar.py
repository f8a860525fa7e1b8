"""What is defined here for speed says what the library's own module says, field by field."""

from collections.abc import Iterator
from typing import Any

import pytest
from pyasn1.type import univ, useful
from pyasn1_modules import rfc5035, rfc5280, rfc5652

from imagesync.lists import grammar

# What stays bytes here because somebody else reads it, by the path of its fields.
OPAQUE = {
    *("certificates/*", "crls/*", "signerInfos/*/sid/issuerAndSerialNumber/issuer"),
    *("certs/*/issuerSerial/issuer/*", "policies/*"),
}
BASES = (
    univ.Sequence,
    univ.SequenceOf,
    univ.SetOf,
    univ.Choice,
    univ.Any,
    univ.Integer,
    univ.OctetString,
    univ.ObjectIdentifier,
)
TIMES = (useful.UTCTime, useful.GeneralizedTime)


def shape(kind: Any, path: str = "") -> Iterator[tuple[Any, ...]]:
    """Yield what decides how a type is decoded, for it and for everything inside it."""
    if path in OPAQUE:
        return
    base = next(base for base in (*TIMES, *BASES) if isinstance(kind, base))
    yield path, base.__name__, str(kind.tagSet), bounds(kind), tuple(names(kind))
    if isinstance(kind, univ.SetOf | univ.SequenceOf):
        yield from shape(kind.componentType, f"{path}/*".lstrip("/"))
    elif isinstance(kind, univ.Sequence | univ.Choice):
        for field in kind.componentType.namedTypes:
            yield path, field.name, field.isOptional, field.isDefaulted
            yield from shape(field.asn1Object, f"{path}/{field.name}".lstrip("/"))


def bounds(kind: Any) -> str:
    """Return the constraints, of which one alone is the same within an intersection."""
    text, around = str(kind.subtypeSpec), "<ConstraintsIntersection object, consts "
    return text.removeprefix(around).removesuffix(">") if text.startswith(around) else text


def names(kind: Any) -> Any:
    return kind.namedValues.items() if isinstance(kind, univ.Integer) else ()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("SIGNED_DATA", rfc5652.SignedData()),
        ("CONTENT_INFO", rfc5652.ContentInfo()),
        ("ALGORITHM", rfc5280.AlgorithmIdentifier()),
        ("TIME", rfc5652.SigningTime()),
        ("SIGNING_CERTIFICATE", rfc5035.SigningCertificate()),
    ],
)
def test_a_type_is_that_of_the_library(ours: str, theirs: Any) -> None:
    assert list(shape(getattr(grammar, ours))) == list(shape(theirs))


def test_the_newer_signing_certificate_differs_in_its_default_alone() -> None:
    ours, theirs = set(shape(grammar.SIGNING_CERTIFICATE_V2)), set(shape(rfc5035.SigningCertificateV2()))

    assert ours - theirs == {("certs/*", "hashAlgorithm", True, False)}
    assert theirs - ours == {("certs/*", "hashAlgorithm", False, True)}


def test_the_identifiers_of_signing_certificates_are_those_of_the_library() -> None:
    assert rfc5035.id_aa_signingCertificate == grammar.ID_SIGNING_CERTIFICATE
    assert rfc5035.id_aa_signingCertificateV2 == grammar.ID_SIGNING_CERTIFICATE_V2


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("ID_DATA", "id_data"),
        ("ID_SIGNED_DATA", "id_signedData"),
        ("ID_CONTENT_TYPE", "id_contentType"),
        ("ID_MESSAGE_DIGEST", "id_messageDigest"),
        ("ID_SIGNING_TIME", "id_signingTime"),
    ],
)
def test_an_identifier_is_that_of_the_library(ours: str, theirs: str) -> None:
    assert getattr(grammar, ours) == getattr(rfc5652, theirs)
