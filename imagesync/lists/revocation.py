"""Revocation of the certificates on a path, by the CRLs in the anchors directory (RFC 5280 section 6.3, direct CRLs).

``cryptography.x509.verification`` has no revocation; this is the part that it lacks. A CRL counts only when it is
complete, direct, current and signed by the very key that issued the certificate.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from imagesync.errors import RevocationUnknownError, RevokedSignerError
from imagesync.lists.anchors import NOT_UNDERSTOOD, Anchors, CrlMode, has_spare_bits
from imagesync.lists.names import comparable, render

_FETCH = "run fetch-crl, or have it run regularly; on a host without it, set trust.fetch_crls"
_STRONG = ("sha256", "sha384", "sha512")
_TRUE = b"\x01\x01\xff"  # in DER, as each critical extension has it


def check_revocation(
    chain: Sequence[x509.Certificate], anchors: Anchors, mode: CrlMode, now: datetime
) -> tuple[str, ...]:
    """Return warnings about the CRLs of a path, which runs from the signer to a root.

    Raises:
        RevokedSignerError: A certificate is listed in an authentic CRL, be it stale.
        RevocationUnknownError: There is no usable CRL where ``mode`` asks for one.
    """
    if mode is CrlMode.OFF:
        return ("revocation was not checked (crl: off)",)
    found: list[str] = []
    for certificate, issuer in zip(chain, [*chain[1:], chain[-1]], strict=True):
        found += _check(certificate, issuer, anchors, mode, now)
    return tuple(dict.fromkeys(found))


def _check(
    certificate: x509.Certificate, issuer: x509.Certificate, anchors: Anchors, mode: CrlMode, now: datetime
) -> list[str]:
    name, key = render(issuer.subject), comparable(issuer.subject)
    crls = anchors.crls.get(key, ())
    if not crls and key in anchors.unread:  # a file that somebody spoilt must not be as good as none
        raise RevocationUnknownError(name, f"the CRL of this CA is not usable: {anchors.unread[key]}", _FETCH)
    if not crls and mode is CrlMode.IF_PRESENT:
        return [f"there is no CRL of {name}: revocation was not checked"]
    if not crls:
        raise RevocationUnknownError(name, f"there is no CRL of this CA in {anchors.directory}", _FETCH)
    faults, warnings, fresh = [], [], False
    for crl in crls:
        fault = _authenticity(crl, issuer)
        if not fault:
            warnings += [] if _is_strong(crl) else [f"CRL of {name}: it is signed with SHA-1"]
            _refuse_listed(certificate, crl)
            fault = _staleness(crl, now)
        faults.append(fault)
        fresh = fresh or not fault
    if not fresh:
        raise RevocationUnknownError(name, f"the CRL of this CA is not usable: {faults[0]}", _FETCH)
    return warnings


def fault_of(crl: x509.CertificateRevocationList, issuer: x509.Certificate, now: datetime) -> str:
    """Return why a CRL is not one that counts for what ``issuer`` issued, or an empty string."""
    return _authenticity(crl, issuer) or _staleness(crl, now)


def _refuse_listed(certificate: x509.Certificate, crl: x509.CertificateRevocationList) -> None:
    entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
    if entry is not None:
        name = render(certificate.subject)
        when = f"{entry.revocation_date_utc:%Y-%m-%d}"
        detail = f"the certificate with serial number {certificate.serial_number:x} was revoked on {when}"
        raise RevokedSignerError(name, detail, "ask the endorser for a list that is signed with a new certificate")


def _staleness(crl: x509.CertificateRevocationList, now: datetime) -> str:
    """Return what is wrong with its dates, or an empty string."""
    if crl.next_update_utc is None:
        return "it does not say when the next one is due"
    if crl.last_update_utc > now:
        return f"it is dated {crl.last_update_utc:%Y-%m-%d %H:%M}, in the future"
    if crl.next_update_utc < now:
        return f"it is stale since {crl.next_update_utc:%Y-%m-%d %H:%M}"
    return ""


def _authenticity(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> str:
    """Return why this is no complete CRL that is signed by this very CA, or an empty string."""
    try:
        # Nothing in it is looked at before its signature: anybody may have written it.
        return _signature_fault(crl, issuer) or _scope(crl)
    except NOT_UNDERSTOOD as error:
        return f"it cannot be understood ({type(error).__name__}: {error})"


def _signature_fault(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> str:
    algorithm = crl.signature_hash_algorithm
    if algorithm is None or algorithm.name not in {"sha1", *_STRONG}:
        return f"it is signed with {algorithm.name if algorithm else 'an algorithm'} that is not accepted"
    if not _may_sign_crls(issuer):
        return "its CA may not sign CRLs"
    # By hand: is_signature_valid() answers False for SHA-1, and does not say why. Old CAs still sign CRLs so; a forged
    # one could hide a revocation only by a second preimage, and refusing them would push sites to ``crl: off``.
    if has_spare_bits(crl) or not _signed_by(crl, issuer, algorithm) or not _by_key_of(crl, issuer):
        return "its signature is not by this CA"
    return ""


def _is_strong(crl: x509.CertificateRevocationList) -> bool:
    algorithm = crl.signature_hash_algorithm
    return algorithm is not None and algorithm.name in _STRONG


def _scope(crl: x509.CertificateRevocationList) -> str:
    """Refuse what is not a complete list of all certificates of its own issuer (RFC 5280 sections 5.2.4, 5.2.5)."""
    for extension in crl.extensions:
        match extension.value:
            case x509.DeltaCRLIndicator():
                return "it is a delta CRL"
            case x509.IssuingDistributionPoint():
                return "it covers only some certificates (issuing distribution point)"
            case _ if extension.critical:
                return f"it has the critical extension {extension.oid.dotted_string}"
    return "an entry of it has a critical extension" if _has_critical_entry(crl) else ""


def _has_critical_entry(crl: x509.CertificateRevocationList) -> bool:
    """Return whether an entry must not be read without its extension (RFC 5280 section 5.3).

    Such an entry may be about another CA's certificate, or change what others mean. A count of bytes spares most CRLs
    the look at every entry, of which there can be 100,000.
    """
    if crl.tbs_certlist_bytes.count(_TRUE) <= sum(extension.critical for extension in crl.extensions):
        return False
    return any(extension.critical for entry in crl for extension in entry.extensions)


def _by_key_of(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        named = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return True  # the signature decides
    return named in {None, own}


def _may_sign_crls(issuer: x509.Certificate) -> bool:
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def _signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate, algorithm: hashes.HashAlgorithm) -> bool:
    parameters, key = crl.signature_algorithm_parameters, issuer.public_key()
    try:
        match key, parameters:
            case rsa.RSAPublicKey(), padding.PKCS1v15() | padding.PSS():
                key.verify(crl.signature, crl.tbs_certlist_bytes, parameters, algorithm)
            case ec.EllipticCurvePublicKey(), ec.ECDSA():
                key.verify(crl.signature, crl.tbs_certlist_bytes, parameters)
            case _:
                return False
    except InvalidSignature:
        return False
    return True
