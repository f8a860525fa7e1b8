"""A signed list in files, with what it was verified by, so that anybody can verify it with OpenSSL alone."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from imagesync.lists.anchors import serial_zero_tolerated
from imagesync.lists.names import render
from imagesync.plan.spec import timestamp
from imagesync.state import Evidence, EvidenceKind

MESSAGE, PATH, TRUSTED, CONTENT = "image.list", "path.pem", "trusted.pem", "content.json"
"""The files: what was received, the certificates up to the root, the root with the CRLs, and what OpenSSL writes."""


@dataclass(frozen=True, slots=True)
class Link:
    """A certificate of a path, as it is shown."""

    subject: str
    issuer: str
    serial: str
    not_after: str
    sha256: str


def path_of(pieces: Sequence[Evidence]) -> tuple[Link, ...]:
    """Return the certificates from the signer to the root."""
    return links([one.der for one in pieces if not _is_crl(one)])


def links(chain: Sequence[bytes]) -> tuple[Link, ...]:
    """Return what is shown of the certificates of a chain in DER."""
    with serial_zero_tolerated():
        return tuple(_link(x509.load_der_x509_certificate(der)) for der in chain)


def files(blob: bytes, pieces: Sequence[Evidence]) -> dict[str, bytes]:
    """Return what to write into a directory, by name; ``pieces`` must have a path."""
    *between, root = [certificate.public_bytes(Encoding.PEM) for certificate in _certificates(pieces)]
    crls = [x509.load_der_x509_crl(one.der).public_bytes(Encoding.PEM) for one in pieces if _is_crl(one)]
    return {MESSAGE: blob, PATH: b"".join(between), TRUSTED: b"".join((root, *crls))}


def command(directory: Path, pieces: Sequence[Evidence]) -> str:
    """Return the line by which a shell has OpenSSL verify the files in ``directory``, as of when they were accepted.

    Where ``trust.crl`` was not ``require`` and an authority had no CRL, nothing is asked about its certificates.
    """
    at = next(one.at for one in pieces if one.at is not None)
    words = ["openssl", "cms", "-verify", "-in", directory / MESSAGE]
    words += ["-certfile", directory / PATH] if len(_certificates(pieces)) > 1 else []
    words += ["-CAfile", directory / TRUSTED, "-no-CApath", "-no-CAstore", "-purpose", "any", "-x509_strict"]
    words += ["-auth_level", 2, *_crl_checks(pieces)]
    last = _certificates(pieces)[-1]
    words += ["-partial_chain"] if last.issuer != last.subject else []  # a certificate that is trusted itself
    words += ["-attime", int(at.timestamp()), "-out", directory / CONTENT]
    return shlex.join(map(str, words))


def _crl_checks(pieces: Sequence[Evidence]) -> list[str]:
    signer, *others = [certificate.issuer for certificate in _certificates(pieces)]
    covered = {x509.load_der_x509_crl(one.der).issuer for one in pieces if _is_crl(one)}
    if signer not in covered:
        return []
    return ["-crl_check_all"] if covered.issuperset(others) else ["-crl_check"]


def _is_crl(piece: Evidence) -> bool:
    return piece.kind is EvidenceKind.CRL


def _certificates(pieces: Sequence[Evidence]) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(one.der) for one in pieces if not _is_crl(one)]


def _link(certificate: x509.Certificate) -> Link:
    return Link(
        subject=render(certificate.subject),
        issuer=render(certificate.issuer),
        serial=f"{certificate.serial_number:x}",
        not_after=timestamp(certificate.not_valid_after_utc),
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
    )
