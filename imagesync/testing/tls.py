"""A throw-away certificate authority for TLS servers on loopback. PUBLIC."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

__all__ = ["TlsAuthority"]

# Fixed dates: nothing here depends on a clock.
_FROM, _UNTIL = datetime(2020, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC)


_FOR_CERTIFICATES = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip


class TlsAuthority:
    """A CA with its files in ``directory``, an existing one.

    Two that one client trusts need two names. ``bundle`` is the path of its certificate, for clients to trust.
    """

    def __init__(self, directory: Path, name: str = "imagesync test authority") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        # With what Python asks for from 3.13 on: key identifiers, and what a CA's key is for.
        self._key_id = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        unsigned = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_FOR_CERTIFICATES, critical=True)
            .add_extension(self._key_id, critical=False)
        )
        self.bundle = directory / "authority.pem"
        self.bundle.write_bytes(unsigned.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def server(self, *names: str, until: datetime | None = None) -> ssl.SSLContext:
        """Return a server's context with a fresh certificate for ``names``, host names or addresses.

        It is valid until 2049, or ``until`` another time.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._key_id)
        unsigned = (
            _builder(_name(names[0]), self._name, key, until)
            .add_extension(alternatives, critical=False)
            .add_extension(issuer, critical=False)
        )
        certificate = unsigned.sign(self._key, hashes.SHA256())
        file = self._directory / f"server-{certificate.serial_number:x}.pem"
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, until: datetime | None = None
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=_FROM,
        not_valid_after=until or _UNTIL,
    )
