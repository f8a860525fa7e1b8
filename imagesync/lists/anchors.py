"""The trust anchors directory in IGTF layout, read once into values.

A CA is a file ``<hash>.<n>`` (either hash style, usually a link), its CRLs are ``<hash>.r<n>`` in PEM or DER, its
rules about subjects ``<hash>.namespaces`` or ``<hash>.signing_policy``. Files are read one by one: a bad one costs
that CA and is named, never the directory. Only self-signed CAs are anchors; a subordinate CA in the directory is just
a certificate to build a path with, so that everything below a root is checked, whoever delivered it. Therefore rules
count also where the certificate beside them is spoilt or gone: a message could carry it.
"""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import Store

from imagesync.errors import TrustError, TrustStoreUnusableError
from imagesync.lists.names import Comparable, comparable, render
from imagesync.lists.namespaces import SubjectRules, parse_namespaces, parse_signing_policy

MAX_FILES = 10_000
MAX_CA_BYTES = 256 * 1024
MAX_CRL_BYTES = 64 * 1024 * 1024
MAX_CRLS = 100
"""Of one file, in PEM."""

NOT_UNDERSTOOD = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises for parts of certificates and CRLs that it cannot read; it reads most of them when asked."""

_CA_FILE = re.compile(r"[0-9a-f]{8}\.[0-9]{1,3}")
_CRL_FILE = re.compile(r"[0-9a-f]{8}\.r[0-9]{1,3}")
_RULES = (".namespaces", ".signing_policy")
_PEM_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_PEM_CRL = b"-----BEGIN X509 CRL-----"
_REHASH = "put CA certificates there as <hash>.0: install an IGTF package (igtf-policy-*), or run 'openssl rehash DIR'"
_filtering = threading.RLock()


class CrlMode(StrEnum):
    """What is asked of revocation lists.

    ``require``: a fresh one for every certificate of a path. ``if-present``: where a CA has one, it must be fresh.
    ``off``: nobody looks.
    """

    REQUIRE = "require"
    IF_PRESENT = "if-present"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Anchors:
    """What a trust anchors directory holds.

    ``roots`` are trusted, ``subordinates`` only help to build paths. ``crls`` are by the CA's name, ``unread`` says
    what is wrong with a file that should have one. ``rules`` are by the canonical name of the CA whose file it is, then
    of the CA that they bind; all of them count. ``skipped`` has, by canonical name, why a CA is not used, ``nameless``,
    by the hash that its files are called, where nothing says its name; ``warnings`` has a line for each file that is
    not used.
    """

    directory: str
    roots: tuple[x509.Certificate, ...]
    subordinates: tuple[x509.Certificate, ...]
    crls: Mapping[Comparable, tuple[x509.CertificateRevocationList, ...]]
    unread: Mapping[Comparable, str]
    rules: Mapping[str, Mapping[str, tuple[SubjectRules, ...]]]
    skipped: Mapping[str, str]
    nameless: Mapping[str, str]
    warnings: tuple[str, ...]
    store: Store


@dataclass(slots=True)
class _Reading:
    """What was found so far while a directory is read."""

    cas: dict[bytes, tuple[str, x509.Certificate]] = field(default_factory=dict)
    stems: dict[str, set[Comparable]] = field(default_factory=dict)
    crls: dict[Comparable, list[x509.CertificateRevocationList]] = field(default_factory=dict)
    issuers: dict[Path, set[Comparable]] = field(default_factory=dict)
    rules: dict[str, dict[str, tuple[SubjectRules, ...]]] = field(default_factory=dict)
    ruled: set[Path] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    skipped: dict[str, str] = field(default_factory=dict)
    nameless: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    seen: dict[Path, Path] = field(default_factory=dict)


@contextmanager
def serial_zero_tolerated() -> Iterator[None]:
    """Keep the library from warning about certificates with the serial number 0.

    Ten CAs of the IGTF distribution have it. The library reads them, but warns at each access, to operators who can do
    nothing about it. The lock is there because filters of warnings belong to the process, not to a thread.
    """
    with _filtering, warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        yield


def load_anchors(directory: Path) -> Anchors:
    """Return everything usable in a trust anchors directory.

    Raises:
        TrustStoreUnusableError: The directory is missing, unreadable, or holds no usable self-signed CA certificate.
    """
    reading, paths = _Reading(), _list(directory)
    with serial_zero_tolerated():
        for path in paths:
            if _CA_FILE.fullmatch(path.name):
                _note(reading, path, _read_ca)
            elif _CRL_FILE.fullmatch(path.name):
                _note(reading, path, _read_crl)
    for path, stem in _orphans(reading, paths):
        _note(reading, path, partial(_read_orphan, stem=stem))
    return _anchors(directory, reading)


def _anchors(directory: Path, reading: _Reading) -> Anchors:
    usable = [ca for name, ca in reading.cas.values() if name not in reading.skipped]
    roots = tuple(ca for ca in usable if is_self_signed(ca))
    if not roots:
        found = reading.warnings[0] if reading.warnings else "no file is named <hash>.0"
        raise TrustStoreUnusableError(str(directory), f"it holds no usable root CA certificate ({found})", _REHASH)
    return Anchors(
        directory=str(directory),
        roots=roots,
        subordinates=tuple(ca for ca in usable if not is_self_signed(ca)),
        crls={issuer: tuple(crls) for issuer, crls in reading.crls.items()},
        unread=_unread(reading),
        rules=reading.rules,
        skipped=reading.skipped,
        nameless=reading.nameless,
        warnings=tuple(dict.fromkeys(reading.warnings)),
        store=Store(list(roots)),
    )


def _list(directory: Path) -> list[Path]:
    try:
        paths = sorted(directory.iterdir())
    except OSError as error:
        raise TrustStoreUnusableError(str(directory), f"cannot be read: {error.strerror}", _REHASH) from error
    if len(paths) > MAX_FILES:
        raise TrustStoreUnusableError(str(directory), f"more than {MAX_FILES} files", "is this the right directory?")
    return paths


def _note(reading: _Reading, path: Path, read: Callable[[_Reading, Path], None]) -> None:
    """Read one file; what is wrong with it becomes a warning."""
    try:
        read(reading, path)
    except TrustError as error:
        reading.warnings.append(f"{path.name}: {error.detail}")
    except OSError as error:
        reading.warnings.append(f"{path.name}: cannot be read: {error.strerror}")
    except NOT_UNDERSTOOD as error:
        reading.warnings.append(f"{path.name}: not understood: {error}")


def _bytes(path: Path, limit: int) -> bytes:
    if not path.is_file():
        raise TrustStoreUnusableError(path.name, "it is no regular file, or a link to nothing")
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise TrustStoreUnusableError(path.name, f"larger than {limit} bytes")
    return data


# --- certificates and their rules ------------------------------------------------------------------------------------
def _read_ca(reading: _Reading, path: Path) -> None:
    data = _bytes(path, MAX_CA_BYTES)
    is_pem = b"-----BEGIN" in data
    certificate = (x509.load_pem_x509_certificate if is_pem else x509.load_der_x509_certificate)(data)
    if not _is_ca(certificate):
        raise TrustStoreUnusableError(path.name, "the certificate is not one of a CA")
    certificate.public_key()  # which may be of a kind that nobody knows; the name of its issuer is read here too
    is_self_signed(certificate)
    name = render(certificate.subject)
    reading.stems.setdefault(path.stem, set()).add(comparable(certificate.subject))
    if data.count(_PEM_CERTIFICATE) > 1:
        reading.warnings.append(f"{path.name}: it holds several certificates, of which only the first is used")
    try:
        _keep(reading, name, _rules(path, name))
    except TrustError as error:
        reading.skipped[name] = f"{error.subject}: {error.detail}"
        reading.warnings.append(f"{path.name}: the CA {name} is not used: {error.subject}: {error.detail}")
        return
    reading.ruled |= {place.with_suffix("") for place in _places(path)}
    reading.used.add(name)
    reading.cas[certificate.fingerprint(hashes.SHA256())] = (name, certificate)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Return whether a certificate is by its own key, as its names and key identifiers say, or else its signature.

    Names alone do not say it: a CA that changes its key certifies the new one with the old one, under one name.
    """
    if certificate.subject != certificate.issuer:
        return False
    try:
        own = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        issuer = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return _is_by_its_own_key(certificate)
    return own == issuer if issuer else _is_by_its_own_key(certificate)


def _is_by_its_own_key(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, TypeError, *NOT_UNDERSTOOD):
        return False
    return True


def _keep(reading: _Reading, name: str, found: Mapping[str, SubjectRules]) -> None:
    """Add the rules of a file to those that count: two CAs of one name, or both hash styles, may each have one."""
    kept = reading.rules.setdefault(name, {}) if found else {}
    for issuer, rules in found.items():
        kept[issuer] = tuple(dict.fromkeys((*kept.get(issuer, ()), rules)))


def _rules(path: Path, name: str) -> Mapping[str, SubjectRules]:
    """Return what the CA, and those below it, may sign; ``.namespaces`` wins over ``.signing_policy``.

    Neither means no restriction. Rules stand beside the file under its hash or, where that is a link, beside what it
    leads to: ``openssl rehash`` makes links to certificates alone.
    """
    places = _places(path)
    if namespaces := _first(places, ".namespaces"):
        file, found = namespaces.name, parse_namespaces(_text(namespaces), namespaces.name, name)
    elif policy := _first(places, ".signing_policy"):
        file, found = policy.name, parse_signing_policy(_text(policy), policy.name)
    else:
        return {}
    if name not in found:
        raise TrustStoreUnusableError(file, "it has no rule for this CA")
    return found


def _places(path: Path) -> tuple[Path, ...]:
    """Return a file and what it leads to, be it nowhere; ``/`` has nothing beside it."""
    target = Path(os.path.realpath(path))
    return tuple(dict.fromkeys((path, target if target.name else path)))


def _first(places: tuple[Path, ...], suffix: str) -> Path | None:
    return next((file for place in places if _is_there(file := place.with_suffix(suffix))), None)


def _is_there(file: Path) -> bool:
    """Return whether there is such a file, or a link of that name, be it one that leads nowhere."""
    try:
        file.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise TrustStoreUnusableError(file.name, f"cannot be read: {error.strerror}") from error
    return True


def _text(path: Path) -> str:
    try:
        return _bytes(path, MAX_CA_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise TrustStoreUnusableError(path.name, "it is not UTF-8") from error
    except OSError as error:
        raise TrustStoreUnusableError(path.name, f"cannot be read: {error.strerror}") from error


# --- rules whose certificate is spoilt or gone -----------------------------------------------------------------------
def _orphans(reading: _Reading, paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Return the rules that stand beside no certificate that is used, nor lead to where one is, and their CA's hash."""
    for path in paths:
        is_rules = path.name.endswith(_RULES)
        if not (is_rules or _CA_FILE.fullmatch(path.name)) or path.with_suffix("") in reading.ruled:
            continue
        target = _places(path)[-1]
        if not is_rules:
            yield from ((target.with_suffix(suffix), path.stem) for suffix in _RULES)
        elif target.with_suffix("") not in reading.ruled:
            yield path, path.stem


def _read_orphan(reading: _Reading, path: Path, *, stem: str) -> None:
    """Let rules count for the CAs that they name: one whose certificate is not there is not used, whoever carries it.

    One that is there under another hash is bound by them too, as where each hash has its rules. What names no CA, or
    cannot be read, costs the one whose name has this hash.
    """
    if not _is_there(path):
        return
    try:
        found = _parse_alone(path)
    except TrustError as error:
        reading.nameless[stem] = f"{path.name}: {error.detail}"
        raise
    counts = path.suffix == ".namespaces" or not _is_there(path.with_suffix(".namespaces"))
    for name in found:
        if name in reading.used and counts:
            _keep(reading, name, {name: found[name]})
        elif name not in reading.used and name not in reading.skipped:
            reading.skipped[name] = f"{path.name}: the certificate of this CA is not beside it, or cannot be read"
            reading.warnings.append(f"{path.name}: the CA {name} is not used: its certificate is not there, or spoilt")


def _parse_alone(path: Path) -> Mapping[str, SubjectRules]:
    is_namespaces, text = path.suffix == ".namespaces", _text(path)
    found = parse_namespaces(text, path.name, "") if is_namespaces else parse_signing_policy(text, path.name)
    named = {name: rules for name, rules in found.items() if name}  # SELF may be anybody
    if not named:
        raise TrustStoreUnusableError(path.name, "it stands beside no certificate that can be read, and names no CA")
    return named


# --- revocation lists ------------------------------------------------------------------------------------------------
def _read_crl(reading: _Reading, path: Path) -> None:
    issuers = reading.issuers.setdefault(path, set())
    target = path.resolve() if path.is_file() else path
    if target in reading.seen:  # both hash styles are links to one file, and CRLs can be large
        issuers |= reading.issuers[reading.seen[target]]
        return
    reading.seen[target] = path
    for number, block in enumerate(crl_blocks(_bytes(path, MAX_CRL_BYTES), path.name), start=1):
        try:
            crl = load_crl(block)
            issuer = comparable(crl.issuer)
        except NOT_UNDERSTOOD as error:
            which = f" (number {number} in it)" if number > 1 else ""
            reading.warnings.append(f"{path.name}: not understood{which}: {error}")
        else:
            issuers.add(issuer)
            reading.crls.setdefault(issuer, []).append(crl)


def crl_blocks(data: bytes, name: str) -> list[bytes]:
    """Return each CRL of a file on its own: the library reads the first one only.

    Raises:
        TrustStoreUnusableError: The file, which is called ``name``, holds too many.
    """
    if data.count(_PEM_CRL) > MAX_CRLS:
        raise TrustStoreUnusableError(name, f"it holds more than {MAX_CRLS} CRLs")
    return [_PEM_CRL + block for block in data.split(_PEM_CRL)[1:]] or [data]


def load_crl(block: bytes) -> x509.CertificateRevocationList:
    """Return a CRL in PEM or DER; the library raises one of ``NOT_UNDERSTOOD``, also later, when it is looked at."""
    return (x509.load_pem_x509_crl if block.startswith(_PEM_CRL) else x509.load_der_x509_crl)(block)


def has_spare_bits(signed: x509.Certificate | x509.CertificateRevocationList) -> bool:
    """Return whether the signature is no whole number of octets.

    The octet before its value counts the bits that are not used (X.690 section 8.6.2). The library verifies without
    it, so anybody could make another file, with another fingerprint, of a certificate that a CA signed.
    """
    return signed.public_bytes(Encoding.DER)[-len(signed.signature) - 1] != 0


def _unread(reading: _Reading) -> dict[Comparable, str]:
    """Return which CAs have a file for a CRL, by its name, that holds none of theirs."""
    found = {}
    for path, issuers in reading.issuers.items():
        expected = reading.stems.get(path.stem, set())
        if not issuers & expected:
            text = f"{path.name} cannot be read, or is the CRL of another CA"
            said = next((line for line in reading.warnings if line.startswith(f"{path.name}: ")), text)
            found.update(dict.fromkeys(expected, said))
    return found
