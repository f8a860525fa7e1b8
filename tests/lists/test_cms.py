import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import pytest

from imagesync.errors import BadSignatureError
from imagesync.lists import cms
from imagesync.lists.cms import IssuerSerial, Scheme, parse

CONTENT = b"{}"
SHA256 = "2.16.840.1.101.3.4.2.1"


@pytest.fixture
def signed(forge: ModuleType, people: Mapping[str, Any]) -> Callable[..., bytes]:
    """Return a function that makes a signature of the endorser with some things changed."""

    def make(**wish: Any) -> bytes:
        der: bytes = forge.sign(CONTENT, people["endorser"], forge.SignerWish(**wish))
        return der

    return make


def test_says_what_the_bytes_say(signed: Callable[..., bytes], people: Mapping[str, Any]) -> None:
    endorser = people["endorser"]

    message = parse(signed())

    named = IssuerSerial(endorser.certificate.issuer.public_bytes(), endorser.certificate.serial_number)
    assert message.signer == named
    assert message.scheme == Scheme("rsa", "sha256")
    assert message.certificates == (endorser.der,)
    assert message.attributes[0] == 0x31


def test_a_signature_over_attributes_is_none_over_them_as_content(
    forge: ModuleType, signed: Callable[..., bytes], people: Mapping[str, Any]
) -> None:
    """The signed attributes of an honest message, as the content of one without, have a signature that fits."""
    honest = parse(signed())
    moved = forge.signer_info(honest.attributes, people["endorser"], forge.SignerWish(signed=False))
    assert honest.signature in moved

    with pytest.raises(BadSignatureError, match="it has no signed attributes"):
        parse(forge.signed_data([moved], [people["endorser"].der]))


def test_a_missing_signing_time_is_none(forge: ModuleType, signed: Callable[..., bytes]) -> None:
    kind, _, digest = forge.usual_attributes(CONTENT)

    assert parse(signed(attributes=[kind, digest])).signing_time is None


@pytest.mark.parametrize(
    ("dotted", "null", "digest", "kind"),
    [
        ("1.2.840.113549.1.1.1", True, "sha384", "rsa"),
        ("1.2.840.113549.1.1.11", True, "sha256", "rsa"),
        ("1.2.840.113549.1.1.12", True, "sha384", "rsa"),
        ("1.2.840.113549.1.1.13", True, "sha512", "rsa"),
        ("1.2.840.10045.4.3.2", False, "sha256", "ecdsa"),
        ("1.2.840.10045.4.3.3", False, "sha384", "ecdsa"),
        ("1.2.840.10045.4.3.4", False, "sha512", "ecdsa"),
        ("1.3.101.112", False, "sha512", "ed25519"),
    ],
)
def test_the_algorithms_that_are_accepted(
    forge: ModuleType, signed: Callable[..., bytes], dotted: str, null: bool, digest: str, kind: str
) -> None:
    algorithm = forge.algorithm(dotted, forge.NULL if null else b"")

    assert parse(signed(algorithm=algorithm, digest=digest)).scheme == Scheme(kind, digest, 0)


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("md5", "1.2.840.113549.2.5", "MD5"),
        ("sha1", "1.3.14.3.2.26", "SHA-1"),
        ("sha256", "2.16.840.1.101.3.4.2.4", "SHA-224"),
        ("sha256", "2.16.840.1.101.3.4.2.9", "2.16.840.1.101.3.4.2.9"),
    ],
)
def test_a_digest_that_is_not_accepted_is_named(
    forge: ModuleType, signed: Callable[..., bytes], old: str, new: str, name: str
) -> None:
    der = signed(digest=old).replace(forge.oid(forge.DIGESTS[old]), forge.oid(new))

    with pytest.raises(BadSignatureError, match=f"the digest algorithm {name} is not accepted"):
        parse(der)


def test_a_hostile_identifier_is_cut_short(forge: ModuleType) -> None:
    def said(dotted: str) -> str:
        with pytest.raises(BadSignatureError) as refusal:
            parse(forge.seq(forge.oid(dotted), forge.tlv(0xA0, forge.NULL)))
        return refusal.value.detail.removeprefix("it is no SignedData but ")

    longest, longer = "1.2" + ".3" * 29 + ".33", "1.2" + ".3" * 31

    assert (len(longest), said(longest)) == (64, longest)
    assert (len(longer), said(longer)) == (65, longer[:64] + "...")


@pytest.mark.parametrize(("text", "year"), [("500101000000Z", 1950), ("491231235959Z", 2049)])
def test_years_of_two_digits_follow_rfc_5280(
    forge: ModuleType, signed: Callable[..., bytes], text: str, year: int
) -> None:
    time = parse(signed(attributes=forge.usual_attributes(CONTENT, when=text))).signing_time

    assert time is not None
    assert time.year == year


def test_a_generalized_time_is_a_signing_time(forge: ModuleType, signed: Callable[..., bytes]) -> None:
    kind, _, digest = forge.usual_attributes(CONTENT)
    when = forge.attribute(forge.SIGNING_TIME, forge.tlv(0x18, b"20510601100000Z"))

    time = parse(signed(attributes=[kind, when, digest])).signing_time

    assert time is not None
    assert time.year == 2051


MGF1 = "1.2.840.113549.1.1.8"


@pytest.fixture
def pss(forge: ModuleType, signed: Callable[..., bytes]) -> Callable[..., bytes]:
    """Return a function that makes a signature with RSASSA-PSS parameters; without ``inner`` the mask has none."""

    def make(mask: str = MGF1, inner: str = SHA256, salt: int = 0, trailer: int = 1) -> bytes:
        last = forge.tlv(0xA3, forge.integer(trailer)) if trailer != 1 else b""
        parameters = forge.seq(
            forge.tlv(0xA0, forge.algorithm(SHA256, forge.NULL)),
            forge.tlv(0xA1, forge.algorithm(mask, forge.algorithm(inner, forge.NULL) if inner else b"")),
            forge.tlv(0xA2, b"\x02\x01" + salt.to_bytes(1, "big", signed=True)),
            last,
        )
        return signed(algorithm=forge.algorithm(forge.PSS, parameters))

    return make


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"mask": "1.2.3.4"}, "a mask function other than MGF1"),
        ({"inner": ""}, "a mask function other than MGF1 with a hash"),
        ({"inner": "1.3.14.3.2.26"}, "the MGF1 hash algorithm SHA-1 is not accepted"),
        ({"inner": "2.16.840.1.101.3.4.2.3"}, "another hash than the digest"),
        ({"salt": -1}, "a salt or trailer that does not exist"),
        ({"trailer": 2}, "a salt or trailer that does not exist"),
    ],
)
def test_odd_pss_parameters_are_refused(pss: Callable[..., bytes], changes: dict[str, Any], text: str) -> None:
    with pytest.raises(BadSignatureError, match=text):
        parse(pss(**changes))


@pytest.mark.parametrize("salt", [0, 1, 32])
def test_a_salt_has_any_length(pss: Callable[..., bytes], salt: int) -> None:
    assert parse(pss(salt=salt)).scheme == Scheme("rsa-pss", "sha256", salt)


def test_no_pss_with_the_defaults_of_sha1(forge: ModuleType, signed: Callable[..., bytes]) -> None:
    with pytest.raises(BadSignatureError, match="the RSASSA-PSS hash algorithm SHA-1 is not accepted|MGF1"):
        parse(signed(algorithm=forge.algorithm(forge.PSS, forge.seq())))


def test_what_cannot_be_read_is_named(forge: ModuleType, signed: Callable[..., bytes]) -> None:
    def said(der: bytes) -> str:
        with pytest.raises(BadSignatureError) as refusal:
            parse(der)
        assert refusal.value.subject == "signature"
        return refusal.value.detail.partition(" is not what RFC 5652 says")[0]

    kind, _, digest = forge.usual_attributes(CONTENT)
    odd_time = forge.attribute(forge.SIGNING_TIME, forge.NULL)
    mask = forge.tlv(0xA1, forge.algorithm(MGF1, forge.NULL))

    assert said(forge.seq()) == "the signature"
    assert said(forge.seq(forge.oid(forge.SIGNED_DATA), forge.tlv(0xA0, forge.NULL))) == "the SignedData"
    assert said(signed(attributes=[kind, odd_time, digest])) == "the signing time"
    assert said(signed(algorithm=forge.algorithm(forge.PSS, forge.NULL))) == "the RSASSA-PSS parameters"
    assert said(signed(algorithm=forge.algorithm(forge.PSS, forge.seq(mask)))) == "the MGF1 parameters"


def test_why_it_cannot_be_read_is_one_line_of_bounded_length(forge: ModuleType) -> None:
    with pytest.raises(BadSignatureError) as refusal:
        parse(forge.seq(forge.oid(forge.SIGNED_DATA), forge.tlv(0xA0, forge.NULL)))

    reason = refusal.value.detail.removeprefix("the SignedData is not what RFC 5652 says: ")
    assert len(reason) == 120
    assert reason == " ".join(reason.split())
    assert "not in asn1Spec" in reason


@pytest.mark.parametrize(
    "text", ["260601100000+0000", "2606011000Z", "20260601100000.5Z", "2606 1100000Z", "26060110000\u0660Z"]
)
def test_a_signing_time_has_one_form(forge: ModuleType, signed: Callable[..., bytes], text: str) -> None:
    kind, _, digest = forge.usual_attributes(CONTENT)
    when = forge.attribute(forge.SIGNING_TIME, forge.tlv(0x17, text.encode()))

    with pytest.raises(BadSignatureError, match="is not in UTC with seconds|is not what RFC 5652 says"):
        parse(signed(attributes=[kind, when, digest]))


@pytest.mark.parametrize("text", ["261301100000Z", "260230100000Z", "260601240000Z"])
def test_a_signing_time_exists(forge: ModuleType, signed: Callable[..., bytes], text: str) -> None:
    kind, _, digest = forge.usual_attributes(CONTENT)
    when = forge.attribute(forge.SIGNING_TIME, forge.tlv(0x17, text.encode()))

    with pytest.raises(BadSignatureError, match=f"the signing time '20{text}' does not exist"):
        parse(signed(attributes=[kind, when, digest]))


def test_the_digest_of_the_signer_is_one_of_the_message(forge: ModuleType, people: Mapping[str, Any]) -> None:
    endorser = people["endorser"]
    info = forge.signer_info(CONTENT, endorser, forge.SignerWish())
    assert parse(forge.signed_data([info], [endorser.der], ["sha512", "sha256"])).scheme.digest == "sha256"

    for others in (["sha512"], []):
        with pytest.raises(BadSignatureError, match="the signer's digest algorithm is not among those of the message"):
            parse(forge.signed_data([info], [endorser.der], others))


# --- bounds ---
def test_the_limits_are_those_that_the_documentation_gives() -> None:
    assert (cms.MAX_CERTIFICATES, cms.MAX_ATTRIBUTES, cms.MAX_ELEMENTS) == (20, 32, 10_000)
    assert (cms.MAX_OID_BYTES, cms.MAX_DIGESTS) == (64, 16)


@pytest.mark.parametrize(
    ("number", "text"), [(10_000, "is not what RFC 5652 says"), (10_001, "more than 10000 elements")]
)
def test_elements_are_counted_before_they_are_parsed(forge: ModuleType, number: int, text: str) -> None:
    nested = forge.seq(forge.seq(b"\x05\x00" * (number - 2)), forge.seq())

    with pytest.raises(BadSignatureError, match=text):
        parse(nested)


def test_object_identifiers_are_bounded_before_they_are_parsed(forge: ModuleType) -> None:
    def nested(length: int) -> bytes:
        return bytes(forge.seq(forge.seq(forge.tlv(6, b"\x81" * (length - 1) + b"\x01")), forge.seq()))

    with pytest.raises(BadSignatureError, match="is not what RFC 5652 says"):
        parse(nested(64))
    with pytest.raises(BadSignatureError, match="an object identifier of more than 64 bytes"):
        parse(nested(65))


def test_digest_algorithms_up_to_the_limit_are_read(
    forge: ModuleType, people: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {f"d{number}": f"1.2.3.{number}" for number in range(16)}
    monkeypatch.setattr(forge, "DIGESTS", forge.DIGESTS | names)
    info = forge.signer_info(CONTENT, people["endorser"])

    assert (
        parse(forge.signed_data([info], [people["endorser"].der], ["sha256", *list(names)[:15]])).scheme.digest
        == "sha256"
    )
    with pytest.raises(BadSignatureError, match="more than 16 digest algorithms"):
        parse(forge.signed_data([info], [], ["sha256", *names]))


def test_certificates_up_to_the_limit_are_read(forge: ModuleType, people: Mapping[str, Any]) -> None:
    info = forge.signer_info(CONTENT, people["endorser"])
    many = [forge.seq(forge.integer(number)) for number in range(21)]

    assert len(parse(forge.signed_data([info], many[:20])).certificates) == 20
    with pytest.raises(BadSignatureError, match="more than 20 certificates"):
        parse(forge.signed_data([info], many))


def test_attributes_up_to_the_limit_are_read(forge: ModuleType, signed: Callable[..., bytes]) -> None:
    usual = forge.usual_attributes(CONTENT)
    more = [forge.attribute(f"1.2.3.{number}", forge.NULL) for number in range(30)]

    assert parse(signed(attributes=usual + more[:29])).scheme.kind == "rsa"
    with pytest.raises(BadSignatureError, match="more than 32 signed attributes"):
        parse(signed(attributes=usual + more))


@pytest.mark.parametrize(
    ("header", "length"),
    [
        ("0500", 0),
        ("1e00", 0),
        ("0401", 1),
        ("047f", 127),
        ("048180", 128),
        ("04820100", 256),
        ("0483010000", 65_536),
        ("048400000101", 257),
    ],
)
def test_contents_begin_behind_a_definite_length(header: str, length: int) -> None:
    data = bytes.fromhex(header)
    der = b"??" + data + bytes(length)

    assert cms._contents(der, 2, len(der)) == (2 + len(data), len(der))
    assert cms._contents(der + b"?", 2, len(der) + 1) == (2 + len(data), len(der))
    with pytest.raises(BadSignatureError, match="not in DER"):
        cms._contents(der, 2, len(der) - 1)


@pytest.mark.parametrize("header", ["04", "1f01", "3f01", "9f01", "0480", "04850000000001", "04ff01"])
def test_what_has_no_definite_length_is_not_in_der(header: str) -> None:
    with pytest.raises(BadSignatureError) as refusal:
        cms._contents(bytes.fromhex(header) + bytes(300), 0, 1 if header == "04" else 300)

    assert refusal.value.detail == "the signature is not in DER"


@pytest.mark.parametrize("der", [b"", b"0", b"0\x84\xff\xff\xff\xff", b"0\x00", b"\x02\x01\x00", b"0\x80\x00\x00"])
def test_rubbish_is_refused(der: bytes) -> None:
    with pytest.raises(BadSignatureError):
        parse(der)


@pytest.mark.parametrize("where", ["digests", "certificates", "values"])
def test_a_flood_of_elements_is_refused_before_it_is_parsed(
    forge: ModuleType, people: Mapping[str, Any], where: str
) -> None:
    flood = b"\x05\x00" * 400_000
    info = forge.signer_info(CONTENT, people["endorser"])
    digests = forge.algorithm(SHA256, forge.NULL)
    attribute = forge.seq(forge.oid("1.2.3"), forge.tlv(0x31, flood))
    data = forge.seq(
        forge.integer(1),
        forge.tlv(0x31, flood if where == "digests" else digests),
        forge.seq(forge.oid(forge.DATA)),
        forge.tlv(0xA0, flood if where == "certificates" else b""),
        forge.tlv(0x31, attribute if where == "values" else info),
    )
    start = time.process_time()

    with pytest.raises(BadSignatureError, match="more than 10000 elements"):
        parse(forge.seq(forge.oid(forge.SIGNED_DATA), forge.tlv(0xA0, data)))
    assert time.process_time() - start < 1
