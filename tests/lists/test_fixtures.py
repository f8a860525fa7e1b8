import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from imagesync.errors import (
    BadEnvelopeError,
    BadSignatureError,
    ExpiredListError,
    IdentityMismatchError,
    ListFormatError,
    NotYetValidError,
    RevocationUnknownError,
    RevokedSignerError,
    RollbackError,
    TrustError,
    UntrustedSignerError,
    WrongEndorserError,
)
from imagesync.lists.admit import AdmissionRules, admit
from imagesync.lists.anchors import Anchors
from imagesync.lists.hepix import parse
from imagesync.lists.smime import SignaturePolicy, verify
from imagesync.model import Accepted, Digest, Identity, ListId, TrustedList

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
GOOD = sorted((FIXTURES / "lists" / "good").glob("*.list"))
BAD = sorted((FIXTURES / "lists" / "bad").glob("*.list"))
LIST = ListId("5a6a63be-7f86-5a5c-9f3c-6c0a3d6f9c11")
BASE = "/DC=test/DC=imagesync/CN="

REFUSALS: dict[str, tuple[type[TrustError], str]] = {
    "admit-claims-another-endorser": (WrongEndorserError, "but the list names /DC=test/DC=imagesync/CN=Endorser"),
    "admit-expired": (ExpiredListError, "the list expired at 2026-06-01 12:00:00 UTC"),
    "admit-future": (NotYetValidError, "the list says that it was created at 2026-06-01 12:05:01 UTC, in the future"),
    "admit-no-vo": (IdentityMismatchError, "the list does not say which VO it is for"),
    "admit-older": (RollbackError, "version 20260520092959 is older than 20260520093000, which was accepted before"),
    "admit-other-list": (
        IdentityMismatchError,
        "the list is 76fdee70-8119-5d33-9f40-3c57e1c60df1, but 5a6a63be-7f86-5a5c-9f3c-6c0a3d6f9c11 is pinned at the first acceptance",
    ),
    "admit-other-vo": (IdentityMismatchError, "the list is for the VO vo.example.com, not vo.example.org"),
    "admit-same-version": (RollbackError, "version 20260520093000 was accepted before with other content"),
    "admit-version-without-order": (
        RollbackError,
        "version latest cannot be ordered against 20260520093000, accepted before",
    ),
    "admit-wrong-endorser": (WrongEndorserError, "which is no endorser of this subscription"),
    "algorithm-for-another-digest": (BadSignatureError, "the signature algorithm is for sha512, the digest is sha256"),
    "algorithm-for-another-key": (BadSignatureError, "the signature is ecdsa, the signer's key is RSAPublicKey"),
    "algorithm-with-parameters": (BadSignatureError, "an algorithm has parameters where none belong"),
    "algorithm-with-sha1": (
        BadSignatureError,
        "the signature algorithm 1.2.840.113549.1.1.5 is not accepted (RSA, ECDSA and Ed25519 with SHA-2 are)",
    ),
    "appdb-no-such-list": (BadEnvelopeError, "no such list: AppDB answered with a message of its own instead"),
    "attributes-as-content": (BadEnvelopeError, "the signed part contains a carriage return that ends no line"),
    "attributes-unsorted": (BadSignatureError, "the SignedData is not in DER"),
    "bare-carriage-return": (BadEnvelopeError, "the signed part contains a carriage return that ends no line"),
    "bare-der": (BadEnvelopeError, "a bare PKCS#7 structure, not an S/MIME message"),
    "bare-pem": (BadEnvelopeError, "a bare PKCS#7 structure, not an S/MIME message"),
    "boundary-in-pieces": (BadEnvelopeError, "the message has a Content-Type that cannot be read for sure"),
    "certificate-of-another": (
        BadSignatureError,
        "it carries 0 certificates of the signer that it names, where exactly one is needed",
    ),
    "comment-in-type": (BadEnvelopeError, "the message has a Content-Type that cannot be read for sure"),
    "content-in-latin1": (BadEnvelopeError, "the signed part has the character set 'iso-8859-1', not UTF-8"),
    "content-inside": (BadSignatureError, "it carries the content as well (it must be detached)"),
    "content-of-other-type": (BadEnvelopeError, "the signed part is 'text/html', not text/plain or application/json"),
    "content-type-not-data": (BadSignatureError, "the content type is 1.2.840.113549.1.7.5, not data"),
    "control-in-header": (BadEnvelopeError, "the message has control characters in its headers"),
    "corrupted-signature": (BadSignatureError, "it was not made by the key of the certificate that it names"),
    "curve-key": (BadSignatureError, "the curve secp256k1 is not accepted (P-256, P-384 and P-521 are)"),
    "delimiter-prefix": (
        BadEnvelopeError,
        "a line in it begins like a part delimiter and is none: it can be read in two ways",
    ),
    "digest-not-listed": (BadSignatureError, "the signer's digest algorithm is not among those of the message"),
    "empty": (BadEnvelopeError, "it is empty"),
    "encoded-content": (
        BadEnvelopeError,
        "the signed part has the transfer encoding 'base64'; allowed: 7bit, 8bit, binary",
    ),
    "encoded-message": (
        BadEnvelopeError,
        "the message has the transfer encoding 'base64'; allowed: 7bit, 8bit, binary",
    ),
    "foreign-header-signed": (BadEnvelopeError, "the signed part has the header 'x-evil', which does not belong there"),
    "header-without-end": (
        BadEnvelopeError,
        "the message has no header block that ends within 16384 bytes: not S/MIME, or truncated",
    ),
    "headers-not-ascii": (BadEnvelopeError, "the message has headers that are not ASCII"),
    "list-an-array": (ListFormatError, "the document: an array where an object is needed"),
    "list-byte-order-mark": (ListFormatError, "it begins with a byte order mark"),
    "list-date-out-of-range": (
        ListFormatError,
        "hv:imagelist.dc:date:expires: '9999-12-31T23:59:59-05:00' is a date that does not exist",
    ),
    "list-date-that-does-not-exist": (
        ListFormatError,
        "hv:imagelist.dc:date:created: '2026-02-30T09:30:00Z' is a date that does not exist",
    ),
    "list-date-without-zone": (
        ListFormatError,
        "hv:imagelist.dc:date:created: '2026-05-20T09:30:00' is no date like 2030-12-31T23:59:59Z, with its time zone",
    ),
    "list-deep": (ListFormatError, "it has more than 16 levels"),
    "list-duplicate-key": (ListFormatError, "hv:imagelist.hv:images[1].hv:image.hv:version occurs twice"),
    "list-endorser-without-certificate": (
        ListFormatError,
        "hv:imagelist.hv:endorser.hv:x509: null or nothing where an object is needed",
    ),
    "list-endorser-without-name": (
        ListFormatError,
        "hv:imagelist.hv:endorser.hv:x509.hv:dn: null or nothing where a distinguished name is needed",
    ),
    "list-huge-number": (
        ListFormatError,
        "hv:imagelist.hv:images[0].hv:image.hv:ram_minimum is a number of over 20 digits",
    ),
    "list-identifier-a-number": (ListFormatError, "hv:imagelist.dc:identifier: a number where a string is needed"),
    "list-identifier-a-path": (
        ListFormatError,
        "hv:imagelist.dc:identifier: '../../etc' is no identifier (letters, digits, .:+@_-)",
    ),
    "list-identifier-empty": (ListFormatError, "hv:imagelist.dc:identifier: it is empty"),
    "list-imagelist-null": (ListFormatError, "hv:imagelist: an array where an object is needed"),
    "list-images-an-object": (ListFormatError, "hv:imagelist.hv:images: an object where an array is needed"),
    "list-infinite": (ListFormatError, "hv:imagelist.hv:images[0].hv:image.hv:ram_minimum is too large a number"),
    "list-json-and-more": (ListFormatError, "it is not JSON: Extra data in line 92, column 2"),
    "list-lone-surrogate": (
        ListFormatError,
        "hv:imagelist.dc:title has a character that is none (a lone surrogate or NUL)",
    ),
    "list-nan": (ListFormatError, "hv:imagelist.hv:images[0].hv:image.hv:ram_minimum is NaN, which is no JSON"),
    "list-no-endorser": (ListFormatError, "hv:imagelist.hv:endorser: null or nothing where an object is needed"),
    "list-no-expiry": (ListFormatError, "hv:imagelist.dc:date:expires: null or nothing where a string is needed"),
    "list-no-identifier": (ListFormatError, "hv:imagelist.dc:identifier: null or nothing where a string is needed"),
    "list-no-imagelist": (ListFormatError, "it has no 'hv:imagelist': signed JSON, but no HEPiX image list"),
    "list-no-version": (ListFormatError, "hv:imagelist.hv:version: null or nothing where a string is needed"),
    "list-not-json": (ListFormatError, "it is not JSON: Expecting value in line 1, column 1"),
    "list-not-utf8": (ListFormatError, "it is not UTF-8 (byte 98)"),
    "list-nul-escape": (
        ListFormatError,
        "hv:imagelist.dc:title has a character that is none (a lone surrogate or NUL)",
    ),
    "list-surrogate-in-key": (
        ListFormatError,
        "hv:imagelist has a key with a character that is none (a lone surrogate or NUL)",
    ),
    "list-title-an-array": (ListFormatError, "hv:imagelist.dc:title: an array where a string is needed"),
    "list-twin-images": (
        ListFormatError,
        "hv:imagelist.hv:images: two entries have the identifier 3c1b1c1e-0000-5000-8000-000000000001",
    ),
    "list-twin-of-a-broken-image": (
        ListFormatError,
        "hv:imagelist.hv:images: two entries have the identifier 3c1b1c1e-0000-5000-8000-000000000001",
    ),
    "list-very-deep": (ListFormatError, "it has more than 16 levels"),
    "list-vo-a-boolean": (ListFormatError, "hv:imagelist.ad:vo: a boolean where a string is needed"),
    "long-length": (BadSignatureError, "the signature is not in DER"),
    "many-attributes": (BadSignatureError, "it has more than 32 signed attributes"),
    "md5": (BadSignatureError, "the digest algorithm MD5 is not accepted (SHA-256, SHA-384 and SHA-512 are)"),
    "message-digest-with-two-values": (
        BadSignatureError,
        "the signed attribute 1.2.840.113549.1.9.4 has 2 values where one is needed",
    ),
    "mixed": (BadEnvelopeError, "the message is 'multipart/mixed', not multipart/signed"),
    "names-a-certificate-with-another-key": (
        BadSignatureError,
        "it was not made by the key of the certificate that it names",
    ),
    "names-another-certificate": (BadSignatureError, "the signature is rsa, the signer's key is ECPublicKey"),
    "no-boundary": (BadEnvelopeError, "its boundary parameter is missing or not of the form that MIME allows"),
    "no-certificate": (BadSignatureError, "it carries no certificate of the signer"),
    "no-content-type-header": (BadEnvelopeError, "the message has no Content-Type header"),
    "no-content-type": (BadSignatureError, "the signed attribute 1.2.840.113549.1.9.3 is missing"),
    "no-headers": (BadEnvelopeError, "the message has a line that is no header: 'hello'"),
    "no-message-digest": (BadSignatureError, "the signed attribute 1.2.840.113549.1.9.4 is missing"),
    "no-protocol": (BadEnvelopeError, "its protocol parameter is not application/pkcs7-signature"),
    "no-signed-attributes": (BadSignatureError, "it has no signed attributes"),
    "no-signer": (BadSignatureError, "it has 0 signers where exactly one is needed"),
    "not-cms": (BadSignatureError, "it is no SignedData but 1.2.840.113549.1.7.1"),
    "not-der": (BadSignatureError, "the signature is not in DER"),
    "nul-byte": (BadEnvelopeError, "the signed part contains a NUL byte"),
    "one-part": (BadEnvelopeError, "it has not exactly two parts and one closing delimiter"),
    "opaque": (BadEnvelopeError, "an opaque S/MIME message (the list is inside the signature)"),
    "plain-text": (BadEnvelopeError, "the message is 'text/plain', not multipart/signed"),
    "pss-with-other-hash": (BadSignatureError, "RSASSA-PSS uses another hash than the digest"),
    "pss-with-sha1-mask": (
        BadSignatureError,
        "the MGF1 hash algorithm SHA-1 is not accepted (SHA-256, SHA-384 and SHA-512 are)",
    ),
    "pss-without-parameters": (BadSignatureError, "RSASSA-PSS has no parameters"),
    "sha1": (BadSignatureError, "the digest algorithm SHA-1 is not accepted (SHA-256, SHA-384 and SHA-512 are)"),
    "signature-cut": (BadEnvelopeError, "is not base64"),
    "signature-not-encoded": (BadEnvelopeError, "the signature part has the transfer encoding '7bit'; allowed: base64"),
    "signature-of-other-type": (
        BadEnvelopeError,
        "the second part is 'application/octet-stream', not application/pkcs7-signature",
    ),
    "signature-with-rubbish": (BadEnvelopeError, "the signature part contains characters that are not base64"),
    "signed-content-type-not-data": (BadSignatureError, "the signed content type is not data"),
    "signed-in-the-future": (NotYetValidError, "it says that it was made at 2026-06-02 12:00:00 UTC, in the future"),
    "signer-ambiguous": (
        UntrustedSignerError,
        "the value of O in its name reads like a name: test/DC=imagesync/CN=Endorser",
    ),
    "signer-bare": (UntrustedSignerError, "it has no authority key identifier (RFC 5280 section 4.2.1.1)"),
    "signer-below-endorser": (
        UntrustedSignerError,
        "no valid path: validation failed: candidates exhausted: basicConstraints.cA must be asserted in a CA certificate",
    ),
    "signer-ca": (UntrustedSignerError, "it is the certificate of a CA, not of an endorser"),
    "signer-certifies": (UntrustedSignerError, "its key usage allows signing certificates, which only a CA may"),
    "signer-code": (UntrustedSignerError, "its extended key usage has no purpose that signs messages"),
    "signer-critical": (
        UntrustedSignerError,
        "it has the critical extension 1.3.6.1.4.1.99999.1, which is not supported",
    ),
    "signer-early": (UntrustedSignerError, "the certificate is valid only from 2026-07-01 00:00 UTC"),
    "signer-encipher": (UntrustedSignerError, "its key usage does not allow signatures"),
    "signer-expired": (UntrustedSignerError, "the certificate expired on 2026-05-01 00:00 UTC"),
    "signer-forbidden": (
        UntrustedSignerError,
        "CN=CA with a signing policy may not certify this name (d90bd9f3.signing_policy)",
    ),
    "signer-host": (UntrustedSignerError, "it is a host certificate"),
    "signer-named-forbidden": (
        UntrustedSignerError,
        "CN=CA with namespaces may not certify this name (a4ec9736.namespaces)",
    ),
    "signer-nameless": (UntrustedSignerError, "it has an empty name"),
    "signer-proxy": (
        UntrustedSignerError,
        "it is a proxy certificate (RFC 3820); lists are signed with the certificate itself",
    ),
    "signer-revoked": (RevokedSignerError, "was revoked on 2026-02-03"),
    "signer-self": (UntrustedSignerError, "it is self-signed and not in"),
    "signer-sha1": (UntrustedSignerError, "the certificate is signed with SHA-1, which is too weak"),
    "signer-two-in-one": (UntrustedSignerError, "its name has several attributes in one RDN (CN+O)"),
    "signer-under-bare": (
        UntrustedSignerError,
        "the CA's certificate has no subject key identifier (RFC 5280 section 4.2.1.2)",
    ),
    "signer-under-below-short": (
        UntrustedSignerError,
        "no valid path: validation failed: candidates exhausted: path length constraint violated",
    ),
    "signer-under-broken-policy": (UntrustedSignerError, "CN=CA with a broken policy is not used: 95c1e6a7.namespaces"),
    "signer-under-constrained": (
        UntrustedSignerError,
        "the CA's certificate has name constraints, which are not supported",
    ),
    "signer-under-delta-crl": (RevocationUnknownError, "the CRL of this CA is not usable: it is a delta CRL"),
    "signer-under-early-crl": (
        RevocationUnknownError,
        "the CRL of this CA is not usable: it is dated 2026-07-01 00:00, in the future",
    ),
    "signer-under-expired": (UntrustedSignerError, "the certificate expired on 2020-01-01 00:00 UTC"),
    "signer-under-forged-crl": (
        RevocationUnknownError,
        "the CRL of this CA is not usable: its signature is not by this CA",
    ),
    "signer-under-impostor-alone": (UntrustedSignerError, "its signature is not by the CA"),
    "signer-under-impostor": (UntrustedSignerError, "it is self-signed and not in"),
    "signer-under-no-crl": (RevocationUnknownError, "there is no CRL of this CA in"),
    "signer-under-no-usage": (UntrustedSignerError, "it is no certificate of a CA: its key usage does not say so"),
    "signer-under-partial-crl": (
        RevocationUnknownError,
        "the CRL of this CA is not usable: it covers only some certificates (issuing distribution point)",
    ),
    "signer-under-stale-crl": (
        RevocationUnknownError,
        "the CRL of this CA is not usable: it is stale since 2026-05-01 00:00",
    ),
    "signer-under-stranger": (UntrustedSignerError, "it is self-signed and not in"),
    "signer-under-weak-subordinate": (UntrustedSignerError, "the certificate is signed with SHA-1, which is too weak"),
    "signing-time-that-does-not-exist": (BadSignatureError, "the signing time '20261301100000Z' does not exist"),
    "signing-time-without-seconds": (BadSignatureError, "the signing time '2606011000Z' is not in UTC with seconds"),
    "tampered": (BadSignatureError, "the content is not what was signed"),
    "third-part-in-epilogue": (BadEnvelopeError, "it has more than two parts"),
    "three-parts": (BadEnvelopeError, "it has more than two parts"),
    "too-many-certificates": (BadSignatureError, "it carries more than 20 certificates"),
    "trailing-bytes": (BadSignatureError, "the signature is followed by 1 more bytes"),
    "truncated-in-content": (BadEnvelopeError, "it is truncated: the closing delimiter is missing"),
    "truncated-in-signature": (BadEnvelopeError, "it is truncated: the closing delimiter is missing"),
    "two-boundaries": (BadEnvelopeError, "the message has the Content-Type parameter boundary twice"),
    "two-content-types": (BadEnvelopeError, "the message has two Content-Type headers"),
    "two-message-digests": (BadSignatureError, "the signed attribute 1.2.840.113549.1.9.4 occurs twice"),
    "two-signers": (BadSignatureError, "it has 2 signers where exactly one is needed"),
    "unsigned-json": (BadEnvelopeError, "unsigned JSON, not a signed list"),
    "weak-key": (BadSignatureError, "the signer's RSA key has 1024 bits (at least 2048 are needed)"),
    "web-page-with-headers": (BadEnvelopeError, "a web page, not a signed list"),
    "web-page": (BadEnvelopeError, "a web page, not a signed list"),
}


def judged(path: Path, anchors: Anchors, now: datetime) -> TrustedList:
    """Take a message through every step, for a subscription that has accepted a list already."""
    content = parse(verify(path.read_bytes(), anchors, SignaturePolicy(), now))
    accepted = Accepted("vo", LIST, "20260520093000", Digest("0" * 128), now, now, now, content.signer, {})
    endorsers = (Identity(f"{BASE}Endorser", f"{BASE}Root CA"),)
    return admit(content, AdmissionRules("vo", "vo.example.org", endorsers), accepted, now)


def test_each_bad_message_has_an_expected_refusal() -> None:
    assert {path.stem for path in BAD} == set(REFUSALS)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_message_is_refused_for_its_fault(path: Path, anchors: Anchors, now: datetime) -> None:
    kind, text = REFUSALS[path.stem]

    with pytest.raises(TrustError) as refusal:
        judged(path, anchors, now)

    assert type(refusal.value) is kind
    assert text in refusal.value.detail
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_good_message_is_admitted(path: Path, anchors: Anchors, now: datetime) -> None:
    content = parse(verify(path.read_bytes(), anchors, SignaturePolicy(pinned=True), now))

    trusted = admit(content, AdmissionRules("vo", "vo.example.org", (content.signer.identity,), LIST), None, now)

    assert trusted.identifier == LIST


def test_every_kind_of_refusal_has_a_bad_message() -> None:
    kinds = {kind for kind, _ in REFUSALS.values()}
    # TrustStoreUnusableError is about the directory, not about a message.
    assert {kind.__name__ for kind in kinds} == {
        "BadEnvelopeError",
        "BadSignatureError",
        "ExpiredListError",
        "IdentityMismatchError",
        "ListFormatError",
        "NotYetValidError",
        "RevocationUnknownError",
        "RevokedSignerError",
        "RollbackError",
        "UntrustedSignerError",
        "WrongEndorserError",
    }


def test_broken_images_are_kept_apart_and_counted(anchors: Anchors, now: datetime) -> None:
    payload = verify((FIXTURES / "lists/good/broken-images.list").read_bytes(), anchors, SignaturePolicy(), now)

    content = parse(payload)

    assert [image.identifier for image in content.broken] == ["3c1b1c1e-0000-5000-8000-000000000001", None, None]
    assert len(content.images) == 1
    assert content.images[0].ram_min == 0
    assert "'plenty' is no number and is ignored" in content.warnings[0]


def test_the_generator_writes_the_same_bytes_again(tmp_path: Path) -> None:
    generator = FIXTURES / "lists" / "generate.py"
    subprocess.run([sys.executable, str(generator), str(tmp_path)], check=True, timeout=120)

    for part in ("lists/good", "lists/bad", "trust/anchors"):
        made = {path.name: path.read_bytes() for path in (tmp_path / part).iterdir()}
        kept = {path.name: path.read_bytes() for path in (FIXTURES / part).iterdir()}
        assert made == kept
