"""A throw-away public key infrastructure for tests and demonstrations. PUBLIC.

It makes certificate authorities, certificates of endorsers (good and bad ones), revocation lists, and writes them as
an IGTF directory, the way ``/etc/grid-security/certificates`` looks::

    root = Authority("/DC=org/DC=example/CN=Example CA", now)
    endorser = root.issue("/DC=org/DC=example/O=Robots/CN=Robot - images", ROBOT)
    write_anchors(tmp_path / "certificates", [root])
    files = write_identity(endorser, tmp_path)          # files.certificate, files.key, files.chain

    message = seal(b"{...}", endorser, now)             # imagesync.lists.seal
    root.revoke(endorser.certificate)
    write_anchors(tmp_path / "certificates", [root])    # now its CRL names the endorser

Nothing here is a secret and nothing of it is fit for anything but tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from imagesync.lists.filenames import subject_hash
from imagesync.lists.seal import SigningIdentity

AuthorityKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
SubjectKey = AuthorityKey | ed25519.Ed25519PrivateKey

_TYPES = {
    "DC": NameOID.DOMAIN_COMPONENT,
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CN": NameOID.COMMON_NAME,
    "UID": NameOID.USER_ID,
    "emailAddress": NameOID.EMAIL_ADDRESS,
}


@dataclass(frozen=True, slots=True)
class Profile:
    """What a certificate allows. ``None`` leaves an extension out.

    ``usage`` names the bits of the key usage, ``purposes`` the extended key usages. The validity is relative to the
    authority's ``now``. ``serial`` is random if ``None``.
    """

    usage: tuple[str, ...] | None = ("digital_signature", "key_encipherment")
    purposes: tuple[ObjectIdentifier, ...] | None = None
    dns: tuple[str, ...] = ()
    ca: bool = False
    begins: timedelta = timedelta(days=-1)
    ends: timedelta = timedelta(days=395)
    serial: int | None = None


_CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
_SERVER = ExtendedKeyUsageOID.SERVER_AUTH
_EMAIL = ExtendedKeyUsageOID.EMAIL_PROTECTION

ROBOT = Profile(purposes=(_CLIENT, _EMAIL))
"""A robot or personal certificate: fit for S/MIME."""
HOST = Profile(purposes=(_SERVER, _CLIENT), dns=("appdb.example.org",))
"""A host certificate such as AppDB signs with: OpenSSL takes it for S/MIME only with ``-purpose any``."""
PLAIN = Profile(usage=None)
"""Neither key usage nor extended key usage: fit for everything."""
CODE_SIGNING = Profile(purposes=(ExtendedKeyUsageOID.CODE_SIGNING,))
"""A purpose that has nothing to do with lists."""
ENCIPHERMENT = Profile(usage=("key_encipherment",), purposes=(_CLIENT, _EMAIL))
"""The key may not make signatures."""
EXPIRED = replace(ROBOT, begins=timedelta(days=-400), ends=timedelta(days=-1))
"""Valid until yesterday."""
FUTURE = replace(ROBOT, begins=timedelta(days=1))
"""Valid from tomorrow."""
AUTHORITY = Profile(usage=("key_cert_sign", "crl_sign"), ca=True, begins=timedelta(days=-30), ends=timedelta(days=3650))
"""A certificate authority."""


@dataclass(frozen=True, slots=True)
class IdentityFiles:
    """Where an identity was written. ``chain`` is there if the identity has one."""

    certificate: Path
    key: Path
    chain: Path | None


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return a new RSA key."""
    return rsa.generate_private_key(65537, bits)


@dataclass(slots=True)
class Authority:
    """A certificate authority, self-signed or (with ``parent``) an intermediate one.

    ``subject`` is a DN in slash form or an ``x509.Name``. Keys are RSA of 2048 bits unless given. ``revoked`` maps
    serial numbers to dates. ``lifetime`` is that of its CRLs.
    """

    subject: str | x509.Name
    now: datetime
    parent: Authority | None = None
    profile: Profile = AUTHORITY
    key: AuthorityKey = field(default_factory=rsa_key)
    digest: hashes.SHA256 | hashes.SHA384 | hashes.SHA512 = field(default_factory=hashes.SHA256)
    lifetime: timedelta = timedelta(days=30)
    revoked: dict[int, datetime] = field(default_factory=dict)
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        """Make the authority's own certificate."""
        self.certificate = _certificate(parse_name(self.subject), self.key, self.profile, self.parent or self)

    @property
    def name(self) -> x509.Name:
        """Return the subject."""
        return parse_name(self.subject)

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """Return the certificates from this authority up to, not including, the self-signed one."""
        return (self.certificate, *self.parent.chain) if self.parent else ()

    def issue(
        self, subject: str | x509.Name, profile: Profile = ROBOT, *, key: AuthorityKey | None = None
    ) -> SigningIdentity:
        """Return a new identity signed by this authority, with the chain that a verifier needs."""
        own_key = key or rsa_key()
        return SigningIdentity(_certificate(parse_name(subject), own_key, profile, self), own_key, self.chain)

    def certify(self, subject: str | x509.Name, key: SubjectKey, profile: Profile = ROBOT) -> x509.Certificate:
        """Return a certificate for a key of any kind, also one that must not sign lists."""
        return _certificate(parse_name(subject), key, profile, self)

    def revoke(self, certificate: x509.Certificate) -> None:
        """Name ``certificate`` on the revocation lists made from now on."""
        self.revoked[certificate.serial_number] = self.now - timedelta(hours=1)

    def crl(self, *, age: timedelta = timedelta(hours=1)) -> x509.CertificateRevocationList:
        """Return a revocation list issued ``age`` ago; with an age above ``lifetime`` it is stale."""
        issued = self.now - age
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(issued)
            .next_update(issued + self.lifetime)
            .add_extension(x509.CRLNumber(int(issued.timestamp())), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        for serial, date in self.revoked.items():
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(date).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.key, self.digest)


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """Return a new ECDSA key, on P-256 unless told otherwise: much quicker to make than an RSA key."""
    return ec.generate_private_key(curve or ec.SECP256R1())


def parse_name(text: str | x509.Name) -> x509.Name:
    """Return the name of a DN in slash form; a value may hold a slash if no known type and ``=`` follow it."""
    if isinstance(text, x509.Name):
        return text
    parts = re.split(rf"/({'|'.join(_TYPES)})=", text)
    if parts[0]:
        raise ValueError(f"no DN in slash form: {text}")
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return x509.Name([x509.NameAttribute(_TYPES[kind], value) for kind, value in pairs])


def write_anchors(
    directory: Path, authorities: Iterable[Authority], *, crls: bool = True, crl_age: timedelta = timedelta(hours=1)
) -> Path:
    """Write the authorities into ``directory`` as ``<hash>.0`` and, with ``crls``, ``<hash>.r0``; return it.

    Authorities with one name get ``.1``, ``.2`` and so on. Files of an earlier call are replaced.
    """
    directory.mkdir(parents=True, exist_ok=True)
    seen: dict[str, int] = {}
    for authority in authorities:
        digest = subject_hash(authority.certificate.subject)
        number = seen[digest] = seen.get(digest, -1) + 1
        (directory / f"{digest}.{number}").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
        crl = directory / f"{digest}.r{number}"
        crl.unlink(missing_ok=True)
        if crls:
            crl.write_bytes(authority.crl(age=crl_age).public_bytes(Encoding.PEM))
    return directory


def write_signing_policy(directory: Path, authority: Authority, dn: str, subjects: Sequence[str]) -> Path:
    """Write the Globus EACL that lets ``authority``, called ``dn``, sign only ``subjects`` (``*`` is a wildcard)."""
    path = directory / f"{subject_hash(authority.certificate.subject)}.signing_policy"
    allowed = " ".join(f'"{subject}"' for subject in subjects)
    path.write_text(
        f"access_id_CA      X509         '{dn}'\n"
        "pos_rights        globus        CA:sign\n"
        f"cond_subjects     globus     '{allowed}'\n",
        encoding="utf-8",
    )
    return path


def write_namespaces(directory: Path, authority: Authority, dn: str, subjects: Sequence[str]) -> Path:
    """Write the EUGridPMA namespaces file that permits ``authority``, called ``dn``, these regular expressions."""
    path = directory / f"{subject_hash(authority.certificate.subject)}.namespaces"
    lines = [f'TO Issuer "{dn}" \\\n  PERMIT Subject "{subject}"\n' for subject in subjects]
    path.write_text("#NAMESPACES-VERSION: 1.0\n" + "".join(lines), encoding="utf-8")
    return path


def write_identity(
    identity: SigningIdentity, directory: Path, name: str = "endorser", *, passphrase: str | None = None
) -> IdentityFiles:
    """Write certificate, key (encrypted if there is a ``passphrase``) and chain as PEM files called after ``name``."""
    directory.mkdir(parents=True, exist_ok=True)
    certificate, key = directory / f"{name}.crt.pem", directory / f"{name}.key.pem"
    certificate.write_bytes(identity.certificate.public_bytes(Encoding.PEM))
    write_key(key, identity.key, passphrase)
    chain = directory / f"{name}.chain.pem" if identity.chain else None
    if chain:
        chain.write_bytes(b"".join(link.public_bytes(Encoding.PEM) for link in identity.chain))
    return IdentityFiles(certificate, key, chain)


def write_key(path: Path, key: SubjectKey, passphrase: str | None = None) -> None:
    """Write a private key as PEM that only its owner can read, encrypted if there is a ``passphrase``."""
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        encryption = BestAvailableEncryption(passphrase.encode("utf-8"))
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


def _certificate(name: x509.Name, key: SubjectKey, profile: Profile, issuer: Authority) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number() if profile.serial is None else profile.serial)
        .not_valid_before(issuer.now + profile.begins)
        .not_valid_after(issuer.now + profile.ends)
    )
    for extension, critical in _extensions(key, profile, issuer):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer.key, issuer.digest)


def _extensions(key: SubjectKey, profile: Profile, issuer: Authority) -> Iterable[tuple[x509.ExtensionType, bool]]:
    yield x509.BasicConstraints(ca=profile.ca, path_length=None), True
    yield x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False
    yield x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False
    if profile.usage is not None:
        yield _key_usage(profile.usage), True
    if profile.purposes is not None:
        yield x509.ExtendedKeyUsage(profile.purposes), False
    if profile.dns:
        yield x509.SubjectAlternativeName([x509.DNSName(name) for name in profile.dns]), False


def _key_usage(bits: tuple[str, ...]) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature="digital_signature" in bits,
        content_commitment="content_commitment" in bits,
        key_encipherment="key_encipherment" in bits,
        data_encipherment="data_encipherment" in bits,
        key_agreement="key_agreement" in bits,
        key_cert_sign="key_cert_sign" in bits,
        crl_sign="crl_sign" in bits,
        encipher_only="encipher_only" in bits,
        decipher_only="decipher_only" in bits,
    )
