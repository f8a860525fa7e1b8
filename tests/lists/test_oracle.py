"""OpenSSL at its strictest as a second opinion: never more lenient than it, and every difference has a reason."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from imagesync.errors import TrustError
from imagesync.lists.anchors import Anchors
from imagesync.lists.smime import SignaturePolicy, verify

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
MESSAGES = sorted((FIXTURES / "lists").glob("*/*.list"))

WE_ACCEPT = {
    "ed25519": "OpenSSL 3.0 cannot verify Ed25519 in CMS; RFC 8419 defines it, and the path is checked all the same",
}
WE_REFUSE = {
    # The envelope: OpenSSL's MIME parser takes what it can; what can be read in two ways is refused here.
    "comment-in-type": "a comment in the Content-Type hides parameters from some parsers",
    "content-in-latin1": "JSON is UTF-8",
    "content-of-other-type": "a signed web page is no list",
    "delimiter-prefix": "MIME parsers disagree about lines that begin like a delimiter",
    "encoded-content": "parsers that decode the part read other bytes than those that were signed",
    "encoded-message": "the same, for the whole message",
    "foreign-header-signed": "headers in the signed part that have no business there",
    "no-protocol": "the message says that its signature is OpenPGP's",
    "nul-byte": "text that ends early for programs in C",
    "opaque": "no publisher uses it, and it makes the attributes-as-content attack possible",
    "signature-not-encoded": "the header says something else than the body",
    "third-part-in-epilogue": "more than two parts",
    "two-content-types": "parsers disagree about which one counts",
    # The signature: what RFC 5652 forbids or leaves to the verifier, and weak algorithms.
    "algorithm-for-another-digest": "the two fields contradict each other",
    "algorithm-with-parameters": "RFC 8017: the parameters are NULL",
    "algorithm-with-sha1": "SHA-1",
    "attributes-as-content": "signed attributes are required; without them a signature can be moved to other content",
    "attributes-unsorted": "RFC 5652 section 5.3: signed attributes are DER",
    "content-inside": "two contents, of which one was not hashed",
    "content-type-not-data": "a list is plain data",
    "curve-key": "secp256k1 is no curve of the web or the grid",
    "long-length": "not DER",
    "many-attributes": "a bound on work",
    "md5": "MD5",
    "no-signed-attributes": "signed attributes are required",
    "not-der": "BER: parsers disagree about it",
    "pss-with-other-hash": "RFC 4055: one hash",
    "pss-with-sha1-mask": "SHA-1",
    "sha1": "SHA-1",
    "signed-content-type-not-data": "RFC 5652 section 11.1: it must be the content's type",
    "signed-in-the-future": "a clock is wrong, or somebody lies",
    "signing-time-that-does-not-exist": "no time at all",
    "signing-time-without-seconds": "RFC 5652 section 11.3: seconds are required",
    "too-many-certificates": "a bound on work",
    "trailing-bytes": "bytes that nobody signed and somebody may read",
    "two-signers": "who endorsed it must have one answer",
    # The signer.
    "signer-ambiguous": "its text reads like another name",
    "signer-ca": "a CA's key does not sign lists",
    "signer-code": "a certificate for signing code",
    "signer-encipher": "its key usage does not allow signatures",
    "signer-forbidden": ".signing_policy is the grid's, OpenSSL does not know it",
    "signer-host": "a host certificate needs a pinned identity",
    "signer-named-forbidden": ".namespaces is the grid's, OpenSSL does not know it",
    "signer-two-in-one": "its text can stand for several names",
    "signer-under-broken-policy": "a policy that is not understood must not be ignored",
    "signer-under-delta-crl": "a delta CRL does not say that a certificate is good",
}


def ours(path: Path, anchors: Anchors, now: datetime) -> bool:
    try:
        verify(path.read_bytes(), anchors, SignaturePolicy(pinned=path.parent.name == "good"), now)
    except TrustError:
        return False
    return True


def theirs(path: Path, now: datetime) -> bool:
    strict = ["-purpose", "any", "-x509_strict", "-auth_level", "2", "-crl_check_all", "-no-CAfile", "-no-CAstore"]
    anchors = ["-CApath", str(FIXTURES / "trust" / "anchors"), "-attime", str(int(now.timestamp()))]
    command = ["openssl", "cms", "-verify", "-in", str(path), *anchors, *strict, "-out", "/dev/null"]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


@pytest.fixture(scope="module")
def verdicts(anchors: Anchors, now: datetime) -> dict[str, tuple[bool, bool]]:
    with ThreadPoolExecutor(2) as pool:
        others = pool.map(lambda path: theirs(path, now), MESSAGES)
        return {path.stem: (ours(path, anchors, now), other) for path, other in zip(MESSAGES, others, strict=True)}


def test_never_more_lenient_than_openssl_at_its_strictest(verdicts: dict[str, tuple[bool, bool]]) -> None:
    lenient = {label for label, (own, other) in verdicts.items() if own and not other}

    assert lenient == set(WE_ACCEPT)


def test_each_refusal_beyond_openssl_has_a_reason(verdicts: dict[str, tuple[bool, bool]]) -> None:
    strict = {label for label, (own, other) in verdicts.items() if other and not own}

    assert strict == set(WE_REFUSE)
