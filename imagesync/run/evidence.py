"""What proves later, to anybody with OpenSSL, that a list was trusted rightly: its certificates and CRLs."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from imagesync.lists.anchors import Anchors, serial_zero_tolerated
from imagesync.model import SignedPayload
from imagesync.state import Evidence, EvidenceKind


def evidence(payload: SignedPayload, anchors: Anchors) -> tuple[Evidence, ...]:
    """Return the certificates from the signer to the root, and the CRLs of each that issued one of them."""
    with serial_zero_tolerated():
        issuers = [x509.load_der_x509_certificate(der).issuer.public_bytes() for der in payload.chain]
    crls = [crl for issuer in dict.fromkeys(issuers) for crl in anchors.crls.get(issuer, ())]
    found = [Evidence(EvidenceKind.CERTIFICATE, der) for der in payload.chain]
    return (*found, *(Evidence(EvidenceKind.CRL, crl.public_bytes(Encoding.DER)) for crl in crls))
