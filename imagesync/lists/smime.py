"""Verification of a signed list: from bytes to a payload that somebody trusted by the site has signed.

The steps, in order; each refuses with an error of its own kind:

1. The envelope: which bytes were signed (``envelope``, RFC 8551).
2. The signature's structure: strict DER, one signer, signed attributes, strong algorithms (``cms``, RFC 5652).
3. The content's digest equals the signed one (RFC 5652 section 5.4), and nobody signed in the future.
4. The signer's certificate is the one that is named, in a signing-certificate attribute too if there is one
   (RFC 5035 section 4), and its key made the signature (section 5.6).
5. The certificate is fit for signing lists, and a path leads to a root in the anchors directory (``path``, RFC 5280).
6. Nothing on that path is revoked (``revocation``).

The payload is returned only after all of them: nobody can go on with bytes that were not verified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from imagesync.errors import BadSignatureError, NotYetValidError, TrustError, UntrustedSignerError
from imagesync.lists import cms, envelope
from imagesync.lists.anchors import Anchors, CrlMode, serial_zero_tolerated
from imagesync.lists.names import render
from imagesync.lists.path import MIN_RSA_BITS, build_path, check_signer, check_trusted_itself
from imagesync.lists.revocation import check_revocation
from imagesync.model import Identity, SignedPayload, Signer

CLOCK_SKEW = timedelta(minutes=5)
MAX_RSA_BITS = 16384

_HASHES: dict[str, type[hashes.SHA1 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "sha1": hashes.SHA1,  # cms refuses it unless the subscription asks for it
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_RSA_ENCRYPTION = x509.ObjectIdentifier("1.2.840.113549.1.1.1")


@dataclass(frozen=True, slots=True)
class SignaturePolicy:
    """What a subscription asks of signatures.

    ``pinned`` says that the subscription pins its endorsers' DN and CA, so that host certificates may sign.
    ``sha1_until`` accepts RSA signatures with SHA-1 before that day; ``trusted`` has the SHA-256 fingerprints, in
    lower-case hexadecimal digits, of signers' certificates that need no CA.
    """

    crl: CrlMode = CrlMode.REQUIRE
    pinned: bool = False
    sha1_until: date | None = None
    trusted: frozenset[str] = frozenset()

    def allows_sha1(self, now: datetime) -> bool:
        """Return whether SHA-1 is accepted at ``now``."""
        return self.sha1_until is not None and now.date() < self.sha1_until


def verify(blob: bytes, anchors: Anchors, policy: SignaturePolicy, now: datetime) -> SignedPayload:
    """Return the verified content of a signed message, and who signed it.

    Raises:
        TrustError: The message must not be used; the class says which kind of reason. No other exception leaves this
            function, whatever the bytes are. An ``UntrustedSignerError`` says whose key made the signature.
    """
    try:
        return _verify(blob, anchors, policy, now)
    except TrustError:
        raise
    except Exception as error:
        # The parsers raise more than they document (measured: ValueError, TypeError, AttributeError, OverflowError,
        # their own families); for a verifier all of it means one thing.
        raise BadSignatureError("message", f"it cannot be understood ({type(error).__name__}: {error})") from error


def _verify(blob: bytes, anchors: Anchors, policy: SignaturePolicy, now: datetime) -> SignedPayload:
    parts = envelope.split(blob)
    message = cms.parse(parts.signature, allow_sha1=policy.allows_sha1(now))
    _check_content(parts.content, message, now)
    with serial_zero_tolerated():
        certificates = [x509.load_der_x509_certificate(der) for der in dict.fromkeys(message.certificates)]
        certificate = _find_signer(message.signer, certificates)
        _check_signature(message, certificate)
        others = [other for other in certificates if other is not certificate]
        try:
            expects_pin, chain, warnings = _check_trust(certificate, others, anchors, policy, now)
        except UntrustedSignerError as error:
            with suppress(TrustError):  # a name that no text can stand for
                error.signer = _signer(certificate, expects_pin=False)
            raise
        _check_bound(message, chain)
    return SignedPayload(
        content=parts.content,
        json=parts.json,
        signer=_signer(certificate, expects_pin=expects_pin),
        signed_at=message.signing_time,
        warnings=(*_weakness(message, policy), *warnings),
        chain=tuple(link.public_bytes(Encoding.DER) for link in chain),
    )


def _check_trust(
    signer: x509.Certificate,
    others: Sequence[x509.Certificate],
    anchors: Anchors,
    policy: SignaturePolicy,
    now: datetime,
) -> tuple[bool, tuple[x509.Certificate, ...], tuple[str, ...]]:
    """Return whether the signer's purpose expects a pin, its path, and warnings."""
    if signer.fingerprint(hashes.SHA256()).hex() in policy.trusted:
        check_trusted_itself(signer, now)
        return False, (signer,), ("the signer's certificate is trusted itself: no CA and no revocation was checked",)
    expects_pin = check_signer(signer, pinned=policy.pinned)
    chain, warnings = _check_path(signer, others, anchors, policy, now)
    return expects_pin, chain, warnings


def _check_path(
    signer: x509.Certificate,
    others: Sequence[x509.Certificate],
    anchors: Anchors,
    policy: SignaturePolicy,
    now: datetime,
) -> tuple[tuple[x509.Certificate, ...], tuple[str, ...]]:
    """Return the path and warnings of its revocation.

    A CA may be there twice, installed and carried, and only one of the two be good: the other must not hide it.
    """

    def follow(*, carried_first: bool) -> tuple[tuple[x509.Certificate, ...], tuple[str, ...]]:
        chain = build_path(signer, others, anchors, now, carried_first=carried_first)
        return chain, check_revocation(chain, anchors, policy.crl, now)

    try:
        return follow(carried_first=False)
    except TrustError:
        installed = {one.subject for one in anchors.subordinates}
        if any(other.subject in installed for other in others):
            with suppress(TrustError):
                return follow(carried_first=True)
        raise


def _weakness(message: cms.SignedMessage, policy: SignaturePolicy) -> tuple[str, ...]:
    if message.scheme.digest != "sha1":
        return ()
    return (f"it is signed with SHA-1, which can be forged: accepted until {policy.sha1_until} only (sha1_until)",)


def made_by(blob: bytes, certificate: x509.Certificate, now: datetime) -> bytes:
    """Return the JSON in a message that ``certificate`` signed. It does not say that anybody trusts that certificate.

    For publishers, who know their own; a site uses ``verify``.

    Raises:
        TrustError: It is no acceptable message, or another certificate signed it.
    """
    parts = envelope.split(blob)
    message = cms.parse(parts.signature)
    _check_content(parts.content, message, now)
    der = certificate.public_bytes(Encoding.DER)
    if der not in message.certificates or not _is_named(certificate, message.signer):
        raise _bad("another certificate signed it")
    _check_signature(message, certificate)
    return parts.json


def _bad(detail: str, hint: str = "") -> BadSignatureError:
    return BadSignatureError("signature", detail, hint)


def _check_content(content: bytes, message: cms.SignedMessage, now: datetime) -> None:
    if hashlib.new(message.scheme.digest, content).digest() != message.message_digest:
        raise _bad("the content is not what was signed", "it was changed or re-encoded on the way: tell the publisher")
    if message.signing_time is not None and message.signing_time > now + CLOCK_SKEW:
        when = f"{message.signing_time:%Y-%m-%d %H:%M:%S}"
        raise NotYetValidError("signature", f"it says that it was made at {when} UTC, in the future", "check the clock")


def _find_signer(
    named: cms.IssuerSerial | cms.KeyIdentifier, certificates: Sequence[x509.Certificate]
) -> x509.Certificate:
    """Return the one certificate that the signature names (RFC 5652 section 5.3, SignerIdentifier)."""
    found = [certificate for certificate in certificates if _is_named(certificate, named)]
    if len(found) != 1:
        raise _bad(f"it carries {len(found)} certificates of the signer that it names, where exactly one is needed")
    (only,) = found
    return only


def _is_named(certificate: x509.Certificate, named: cms.IssuerSerial | cms.KeyIdentifier) -> bool:
    if isinstance(named, cms.IssuerSerial):
        return certificate.issuer.public_bytes() == named.issuer and certificate.serial_number == named.serial
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return False
    return extension.value.digest == named.value


def _check_bound(message: cms.SignedMessage, chain: Sequence[x509.Certificate]) -> None:
    """Check that the certificates to which the signature was bound are those by which it is judged."""
    for first, *others in message.bound:
        if not _is_meant(chain[0], first):
            raise _bad("it was bound to another certificate than the one that it names (RFC 5035)")
        if not all(any(_is_meant(link, other) for link in chain) for other in others):
            raise _bad("it was bound to a certificate that is not on its path (RFC 5035)")


def _is_meant(certificate: x509.Certificate, meant: cms.CertificateId) -> bool:
    der = certificate.public_bytes(Encoding.DER)
    return hashlib.new(meant.digest, der).digest() == meant.value and (
        meant.named is None or _is_named(certificate, meant.named)
    )


def _check_signature(message: cms.SignedMessage, certificate: x509.Certificate) -> None:
    """Check the signature over the signed attributes with the key of the certificate."""
    key, scheme, digest = certificate.public_key(), message.scheme, _HASHES[message.scheme.digest]()
    try:
        match key, scheme.kind:
            case rsa.RSAPublicKey(), "rsa" | "rsa-pss":
                _check_rsa_key(certificate, key)
                pads = padding.PKCS1v15() if scheme.kind == "rsa" else padding.PSS(padding.MGF1(digest), scheme.salt)
                key.verify(message.signature, message.attributes, pads, digest)
            case ec.EllipticCurvePublicKey(), "ecdsa":
                if key.curve.name not in _CURVES:
                    raise _bad(f"the curve {key.curve.name} is not accepted (P-256, P-384 and P-521 are)")
                key.verify(message.signature, message.attributes, ec.ECDSA(digest))
            case ed25519.Ed25519PublicKey(), "ed25519":
                key.verify(message.signature, message.attributes)
            case _:
                raise _bad(f"the signature is {scheme.kind}, the signer's key is {type(key).__name__}")
    except InvalidSignature as error:
        raise _bad("it was not made by the key of the certificate that it names") from error


def _check_rsa_key(certificate: x509.Certificate, key: rsa.RSAPublicKey) -> None:
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise _bad(f"the signer's RSA key has {key.key_size} bits (at least {MIN_RSA_BITS} are needed)")
    if certificate.public_key_algorithm_oid != _RSA_ENCRYPTION:
        raise _bad("the signer's RSA key is restricted to RSASSA-PSS, which is not supported", "use a plain RSA key")


def _signer(certificate: x509.Certificate, *, expects_pin: bool) -> Signer:
    return Signer(
        identity=Identity(render(certificate.subject), render(certificate.issuer)),
        not_after=certificate.not_valid_after_utc,
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        expects_pin=expects_pin,
    )
