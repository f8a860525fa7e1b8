"""Signs an image list: what a publisher does instead of calling OpenSSL by hand.

``load_identity`` reads the certificate and its key and refuses what no careful site would accept. ``sign`` completes
the list (``hv:endorser``), refuses what every site would refuse, and seals it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from imagesync.errors import ConfigError, TrustError
from imagesync.lists.anchors import NOT_UNDERSTOOD
from imagesync.lists.document import dump, problems
from imagesync.lists.names import render
from imagesync.lists.path import check_signer
from imagesync.lists.seal import SigningIdentity, SigningKey, seal
from imagesync.lists.smime import made_by

Passphrase = Callable[[], str]
"""Gives the passphrase when it is asked for; ``SecretRef.resolve`` and the like."""

_CURVES = ("secp256r1", "secp384r1", "secp521r1")


def load_identity(
    certificate: Path, key: Path, chain: Path | None = None, passphrase: Passphrase | None = None
) -> SigningIdentity:
    """Return the identity that the PEM files hold.

    ``chain`` holds intermediate CA certificates; further certificates in ``certificate`` count as such too. Roots are
    left out: a trust anchor inside a message proves nothing. ``passphrase`` is called only if the key is encrypted.

    Raises:
        ConfigError: a file cannot be read or holds something else, the passphrase is wrong, the key does not belong
            to the certificate, or the chain does not continue it.
    """
    own, *further = load_certificates(certificate)
    if chain is not None:
        further += load_certificates(chain)
    private = _supported(_load_key(key, passphrase), str(key))
    if _spki(own.public_key()) != _spki(private.public_key()):
        raise ConfigError(str(key), f"is not the key of {certificate}", "give the key that was made for it")
    links = tuple(link for link in dict.fromkeys(further) if link.subject != link.issuer)
    _require_link(own, links, str(chain or certificate))
    return SigningIdentity(own, private, tuple(link for link in links if link != own))


def sign(document: bytes, identity: SigningIdentity, now: datetime) -> bytes:
    """Return the list ``document`` (JSON) as a signed message, with ``hv:endorser`` filled from the certificate.

    A document that names its endorser already is signed as it stands, byte for byte but for the line ends.

    Raises:
        ConfigError: the certificate is not fit for signing at ``now``, the document is no complete list or is
            expired, or it names another endorser.
    """
    check_identity(identity, now)
    content = prepare(document, identity.certificate, now)
    message = seal(content, identity, now)
    try:
        made_by(message, identity.certificate, now)
    except TrustError as error:
        raise ConfigError("list", f"what was signed does not verify: {error.detail}", "please report it") from error
    return message


def prepare(document: bytes, certificate: x509.Certificate, now: datetime) -> bytes:
    """Return the list ``document`` with the names of ``certificate`` in ``hv:endorser``: what has to be signed.

    Raises:
        ConfigError: as ``sign``, but for the key.
    """
    check_certificate(certificate, now)
    content = _with_endorser(document, certificate)
    found = problems(_parse(content), now)
    if found:
        raise ConfigError("list", "; ".join(found), "make the list anew", problems=tuple(found))
    return content


def check_identity(identity: SigningIdentity, now: datetime) -> None:
    """Refuse a certificate or key with which a list would be refused everywhere.

    Raises:
        ConfigError: outside its validity, a CA, key usage or purpose not for signing, key too weak or of a kind that
            not every verifier reads.
    """
    _supported(identity.key, identity.certificate.subject.rfc4514_string())
    check_certificate(identity.certificate, now)


def check_certificate(certificate: x509.Certificate, now: datetime) -> None:
    """Refuse a certificate with which a list would be refused everywhere.

    Raises:
        ConfigError: outside its validity, a CA's or a proxy, key usage or purpose not for signing.
    """
    subject = certificate.subject.rfc4514_string()
    if now < certificate.not_valid_before_utc:
        raise ConfigError(subject, f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%SZ}")
    if now >= certificate.not_valid_after_utc:
        raise ConfigError(
            subject, f"expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%SZ}", "renew the certificate"
        )
    reason = _unfit(certificate)
    if reason:
        raise ConfigError(subject, reason, "use a personal, robot or host certificate")


def _unfit(certificate: x509.Certificate) -> str:
    """Return why a site would refuse the certificate as a signer's, or the empty string."""
    try:
        check_signer(certificate, pinned=True)
    except TrustError as error:
        return error.detail
    return ""


def _supported(key: PrivateKeyTypes, subject: str) -> SigningKey:
    hint = "use RSA of at least 2048 bits, or ECDSA on P-256, P-384 or P-521"
    match key:
        case rsa.RSAPrivateKey() if key.key_size < 2048:
            raise ConfigError(subject, f"RSA with {key.key_size} bits is too weak", hint)
        case rsa.RSAPrivateKey():
            return key
        case ec.EllipticCurvePrivateKey() if key.curve.name in _CURVES:
            return key
        case ed25519.Ed25519PrivateKey() | ed448.Ed448PrivateKey():
            raise ConfigError(subject, "Ed25519 and Ed448 signatures cannot be read by OpenSSL 3.0", hint)
        case _:
            raise ConfigError(subject, "a key of this kind cannot sign lists", hint)


def load_certificates(path: Path) -> list[x509.Certificate]:
    """Return the certificates of a PEM file.

    Raises:
        ConfigError: it cannot be read, or holds none.
    """
    try:
        found = x509.load_pem_x509_certificates(_read(path))
    except ValueError as error:
        raise ConfigError(str(path), "holds no certificate in PEM form", "it begins with -----BEGIN") from error
    try:
        return [_readable(certificate) for certificate in found]
    except (TrustError, *NOT_UNDERSTOOD) as error:
        raise ConfigError(str(path), f"holds a certificate that cannot be used: {error}", "ask your CA") from error


def _readable(certificate: x509.Certificate) -> x509.Certificate:
    """Return a certificate all of which the library can read; it reads these parts only when asked."""
    certificate.public_key()
    list(certificate.extensions)
    for name in (certificate.subject, certificate.issuer):
        render(name)
    return certificate


def _load_key(path: Path, passphrase: Passphrase | None) -> PrivateKeyTypes:
    data = _read(path)
    try:
        return load_pem_private_key(data, None)
    except TypeError:
        return _load_encrypted_key(path, data, passphrase)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(str(path), "holds no private key in PEM form", "it begins with -----BEGIN") from error


def _load_encrypted_key(path: Path, data: bytes, passphrase: Passphrase | None) -> PrivateKeyTypes:
    if passphrase is None:
        raise ConfigError(str(path), "the key is encrypted", "name a file or variable that holds its passphrase")
    try:
        return load_pem_private_key(data, passphrase().encode("utf-8"))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(str(path), "the passphrase does not open the key") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _require_link(certificate: x509.Certificate, links: tuple[x509.Certificate, ...], subject: str) -> None:
    """Refuse a chain in which nobody issued the certificate: it is somebody else's chain."""
    if links and not any(_issued(link, certificate) for link in links):
        raise ConfigError(subject, "no certificate in it issued the signer's", "give the issuing CA's chain")


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _parse(document: bytes) -> dict[str, Any]:
    """Return the JSON object.

    Raises:
        ConfigError: not JSON in UTF-8, not an object, or a key twice.
    """
    try:
        parsed = json.loads(document.decode("utf-8"), object_pairs_hook=_refuse_twice)
    except (ValueError, RecursionError) as error:
        raise ConfigError("list", f"is not usable JSON: {error}") from error
    if not isinstance(parsed, dict) or not isinstance(parsed.get("hv:imagelist"), dict):
        raise ConfigError("list", "is not a JSON object with hv:imagelist", "make it with `imagesync list make`")
    return parsed


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _with_endorser(document: bytes, certificate: x509.Certificate) -> bytes:
    """Return the document with the endorser's names in it, unchanged where they stand there already."""
    from imagesync.lists.names import normalise

    parsed = _parse(document)
    endorser = _endorser_of(parsed)
    actual = _names(certificate)
    for key, name in actual.items():
        claimed = endorser.get(key)
        if claimed and normalise(str(claimed)) != normalise(name):
            raise ConfigError(
                "list", f"{key} names {claimed}, the certificate says {name}", "leave hv:endorser empty, or sign as it"
            )
    if all(endorser.get(key) for key in actual):
        return document
    endorser.update(actual)
    return dump(parsed)


def _names(certificate: x509.Certificate) -> dict[str, str]:
    """Return what ``hv:x509`` says of the certificate.

    Raises:
        ConfigError: a name for which there is no unambiguous slash form.
    """
    from imagesync.lists.names import render

    try:
        return {"hv:dn": render(certificate.subject), "hv:ca": render(certificate.issuer)}
    except TrustError as error:
        raise ConfigError(error.subject, error.detail, "sites refuse it; ask for another certificate") from error


def _endorser_of(parsed: dict[str, Any]) -> dict[str, Any]:
    """Return the object with the endorser's names inside ``parsed``, made if it is absent.

    Raises:
        ConfigError: something else stands there.
    """
    holder: dict[str, Any] = parsed["hv:imagelist"]
    for key in ("hv:endorser", "hv:x509"):
        holder = holder.setdefault(key, {})
        if not isinstance(holder, dict):
            raise ConfigError("list", f"{key} is no object", "leave it out, it is filled from the certificate")
    return holder
