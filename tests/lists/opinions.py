"""What others say about a message: the OpenSSL command line, and pyhanko-certvalidator about the path."""

import asyncio
import logging
import subprocess
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from asn1crypto import crl, pem, x509
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.errors import InvalidCertificateError, PathError, ValidationError

from imagesync.lists import cms, envelope

STRICT = ("-purpose", "any", "-x509_strict", "-auth_level", "2", "-crl_check_all", "-no-CAfile", "-no-CAstore")
_DIGESTS_THAT_ARE_WEAK = {"md2", "md5", "sha1"}


def openssl_accepts(message: bytes, anchors: Path, now: datetime, *more: str) -> bool:
    """Return the verdict of ``openssl cms -verify`` at its strictest, with ``more`` options."""
    at = ["-CApath", str(anchors), "-attime", str(int(now.timestamp()))]
    command = ["openssl", "cms", "-verify", *at, *STRICT, *more, "-out", "/dev/null"]
    return subprocess.run(command, input=message, capture_output=True, check=False, timeout=60).returncode == 0


class ThirdOpinion:
    """Validates paths with pyhanko-certvalidator; what it makes of a directory is read once."""

    def __init__(self, anchors: Path, now: datetime) -> None:
        # It logs the trace of each CRL issuer that it cannot validate.
        logging.getLogger("pyhanko_certvalidator").setLevel(logging.CRITICAL)
        self.now = now
        self.known = [x509.Certificate.load(_der(path)) for path in sorted(anchors.glob("*.[0-9]"))]
        self.crls = [crl.CertificateList.load(_der(path)) for path in sorted(anchors.glob("*.r[0-9]"))]

    def accepts_path(self, message: bytes) -> bool:
        """Return whether there is a valid path from the signer of a message that can be parsed."""
        parsed = cms.parse(envelope.split(message).signature)
        carried = [x509.Certificate.load(der) for der in dict.fromkeys(parsed.certificates)]
        signer = next(c for c in carried if _is_named(c, parsed.signer))
        return self._validates(signer, [c for c in carried if c is not signer])

    def _validates(self, signer: x509.Certificate, carried: list[x509.Certificate]) -> bool:
        # All of a large directory at once would take it seconds for each path.
        names = set(_line(signer, [*carried, *self.known]))
        near = [ca for ca in self.known if ca.subject.dump() in names]
        roots = [ca for ca in near if ca.self_issued and ca.ca]
        context = ValidationContext(
            trust_roots=roots,
            other_certs=[ca for ca in near if ca not in roots],
            moment=self.now,
            crls=[found for found in self.crls if found.issuer.dump() in names],
            revocation_mode="require",
            weak_hash_algos=_DIGESTS_THAT_ARE_WEAK,
            time_tolerance=timedelta(0),
        )
        try:
            asyncio.run(CertificateValidator(signer, carried, validation_context=context).async_validate_path())
        except (InvalidCertificateError, PathError, ValidationError, ValueError, AssertionError):
            return False
        return True


def _is_named(certificate: x509.Certificate, named: cms.IssuerSerial | cms.KeyIdentifier) -> bool:
    if isinstance(named, cms.KeyIdentifier):
        return certificate.key_identifier == named.value
    return certificate.serial_number == named.serial and certificate.issuer.dump() == named.issuer


def _der(path: Path) -> bytes:
    return pem.unarmor(path.read_bytes())[2]


def _line(signer: x509.Certificate, known: Iterable[x509.Certificate]) -> Iterator[bytes]:
    """Yield the names of all CAs above a certificate."""
    names, pending = set(), [signer.issuer.dump()]
    while pending:
        name = pending.pop()
        if name not in names:
            names.add(name)
            pending += [ca.issuer.dump() for ca in known if ca.subject.dump() == name]
            yield name
