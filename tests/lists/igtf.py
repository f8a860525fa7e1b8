"""Every CA of a real distribution once more, with the same names, numbers, dates and extensions, and keys of our own."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fixtures" / "lists"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fixtures" / "corpus"))

import forge
import ground
import pki
from case import signed
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tree import Node, parse

from imagesync.lists.anchors import Anchors, is_self_signed, serial_zero_tolerated
from imagesync.lists.names import render

_SUBJECT_ID, _AUTHORITY_ID = "2.5.29.14", "2.5.29.35"


@dataclass(frozen=True)
class Clone:
    """A CA with our key, and whom it may certify."""

    ca: forge.Party
    permitted: x509.Name


def clones(anchors: Anchors) -> dict[str, Clone]:
    """Return the CAs by their names."""
    real = {render(ca.subject): ca for ca in (*anchors.roots, *anchors.subordinates)}
    with serial_zero_tolerated():  # as SEE-GRID CA 2013 has it
        return {
            name: Clone(_cloned(certificate, real), _permitted(anchors, name, certificate))
            for name, certificate in real.items()
        }


def write(found: Mapping[str, Clone], directory: Path, source: Path) -> None:
    """Write the clones with a CRL each, beside the real policy files."""
    for path in source.iterdir():
        if path.suffix in {".namespaces", ".signing_policy"}:
            (directory / path.name).write_bytes(path.read_bytes())
    for clone in found.values():
        stem = ground.subject_hash(clone.ca.der)
        (directory / f"{stem}.0").write_bytes(ground.armoured(clone.ca.der, "CERTIFICATE"))
        (directory / f"{stem}.r0").write_bytes(ground.armoured(ground.usual_crl(clone.ca), "X509 CRL"))


def message(clone: Clone) -> bytes:
    """Return a list by a signer under a CA."""
    key = pki.ec_key(f"signer under {render(clone.ca.certificate.subject)}")
    usual = ground.leaf("Endorser", clone.ca, key).certificate.extensions
    party = ground.issue(clone.permitted, key, clone.ca, [(e.value, e.critical) for e in usual])
    return signed(party)


def line(name: str, real: Mapping[str, x509.Certificate]) -> Iterator[str]:
    """Yield the names of a CA and of all CAs above it."""
    yield name
    while not is_self_signed(real[name]):
        name = render(real[name].issuer)
        yield name


def _cloned(certificate: x509.Certificate, real: Mapping[str, x509.Certificate]) -> forge.Party:
    own, above = _key(certificate), _key(real.get(render(certificate.issuer), certificate))

    def exchange(tbs: Node) -> None:
        tbs.children[6] = parse(own.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        for extension in tbs.children[-1].children[0].children:
            _exchange_identifiers(extension, own, above)

    digest = certificate.signature_hash_algorithm
    der = ground.resealed(certificate.public_bytes(Encoding.DER), above, exchange, digest.name if digest else "sha256")
    return forge.Party(x509.load_der_x509_certificate(der), own)


def _key(certificate: x509.Certificate) -> forge.Key:
    return pki.ec_key(f"clone of {render(certificate.subject)}")


def _exchange_identifiers(extension: Node, own: forge.Key, above: forge.Key) -> None:
    kind, value = extension.children[0], extension.children[-1]
    if kind.encode() == forge.oid(_SUBJECT_ID):
        value.value = forge.octets(_identifier(own))
    if kind.encode() == forge.oid(_AUTHORITY_ID):
        inner = parse(value.value)
        for field in inner.children:
            if field.tag == 0x80:
                field.value = _identifier(above)
        value.value = inner.encode()


def _identifier(key: forge.Key) -> bytes:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest


def _permitted(anchors: Anchors, name: str, certificate: x509.Certificate) -> x509.Name:
    """Return a name that the CA may certify by its policy, the most general one."""
    if name not in anchors.rules:
        return x509.Name([*certificate.subject, _common("Endorser")])
    patterns: Sequence[str] = [pattern.pattern for rules in anchors.rules[name][name] for pattern in rules.patterns]
    pattern = next((p for p in patterns if p.endswith("/.*")), patterns[0])
    text = re.sub(r"\\(.)", r"\1", pattern.removesuffix(".*") + ("CN=Endorser" if pattern.endswith(".*") else ""))
    pairs = re.findall(r"/([A-Za-z]+)=(.*?)(?=/[A-Za-z]+=|$)", text)
    return x509.Name([x509.NameAttribute(_TYPES[kind], value) for kind, value in pairs])


def _common(value: str) -> x509.NameAttribute[str]:
    return x509.NameAttribute(_TYPES["CN"], value)


_TYPES = {
    kind: x509.ObjectIdentifier(dotted)
    for kind, dotted in {
        "DC": "0.9.2342.19200300.100.1.25",
        "C": "2.5.4.6",
        "ST": "2.5.4.8",
        "L": "2.5.4.7",
        "O": "2.5.4.10",
        "OU": "2.5.4.11",
        "CN": "2.5.4.3",
    }.items()
}
