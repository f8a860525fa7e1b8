"""What proves later, to anybody with OpenSSL, that a list was trusted rightly: its certificates and CRLs."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from imagesync.lists.anchors import Anchors, CrlMode, serial_zero_tolerated
from imagesync.lists.names import comparable, render
from imagesync.lists.revocation import fault_of
from imagesync.model import SignedPayload
from imagesync.run.notice import End, Matter
from imagesync.state import Evidence, EvidenceKind


def evidence(payload: SignedPayload, anchors: Anchors, mode: CrlMode, now: datetime) -> tuple[Evidence, ...]:
    """Return the certificates from the signer to the root, and the CRLs that counted for them at ``now``."""
    found = [Evidence(EvidenceKind.CERTIFICATE, der) for der in payload.chain]
    if mode is CrlMode.OFF:
        return tuple(found)
    with serial_zero_tolerated():
        chain = [x509.load_der_x509_certificate(der) for der in payload.chain]
        crls = [
            crl
            for issuer in dict.fromkeys([*chain[1:], *chain[-1:]])
            for crl in anchors.crls.get(comparable(issuer.subject), ())
            if not fault_of(crl, issuer, now)
        ]
    return (*found, *(Evidence(EvidenceKind.CRL, crl.public_bytes(Encoding.DER)) for crl in crls))


def ends(pieces: tuple[Evidence, ...]) -> tuple[End, ...]:
    """Return when each certificate ends, and for each issuer when the last of its CRLs is outdated."""
    found, due = list[End](), dict[str, datetime]()
    with serial_zero_tolerated():
        for piece in pieces:
            match piece.kind:
                case EvidenceKind.CERTIFICATE:
                    certificate = x509.load_der_x509_certificate(piece.der)
                    name = f"the certificate of {render(certificate.subject)}"
                    found.append(End(Matter.CERTIFICATE_EXPIRY, name, certificate.not_valid_after_utc))
                case EvidenceKind.CRL:
                    crl = x509.load_der_x509_crl(piece.der)
                    name, next_update = f"the CRL of {render(crl.issuer)}", crl.next_update_utc
                    if next_update is not None:
                        due[name] = max(next_update, due.get(name, next_update))
    return (*found, *(End(Matter.CRL_EXPIRY, name, at) for name, at in due.items()))
