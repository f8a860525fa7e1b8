import hashlib
import random
import shutil
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from imagesync.errors import (
    BadEnvelopeError,
    BadSignatureError,
    NotYetValidError,
    RevocationUnknownError,
    TrustError,
    UntrustedSignerError,
)
from imagesync.lists.anchors import Anchors, CrlMode, load_anchors
from imagesync.lists.smime import SignaturePolicy, _check_trust, made_by, verify
from imagesync.model import Identity

BASE = "/DC=test/DC=imagesync/CN="
STRICT = SignaturePolicy()


@pytest.fixture
def good(fixtures: Path) -> Callable[[str], bytes]:
    def read(label: str) -> bytes:
        return (fixtures / "lists" / "good" / f"{label}.list").read_bytes()

    return read


@pytest.fixture(scope="session")
def pem_of(people: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """Return a function that writes a party's certificate and key for OpenSSL."""
    folder = tmp_path_factory.mktemp("pem")

    def write(label: str) -> list[str]:
        certificate, key = folder / f"{label}.crt", folder / f"{label}.key"
        certificate.write_bytes(people[label].certificate.public_bytes(Encoding.PEM))
        key.write_bytes(people[label].key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return ["-signer", str(certificate), "-inkey", str(key)]

    return write


def openssl(*command: str, data: bytes) -> bytes:
    return subprocess.run(["openssl", *command], input=data, capture_output=True, check=True, timeout=60).stdout


# --- what verifies, and what it returns ---
def test_returns_the_content_and_its_signer(
    good: Callable[[str], bytes], anchors: Anchors, people: Mapping[str, Any], now: datetime
) -> None:
    payload = verify(good("plain"), anchors, STRICT, now)

    assert payload.json == payload.content
    assert payload.json.startswith(b"{\r\n")
    assert payload.signed_at == datetime(2026, 6, 1, 10, tzinfo=UTC)
    assert payload.signer.identity == Identity(f"{BASE}Endorser", f"{BASE}Root CA")
    assert payload.signer.not_after == people["endorser"].certificate.not_valid_after_utc
    assert len(payload.signer.sha256) == 64
    assert not payload.signer.expects_pin
    assert payload.warnings == ()


@pytest.mark.parametrize("label", ["all-crlf", "crlf-content-in-lf-frame", "unusual-headers", "epilogue"])
def test_every_honest_form_gives_the_same_content(
    good: Callable[[str], bytes], anchors: Anchors, now: datetime, label: str
) -> None:
    assert verify(good(label), anchors, STRICT, now).json == verify(good("plain"), anchors, STRICT, now).json


def test_a_signed_mime_header_is_not_part_of_the_list(
    good: Callable[[str], bytes], anchors: Anchors, now: datetime
) -> None:
    payload = verify(good("mime-headers-signed"), anchors, STRICT, now)

    assert payload.content.startswith(b"Content-Type: text/plain")
    assert payload.json == verify(good("plain"), anchors, STRICT, now).json
    assert payload.content.endswith(payload.json)


def test_a_host_certificate_needs_a_pin_and_says_so(
    good: Callable[[str], bytes], anchors: Anchors, now: datetime
) -> None:
    assert verify(good("host-certificate"), anchors, SignaturePolicy(pinned=True), now).signer.expects_pin
    with pytest.raises(UntrustedSignerError, match="accepted only where the endorser's DN and CA are pinned"):
        verify(good("host-certificate"), anchors, STRICT, now)
    with pytest.raises(UntrustedSignerError, match="pinned"):  # unless it is said, there is no pin
        verify(good("host-certificate"), anchors, SignaturePolicy(), now)


def test_crl_findings_come_back_as_warnings(good: Callable[[str], bytes], anchors: Anchors, now: datetime) -> None:
    assert "signed with SHA-1" in verify(good("under-old"), anchors, STRICT, now).warnings[0]
    assert verify(good("plain"), anchors, SignaturePolicy(CrlMode.OFF), now).warnings == (
        "revocation was not checked (crl: off)",
    )


def test_the_time_of_judgement_decides(
    good: Callable[[str], bytes], anchors: Anchors, people: Mapping[str, Any], now: datetime
) -> None:
    end = people["endorser"].certificate.not_valid_after_utc

    with pytest.raises(UntrustedSignerError, match="expired on 2060-01-01"):
        verify(good("plain"), anchors, STRICT, end + timedelta(seconds=1))


def test_der_crls_are_as_good_as_pem(
    good: Callable[[str], bytes], fixtures: Path, tmp_path: Path, now: datetime
) -> None:
    copy = shutil.copytree(fixtures / "trust" / "anchors", tmp_path / "anchors")
    for path in copy.glob("*.r0"):
        path.write_bytes(x509.load_pem_x509_crl(path.read_bytes()).public_bytes(Encoding.DER))

    verify(good("plain"), load_anchors(copy), STRICT, now)


# --- OpenSSL signs, we verify ---
@pytest.mark.parametrize(
    ("label", "options"),
    [
        ("endorser", ["smime", "-sign", "-md", "sha256"]),
        ("endorser", ["smime", "-sign", "-md", "sha256", "-text"]),
        ("endorser", ["smime", "-sign", "-md", "sha512", "-crlfeol"]),
        ("endorser", ["cms", "-sign", "-md", "sha384", "-keyid"]),
        ("endorser", ["cms", "-sign", "-md", "sha256", "-stream"]),
        ("endorser", ["cms", "-sign", "-md", "sha256", "-nosmimecap"]),
        ("endorser", ["cms", "-sign", "-md", "sha256", "-cades"]),
        ("endorser", ["cms", "-sign", "-md", "sha256", "-keyopt", "rsa_padding_mode:pss"]),
        ("other", ["cms", "-sign", "-md", "sha256"]),
        ("plain", ["cms", "-sign", "-md", "sha384"]),
        ("host", ["cms", "-sign", "-md", "sha512"]),
        ("under-subordinate", ["cms", "-sign", "-md", "sha256"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_what_openssl_signs_is_verified(
    pem_of: Callable[[str], list[str]], anchors: Anchors, label: str, options: list[str], line_end: bytes
) -> None:
    now = datetime.now(UTC)  # OpenSSL writes the real signing time
    content = line_end.join([b'{"hv:imagelist":', '"é"'.encode(), b"}", b""])

    blob = openssl(*options[:2], *pem_of(label), *options[2:], data=content)  # -keyopt is about the signer before it

    payload = verify(blob, anchors, SignaturePolicy(pinned=True), now)
    assert payload.json == content.replace(line_end, b"\r\n")


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        (["cms", "-sign", "-nodetach"], BadEnvelopeError, "opaque"),
        (["cms", "-sign", "-md", "sha1"], BadSignatureError, "SHA-1"),
        (["cms", "-sign", "-md", "sha256", "-noattr"], BadSignatureError, "no signed attributes"),
        (["cms", "-sign", "-md", "sha256", "-nocerts"], BadSignatureError, "no certificate"),
        (["cms", "-sign", "-md", "sha256", "-binary"], BadSignatureError, "the content is not what was signed"),
        (["cms", "-sign", "-md", "sha256", "-outform", "DER"], BadEnvelopeError, "a bare PKCS#7 structure"),
        (["cms", "-sign", "-md", "sha256", "-outform", "PEM"], BadEnvelopeError, "a bare PKCS#7 structure"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_other_forms_of_openssl_are_refused_by_name(
    pem_of: Callable[[str], list[str]], anchors: Anchors, options: list[str], kind: type[TrustError], text: str
) -> None:
    blob = openssl(*options, *pem_of("endorser"), data=b"{\n}\n")

    with pytest.raises(kind, match=text):
        verify(blob, anchors, STRICT, datetime.now(UTC))


# --- no exception of another kind, no false accept ---
def mutated(blob: bytes, dice: random.Random) -> bytes:
    """Change, cut out, double or insert a few bytes."""
    data = bytearray(blob)
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(data))
        match dice.randrange(4):
            case 0:
                data[at] = dice.randrange(256)
            case 1:
                del data[at : at + dice.randint(1, 40)]
            case 2:
                data[at:at] = data[at : at + dice.randint(1, 40)]
            case _:
                data[at:at] = bytes([dice.choice(b'\r\n-=;" \x00\xff{}0')])
    return bytes(data)


def test_a_mutated_message_is_refused_or_says_the_same(
    good: Callable[[str], bytes], anchors: Anchors, now: datetime
) -> None:
    dice = random.Random(20260601)  # the same mutations in each run
    blob = good("plain")
    content = verify(blob, anchors, STRICT, now)

    for _ in range(1500):
        try:
            found = verify(mutated(blob, dice), anchors, STRICT, now)
        except TrustError:
            continue
        assert (found.content, found.json, found.signer) == (content.content, content.json, content.signer)


def test_mutated_der_is_refused_or_says_the_same(
    forge: ModuleType, good: Callable[[str], bytes], people: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    from imagesync.lists.envelope import split

    dice = random.Random(5)
    parts = split(good("plain"))
    expected = verify(good("plain"), anchors, STRICT, now)
    part = parts.content.replace(b"\r\n", b"\n")

    for _ in range(1500):
        try:
            found = verify(forge.envelope(part, mutated(parts.signature, dice)), anchors, STRICT, now)
        except TrustError:
            continue
        assert (found.content, found.signer) == (expected.content, expected.signer)


@pytest.mark.parametrize("blob", [b"", b"\x00" * 100, b"\n\n", b"-" * 1000, "é".encode() * 50])
def test_rubbish_is_refused(anchors: Anchors, now: datetime, blob: bytes) -> None:
    with pytest.raises(BadEnvelopeError):
        verify(blob, anchors, STRICT, now)


def test_an_exception_of_a_parser_is_a_refusal(
    forge: ModuleType, good: Callable[[str], bytes], people: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    endorser = people["endorser"]
    broken = bytearray(endorser.der)
    broken[len(broken) // 2] ^= 0xFF
    content = b"{}"
    info = forge.signer_info(content, endorser)
    blob = forge.envelope(content, forge.signed_data([info], [bytes(broken[:-1])]))

    with pytest.raises(BadSignatureError, match=r"cannot be understood|RFC 5652|not in DER"):
        verify(blob, anchors, STRICT, now)


# --- the signer's key and name ---
def test_the_signer_named_by_key_identifier_must_be_there(
    forge: ModuleType, people: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    bare = people["bare"]
    content = b"{}"
    named = forge.signer_info(content, people["endorser"], forge.SignerWish(by_key_identifier=True))
    blob = forge.envelope(content, forge.signed_data([named], [bare.der]))

    with pytest.raises(BadSignatureError, match="carries 0 certificates of the signer"):
        verify(blob, anchors, STRICT, now)


@pytest.fixture
def twin(forge: ModuleType, pki: ModuleType, cas: Mapping[str, Any], people: Mapping[str, Any]) -> Any:
    """Return a certificate with the endorser's name, issuer and serial number, and another key."""
    number = people["endorser"].certificate.serial_number
    return forge.certify(f"{BASE}Endorser", pki.ec_key("twin"), forge.Wish(cas["root"], serial=number))


def test_two_certificates_with_the_same_name_and_number_are_refused(
    forge: ModuleType, people: Mapping[str, Any], twin: Any, anchors: Anchors, now: datetime
) -> None:
    endorser = people["endorser"]
    content = b"{}"
    info = forge.signer_info(content, endorser)
    blob = forge.envelope(content, forge.signed_data([info], [endorser.der, twin.der]))

    with pytest.raises(BadSignatureError, match="carries 2 certificates of the signer"):
        verify(blob, anchors, STRICT, now)


def test_the_same_certificate_twice_is_one(
    forge: ModuleType, people: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    endorser, content = people["endorser"], b"{}"
    blob = forge.envelope(content, forge.signed_data([forge.signer_info(content, endorser)], [endorser.der] * 2))

    assert verify(blob, anchors, STRICT, now).json == content


def test_a_key_that_is_restricted_to_pss_is_refused(tmp_path: Path, anchors: Anchors, now: datetime) -> None:
    key, certificate = tmp_path / "pss.key", tmp_path / "pss.crt"
    openssl("genpkey", "-algorithm", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(key), data=b"")
    request = ["req", "-x509", "-key", str(key), "-subj", "/CN=pss", "-days", "9", "-out", str(certificate)]
    openssl(*request, data=b"")

    blob = openssl("cms", "-sign", "-md", "sha256", "-signer", str(certificate), "-inkey", str(key), data=b"{}")

    with pytest.raises(BadSignatureError, match="restricted to RSASSA-PSS"):
        verify(blob, anchors, STRICT, datetime.now(UTC))


def test_revocation_is_asked_of_the_directory_not_of_the_message(
    good: Callable[[str], bytes], fixtures: Path, tmp_path: Path, now: datetime
) -> None:
    copy = shutil.copytree(fixtures / "trust" / "anchors", tmp_path / "anchors", ignore=shutil.ignore_patterns("*.r0"))

    with pytest.raises(RevocationUnknownError, match="there is no CRL"):
        verify(good("plain"), load_anchors(copy), STRICT, now)
    verify(good("plain"), load_anchors(copy), SignaturePolicy(CrlMode.IF_PRESENT), now)


def test_threads_may_share_anchors(good: Callable[[str], bytes], anchors: Anchors, now: datetime) -> None:
    blob = good("under-old")
    with ThreadPoolExecutor(4) as pool:
        payloads = list(pool.map(lambda _: verify(blob, anchors, STRICT, now), range(40)))

    assert len(set(payloads)) == 1


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (2047, r"the signer's RSA key has 2047 bits \(at least 2048 are needed\)"),
        (2048, "it was not made by the key"),
        (16384, "it was not made by the key"),
        (16385, "the signer's RSA key has 16385 bits"),
    ],
)
def test_rsa_keys_have_from_2048_to_16384_bits(
    forge: ModuleType,
    cas: Mapping[str, Any],
    people: Mapping[str, Any],
    anchors: Anchors,
    now: datetime,
    bits: int,
    text: str,
) -> None:
    root, content = cas["root"], b"{}"
    public = rsa.RSAPublicNumbers(65537, (1 << (bits - 1)) | 1).public_key()
    names = root.certificate.subject, forge.name(f"{BASE}Long")
    builder = x509.CertificateBuilder(*names, public, 7, forge.NOT_BEFORE, forge.NOT_AFTER)
    party = forge.Party(forge.sign_builder(builder, root.key), people["endorser"].key)
    message = forge.envelope(content, forge.sign(content, party, forge.SignerWish(signature=bytes(bits // 8))))

    with pytest.raises(BadSignatureError, match=text):
        verify(message, anchors, STRICT, now)


def test_a_signing_time_may_be_five_minutes_ahead(good: Callable[[str], bytes], anchors: Anchors) -> None:
    signed_at = datetime(2026, 6, 1, 10, tzinfo=UTC)

    verify(good("plain"), anchors, STRICT, signed_at - timedelta(minutes=5))
    with pytest.raises(NotYetValidError, match="it was made at 2026-06-01 10:00:00 UTC, in the future"):
        verify(good("plain"), anchors, STRICT, signed_at - timedelta(minutes=5, seconds=1))


# --- what a publisher made ---
def test_a_publisher_gets_back_what_his_certificate_signed(
    good: Callable[[str], bytes], people: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    found = made_by(good("plain"), people["endorser"].certificate, now)

    assert found == verify(good("plain"), anchors, STRICT, now).json


@pytest.mark.parametrize("another", ["carried", "twin"])
def test_what_another_certificate_signed_is_not_the_publishers(
    forge: ModuleType, people: Mapping[str, Any], twin: Any, now: datetime, another: str
) -> None:
    endorser, content = people["endorser"], b"{}"
    der = forge.signed_data([forge.signer_info(content, endorser)], [endorser.der, people["other"].der])
    certificate = twin.certificate if another == "twin" else people["other"].certificate

    with pytest.raises(BadSignatureError, match="another certificate signed it"):
        made_by(forge.envelope(content, der), certificate, now)


@pytest.mark.parametrize(
    ("content", "wish", "text"),
    [
        (b"[]", {}, "the content is not what was signed"),
        (b"{}", {"signature": b"?" * 256}, "it was not made by the key"),
    ],
)
def test_what_was_changed_is_not_the_publishers(
    forge: ModuleType, people: Mapping[str, Any], now: datetime, content: bytes, wish: dict[str, Any], text: str
) -> None:
    endorser = people["endorser"]
    message = forge.envelope(content, forge.sign(b"{}", endorser, forge.SignerWish(**wish)))

    with pytest.raises(BadSignatureError, match=text) as refusal:
        made_by(message, endorser.certificate, now)
    assert refusal.value.subject == "signature"
    assert bool(refusal.value.hint) is (content == b"[]")


# --- exceptions that a subscription makes on purpose ---
UNTIL = date(2026, 6, 2)


@pytest.fixture
def weak(forge: ModuleType, people: Mapping[str, Any]) -> Callable[..., bytes]:
    """Return a function that signs with another digest."""

    def make(label: str = "endorser", **wish: Any) -> bytes:
        der = forge.sign(b"{}", people[label], forge.SignerWish(**wish))
        message: bytes = forge.envelope(b"{}", der)
        return message

    return make


def test_sha1_is_accepted_until_a_day_with_a_warning(
    weak: Callable[..., bytes], anchors: Anchors, now: datetime
) -> None:
    policy = SignaturePolicy(sha1_until=UNTIL)

    found = verify(weak(digest="sha1"), anchors, policy, now)

    said = "it is signed with SHA-1, which can be forged: accepted until 2026-06-02 only (sha1_until)"
    assert found.warnings == (said,)
    with pytest.raises(BadSignatureError, match="SHA-1 is not accepted"):
        verify(weak(digest="sha1"), anchors, policy, now + timedelta(hours=12))


def test_the_exception_for_sha1_is_for_nothing_else(
    weak: Callable[..., bytes], anchors: Anchors, now: datetime
) -> None:
    policy = SignaturePolicy(sha1_until=UNTIL)

    assert verify(weak(), anchors, policy, now).warnings == ()
    with pytest.raises(BadSignatureError, match="MD5 is not accepted"):
        verify(weak(digest="md5"), anchors, policy, now)
    with pytest.raises(BadSignatureError, match="SHA-1 is not accepted"):
        verify(weak(digest="sha1", pss_mask="sha1"), anchors, policy, now)
    with pytest.raises(BadSignatureError, match="is for sha256"):
        verify(weak("other", digest="sha1"), anchors, policy, now)
    with pytest.raises(UntrustedSignerError, match="signed with SHA-1"):
        verify(weak("sha1"), anchors, policy, now)
    with pytest.raises(BadSignatureError, match="the content is not what was signed"):
        verify(weak(digest="sha1").replace(b"{}", b"[]"), anchors, policy, now)


@pytest.mark.parametrize("label", ["self", "under-stranger", "expired"])
def test_a_refusal_of_the_signer_says_whose_key_it_was(
    weak: Callable[..., bytes], people: Mapping[str, Any], anchors: Anchors, now: datetime, label: str
) -> None:
    with pytest.raises(UntrustedSignerError) as refused:
        verify(weak(label), anchors, STRICT, now)

    signer = refused.value.signer
    assert signer is not None
    assert (signer.sha256, signer.expects_pin) == (fingerprint(people[label]), False)
    with pytest.raises(BadSignatureError):
        verify(weak(label).replace(b"{}", b"[]"), anchors, STRICT, now)


def fingerprint(person: Any) -> str:
    return hashlib.sha256(person.der).hexdigest()


@pytest.mark.parametrize("label", ["self", "certifies", "under-stranger"])
def test_a_certificate_may_be_trusted_itself(
    weak: Callable[..., bytes], people: Mapping[str, Any], anchors: Anchors, now: datetime, label: str
) -> None:
    trusted = SignaturePolicy(trusted=frozenset({fingerprint(people[label])}))

    found = verify(weak(label), anchors, trusted, now)

    said = "the signer's certificate is trusted itself: no CA and no revocation was checked"
    assert found.signer.sha256 == fingerprint(people[label])
    assert not found.signer.expects_pin
    assert found.warnings == (said,)
    with pytest.raises(UntrustedSignerError):
        verify(weak(label), anchors, SignaturePolicy(trusted=frozenset({fingerprint(people["other"])})), now)


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("expired", "the certificate expired on 2026-05-01"),
        ("early", "valid only from"),
        ("encipher", "does not allow signatures"),
        ("proxy", "proxy certificate"),
    ],
)
def test_a_certificate_that_is_trusted_itself_must_be_fit_all_the_same(
    weak: Callable[..., bytes], people: Mapping[str, Any], anchors: Anchors, now: datetime, label: str, text: str
) -> None:
    trusted = SignaturePolicy(trusted=frozenset({fingerprint(people[label])}))

    with pytest.raises(UntrustedSignerError, match=text):
        verify(weak(label), anchors, trusted, now)


def test_trust_in_a_certificate_is_none_in_its_weak_key(
    weak: Callable[..., bytes], people: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    with pytest.raises(BadSignatureError, match="1024 bits"):
        verify(weak("weak"), anchors, SignaturePolicy(trusted=frozenset({fingerprint(people["weak"])})), now)


def test_of_a_ca_that_is_installed_and_carried_the_good_one_counts(
    forge: ModuleType, people: Mapping[str, Any], cas: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    name, good, other = "/DC=test/DC=imagesync/CN=Subordinate CA", cas["subordinate"], people["other"].certificate
    unfit = forge.certify(name, good.key, forge.Wish(cas["root"], ca=True, usage=None))
    signer, policy = people["under-subordinate"].certificate, SignaturePolicy(crl=CrlMode.OFF)
    for installed, carried in ((unfit, good), (good, unfit)):
        both = replace(anchors, subordinates=(installed.certificate,))
        for others in ([carried.certificate], [other, carried.certificate]):
            _, chain, _ = _check_trust(signer, others, both, policy, now)
            assert chain[1] == good.certificate
    both = replace(anchors, subordinates=(unfit.certificate,))
    for carried in (unfit.certificate, other):
        with pytest.raises(UntrustedSignerError):
            _check_trust(signer, [carried], both, policy, now)
