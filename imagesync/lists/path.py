"""The path from a signer's certificate to a root in the anchors directory, and what every certificate on it must be.

Building and basic validation are ``cryptography.x509.verification``'s (signatures with SHA-2 only, RSA of 2048 bits and
more, validity, basic constraints, path length, critical extensions). What it leaves open is asked here of the path that
it found, following OpenSSL's ``-x509_strict`` (RFC 5280 section 4.2.1) and the grid's rules about subjects.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, VerificationError

from imagesync.errors import UntrustedSignerError
from imagesync.lists.anchors import Anchors, has_spare_bits, is_self_signed
from imagesync.lists.filenames import file_stems
from imagesync.lists.names import render

MAX_DEPTH = 8
MIN_RSA_BITS = 2048

_PROXY = (x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14"), x509.ObjectIdentifier("1.3.6.1.4.1.3536.1.222"))
_NO_CONSTRAINTS = "the CA's certificate has name constraints, which are not supported"
_UNDERSTOOD = (
    x509.AuthorityInformationAccess,
    x509.AuthorityKeyIdentifier,
    x509.BasicConstraints,
    x509.ExtendedKeyUsage,
    x509.KeyUsage,
    x509.NameConstraints,
    x509.SubjectAlternativeName,
    x509.SubjectKeyIdentifier,
)
"""The extensions that may be critical. The library knows no certificate policies."""

_MAIL = {ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_HOST = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def build_path(
    signer: x509.Certificate,
    others: Sequence[x509.Certificate],
    anchors: Anchors,
    now: datetime,
    *,
    carried_first: bool = False,
) -> tuple[x509.Certificate, ...]:
    """Return the certificates from the signer to a root of the anchors directory, both included.

    The library takes the first path that it accepts. Of two certificates of one CA, one installed and one carried by
    the message as one of ``others``, the installed one is tried first unless ``carried_first``.

    Raises:
        UntrustedSignerError: There is no valid path at ``now``; the text names the certificate that breaks it.
    """
    between = [*others, *anchors.subordinates] if carried_first else [*anchors.subordinates, *others]
    authorities = ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, Criticality.CRITICAL, None)
    builder = PolicyBuilder().store(anchors.store).time(now).max_chain_depth(MAX_DEPTH)
    builder = builder.extension_policies(ca_policy=authorities, ee_policy=ExtensionPolicy.permit_all())
    try:
        chain = tuple(builder.build_client_verifier().verify(signer, between).chain)
    except VerificationError as error:
        _explain(signer, [*between, *anchors.roots], anchors, now)
        raise _untrusted(signer, f"no valid path: {error}") from error
    _check_path(chain, anchors)
    return chain


def unusable(anchors: Anchors, now: datetime) -> tuple[str, ...]:
    """Return a line for each CA of the directory under which no signer can be verified at ``now``: its name and why.

    Only what the CA's own certificate says counts; a CA below one of these is not named again.
    """
    found = []
    for authority in (*anchors.roots, *anchors.subordinates):
        try:
            if fault := _own_fault(authority, now) or _form_fault(authority, is_ca=True):
                raise _untrusted(authority, fault)
            _check_extensions(authority)
            _check_authority(authority, anchors)
        except UntrustedSignerError as error:
            found.append(f"{error.subject}: {error.detail}")
    return tuple(found)


def check_signer(signer: x509.Certificate, *, pinned: bool) -> bool:
    """Return whether the certificate's purpose is acceptable only because the subscription pins its identity.

    A signer of lists is an end entity whose key may sign, with the purpose e-mail protection or none given. Host
    certificates, as AppDB's endorser has one, sign lists only by an agreement that a pin expresses.

    Raises:
        UntrustedSignerError: The certificate is not fit for signing lists.
    """
    if any(_has(signer, oid) for oid in _PROXY):
        raise _untrusted(signer, "it is a proxy certificate (RFC 3820); lists are signed with the certificate itself")
    constraints = _get(signer, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise _untrusted(signer, "it is the certificate of a CA, not of an endorser")
    usage = _get(signer, x509.KeyUsage)
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        raise _untrusted(signer, "its key usage does not allow signatures")
    if usage is not None and usage.key_cert_sign:
        raise _untrusted(signer, "its key usage allows signing certificates, which only a CA may")
    purposes = _get(signer, x509.ExtendedKeyUsage)
    if purposes is None or _MAIL & set(purposes):
        return False
    if not _HOST & set(purposes):
        raise _untrusted(signer, "its extended key usage has no purpose that signs messages")
    if not pinned:
        raise _untrusted(signer, "it is a host certificate", "accepted only where the endorser's DN and CA are pinned")
    return True


def check_trusted_itself(signer: x509.Certificate, now: datetime) -> None:
    """Check a signer's certificate that the subscription trusts by its fingerprint, without a CA.

    It may be that of a CA, as with those who sign with their only, self-signed certificate.

    Raises:
        UntrustedSignerError: It is not valid at ``now``, is a proxy, or its key may not sign.
    """
    if fault := _own_fault(signer, now):
        raise _untrusted(signer, fault)
    if any(_has(signer, oid) for oid in _PROXY):
        raise _untrusted(signer, "it is a proxy certificate (RFC 3820); lists are signed with the certificate itself")
    usage = _get(signer, x509.KeyUsage)
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        raise _untrusted(signer, "its key usage does not allow signatures")


def _untrusted(certificate: x509.Certificate, detail: str, hint: str = "") -> UntrustedSignerError:
    return UntrustedSignerError(render(certificate.subject), detail, hint)


def _get(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _has(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> bool:
    return any(extension.oid == oid for extension in certificate.extensions)


# --- what the library leaves open ------------------------------------------------------------------------------------
def _check_path(chain: Sequence[x509.Certificate], anchors: Anchors) -> None:
    if len(chain) < 2:
        raise _untrusted(chain[0], "it is self-signed: a signer must be certified by a CA")
    for certificate in chain:
        _check_extensions(certificate)
    for authority in chain[1:]:
        _check_authority(authority, anchors)
    for certificate, issuer in pairwise(chain):
        _check_issued(certificate, issuer)
    for place, certificate in enumerate(chain[:-1], start=1):
        _check_subject(certificate, chain[place:], anchors)


def _check_extensions(certificate: x509.Certificate) -> None:
    for extension in certificate.extensions:
        match extension.value:
            case x509.AuthorityKeyIdentifier() | x509.SubjectKeyIdentifier() if extension.critical:
                raise _untrusted(
                    certificate, "its key identifiers are critical (RFC 5280 section 4.2.1.1: they are not)"
                )
            case x509.SubjectAlternativeName() as names if not list(names):
                raise _untrusted(certificate, "its subject alternative name is empty (RFC 5280 section 4.2.1.6)")


def _check_authority(authority: x509.Certificate, anchors: Anchors) -> None:
    name = render(authority.subject)
    if name in anchors.skipped:  # also where the message carries its certificate
        raise _untrusted(authority, f"this CA is not used: {anchors.skipped[name]}", "repair that file")
    if spoilt := anchors.nameless.keys() & file_stems(authority.subject) if anchors.nameless else ():
        raise _untrusted(authority, f"this CA is not used: {anchors.nameless[min(spoilt)]}", "repair that file")
    usage = _get(authority, x509.KeyUsage)
    if usage is None or not usage.key_cert_sign:
        raise _untrusted(authority, "it is no certificate of a CA: its key usage does not say so")
    if _get(authority, x509.SubjectKeyIdentifier) is None:
        raise _untrusted(authority, "the CA's certificate has no subject key identifier (RFC 5280 section 4.2.1.2)")
    if _get(authority, x509.NameConstraints) is not None:
        # The library ignores or refuses directoryName constraints depending on their being critical; no CA of the
        # IGTF has any name constraints, so refusing them all is the safe and simple reading.
        raise _untrusted(authority, _NO_CONSTRAINTS)
    purposes = _get(authority, x509.ExtendedKeyUsage)
    if purposes is not None and not (_MAIL | _HOST) & set(purposes):
        raise _untrusted(authority, "the CA's extended key usage has no purpose that signs messages")


def _check_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    identifier = _get(certificate, x509.AuthorityKeyIdentifier)
    if identifier is None or identifier.key_identifier is None:
        raise _untrusted(certificate, "it has no authority key identifier (RFC 5280 section 4.2.1.1)")
    if not _identifies(identifier, issuer):
        raise _untrusted(certificate, "its authority key identifier is not that of its CA (RFC 5280 section 4.2.1.1)")
    if any(_has(certificate, oid) for oid in _PROXY):
        raise _untrusted(certificate, "it is a proxy certificate (RFC 3820)")
    if has_spare_bits(certificate):
        raise _untrusted(certificate, "its signature is not a whole number of octets")


def _check_subject(certificate: x509.Certificate, above: Sequence[x509.Certificate], anchors: Anchors) -> None:
    """Check the name by the rules about its CA, which are those of the CA itself or else of the next one above it."""
    issuer, subject = render(above[0].subject), render(certificate.subject)
    files = (anchors.rules.get(render(authority.subject), {}) for authority in above)
    for rules in next((file[issuer] for file in files if issuer in file), ()):
        if not rules.permit(subject):
            raise _untrusted(certificate, f"its CA {issuer} may not certify this name ({rules.file})")


def _identifies(identifier: x509.AuthorityKeyIdentifier, issuer: x509.Certificate) -> bool:
    """Return whether an authority key identifier means this very certificate, in each form that it has."""
    own = _get(issuer, x509.SubjectKeyIdentifier)
    names = [name.value for name in identifier.authority_cert_issuer or () if isinstance(name, x509.DirectoryName)]
    return (
        own is not None
        and identifier.key_identifier == own.digest
        and identifier.authority_cert_serial_number in {None, issuer.serial_number}
        and all(name == issuer.issuer for name in names)
    )


# --- why there is no path --------------------------------------------------------------------------------------------
def _explain(signer: x509.Certificate, known: Sequence[x509.Certificate], anchors: Anchors, now: datetime) -> None:
    """Follow the issuers by name and raise the first fault that explains why there is no path, if one is found."""
    current = signer
    for _ in range(MAX_DEPTH):
        if fault := _own_fault(current, now) or _form_fault(current, is_ca=current is not signer):
            raise _untrusted(current, fault)
        if current in anchors.roots:
            return
        current = _issuer(current, known, anchors)


def _issuer(certificate: x509.Certificate, known: Sequence[x509.Certificate], anchors: Anchors) -> x509.Certificate:
    if is_self_signed(certificate):
        raise _untrusted(certificate, f"it is self-signed and not in {anchors.directory}")
    named = [other for other in known if other.subject == certificate.issuer]
    if not named:
        raise _untrusted(certificate, *_unknown_issuer(render(certificate.issuer), anchors))
    for other in named:
        if _issued(certificate, other):
            return other
    raise _untrusted(certificate, f"its signature is not by the CA {render(certificate.issuer)} that is known here")


def _own_fault(certificate: x509.Certificate, now: datetime) -> str:
    now = now.replace(microsecond=0)  # the dates of certificates have whole seconds, and the last one counts
    if now > certificate.not_valid_after_utc:
        return f"the certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if now < certificate.not_valid_before_utc:
        return f"the certificate is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    algorithm = certificate.signature_hash_algorithm
    if algorithm is not None and algorithm.name in {"md5", "sha1"} and certificate.subject != certificate.issuer:
        return f"the certificate is signed with {algorithm.name.upper().replace('SHA1', 'SHA-1')}, which is too weak"
    return _key_fault(certificate)


def _key_fault(certificate: x509.Certificate) -> str:
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return "its key is of a kind that is not supported"
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        return f"its RSA key has {key.key_size} bits (at least {MIN_RSA_BITS} are needed)"
    return ""


def _form_fault(certificate: x509.Certificate, *, is_ca: bool) -> str:
    """Return why the library builds no path with a certificate, as far as its extensions say it."""
    for extension in certificate.extensions:
        if extension.critical and not isinstance(extension.value, _UNDERSTOOD):
            return f"it has the critical extension {extension.oid.dotted_string}, which is not supported"
        if is_ca and isinstance(extension.value, x509.NameConstraints):
            return _NO_CONSTRAINTS
        if is_ca and isinstance(extension.value, x509.BasicConstraints) and not extension.critical:
            return "its basic constraints are not critical (RFC 5280 section 4.2.1.9)"
    return ""


def _unknown_issuer(issuer: str, anchors: Anchors) -> tuple[str, str]:
    if issuer in anchors.skipped:
        return f"its CA {issuer} is not used: {anchors.skipped[issuer]}", "repair that file"
    return f"its CA {issuer} is not in {anchors.directory}", "install that CA's package if you trust it"


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
