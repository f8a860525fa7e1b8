import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import Store

from imagesync.errors import UntrustedSignerError
from imagesync.lists.anchors import Anchors
from imagesync.lists.namespaces import SubjectRules
from imagesync.lists.path import MAX_DEPTH, build_path, check_signer, check_trusted_itself, unusable

BASE = "/DC=test/DC=imagesync/CN="


def only(anchors: Anchors, *roots: x509.Certificate) -> Anchors:
    """Return the anchors with other roots and nothing else."""
    return replace(anchors, roots=roots, subordinates=(), rules={}, store=Store(list(roots)))


@pytest.fixture
def ca_with(corpus_ground: ModuleType, people: Mapping[str, Any], cas: Mapping[str, Any]) -> Callable[..., Any]:
    """Return a function that makes a CA below the root with one more extension, or another of its kind."""

    def make(extension: x509.ExtensionType, critical: bool) -> Any:
        name = "basic" if isinstance(extension, x509.BasicConstraints) else "more"
        return corpus_ground.authority("Between", cas["root"], **{name: (extension, critical)})

    return make


def test_a_subordinate_in_the_directory_needs_no_copy_in_the_message(
    people: Mapping[str, Any], cas: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    signer = people["under-subordinate"].certificate

    chain = build_path(signer, [], anchors, now)

    assert chain == (signer, cas["subordinate"].certificate, cas["root"].certificate)


def test_a_subordinate_is_no_anchor(
    people: Mapping[str, Any], cas: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    without_root = only(anchors, cas["no-crl"].certificate)
    both = replace(without_root, subordinates=(cas["subordinate"].certificate,))

    text = f"{BASE}Subordinate CA: its CA {BASE}Root CA is not in .*install that CA's package"
    with pytest.raises(UntrustedSignerError, match=text):
        build_path(people["under-subordinate"].certificate, [], both, now)
    skipped = replace(both, skipped={f"{BASE}Root CA": "its rules are wrong"})
    text = f"{BASE}Subordinate CA: its CA {BASE}Root CA is not used: its rules are wrong.*repair that file"
    with pytest.raises(UntrustedSignerError, match=text):
        build_path(people["under-subordinate"].certificate, [], skipped, now)


def test_a_self_signed_signer_is_refused_even_as_an_anchor(
    people: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    signer = people["self"].certificate

    with pytest.raises(UntrustedSignerError, match="self-signed: a signer must be certified by a CA") as refusal:
        build_path(signer, [], only(anchors, signer), now)
    assert refusal.value.hint == ""


def test_a_proxy_is_refused_also_where_its_extension_is_not_critical(
    forge: ModuleType, people: Mapping[str, Any], cas: Mapping[str, Any]
) -> None:
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14"), b"\x05\x00")
    proxy = forge.certify(f"{BASE}1234", people["other"].key, forge.Wish(cas["root"], extra=((extension, False),)))

    with pytest.raises(UntrustedSignerError, match="proxy certificate"):
        check_signer(proxy.certificate, pinned=True)


def test_a_proxy_on_the_way_is_refused(
    forge: ModuleType, people: Mapping[str, Any], cas: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14"), b"\x05\x00")
    wish = forge.Wish(cas["root"], ca=True, extra=((extension, False),))
    between = forge.certify(f"{BASE}Between", people["other"].key, wish)
    signer = forge.certify(f"{BASE}Below a proxy", people["plain"].key, forge.Wish(between))

    with pytest.raises(UntrustedSignerError, match=f"{BASE}Between: it is a proxy certificate"):
        build_path(signer.certificate, [between.certificate], anchors, now)


def test_of_a_ca_that_is_installed_and_carried_the_installed_one_is_tried_first(
    forge: ModuleType, people: Mapping[str, Any], cas: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    unfit = forge.certify(f"{BASE}Subordinate CA", cas["subordinate"].key, forge.Wish(cas["root"], ca=True, usage=None))
    signer = people["under-subordinate"].certificate

    assert build_path(signer, [unfit.certificate], anchors, now)[1] == cas["subordinate"].certificate
    with pytest.raises(UntrustedSignerError):
        build_path(signer, [unfit.certificate], anchors, now, carried_first=True)


def test_a_signer_without_key_usage_may_sign(
    forge: ModuleType, people: Mapping[str, Any], cas: Mapping[str, Any]
) -> None:
    signer = forge.certify(f"{BASE}X", people["other"].key, forge.Wish(cas["root"], usage=None))

    assert not check_signer(signer.certificate, pinned=False)


@pytest.mark.parametrize(("purposes", "expects_pin"), [(("4",), False), (("1", "4"), False), (("2",), True)])
def test_only_host_purposes_expect_a_pin(
    forge: ModuleType,
    people: Mapping[str, Any],
    cas: Mapping[str, Any],
    purposes: tuple[str, ...],
    expects_pin: bool,
) -> None:
    signer = forge.certify(f"{BASE}X", people["other"].key, forge.Wish(cas["root"], purposes=purposes))

    assert check_signer(signer.certificate, pinned=True) is expects_pin


def test_two_cas_of_one_name_are_told_apart_by_their_keys(
    people: Mapping[str, Any], cas: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    both = only(anchors, cas["impostor"].certificate, cas["root"].certificate)

    assert build_path(people["endorser"].certificate, [], both, now)[-1] == cas["root"].certificate
    assert build_path(people["under-impostor"].certificate, [], both, now)[-1] == cas["impostor"].certificate


def test_every_certificate_must_be_valid_at_the_time_of_the_pass(
    forge: ModuleType, people: Mapping[str, Any], cas: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    wish = forge.Wish(cas["root"], ca=True, not_after=now - timedelta(days=1))
    between = forge.certify(f"{BASE}Between", people["other"].key, wish)
    signer = forge.certify(f"{BASE}Below", people["plain"].key, forge.Wish(between))

    with pytest.raises(UntrustedSignerError, match=f"{BASE}Between: the certificate expired on 2026-05-31 12:00 UTC"):
        build_path(signer.certificate, [between.certificate], anchors, now)


def test_a_path_that_is_too_long_is_refused(
    forge: ModuleType, people: Mapping[str, Any], cas: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    above, others = cas["root"], []
    signers = []
    for number in range(MAX_DEPTH + 1):
        above = forge.certify(f"{BASE}Level {number}", people["other"].key, forge.Wish(above, ca=True))
        others.append(above.certificate)
        signers.append(forge.certify(f"{BASE}Deep", people["plain"].key, forge.Wish(above)).certificate)
    *_, deep, too_deep = signers

    assert MAX_DEPTH == 8
    assert len(build_path(deep, others, anchors, now)) == MAX_DEPTH + 2
    with pytest.raises(UntrustedSignerError, match="no valid path"):
        build_path(too_deep, others, anchors, now)


def test_a_certificate_is_valid_from_its_first_second_to_its_last(
    forge: ModuleType, people: Mapping[str, Any], cas: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    second = timedelta(seconds=1)
    wish = forge.Wish(cas["root"], not_before=now, not_after=now + second)
    signer = forge.certify(f"{BASE}Brief", people["plain"].key, wish).certificate

    for moment in (now, now + second, now + 1.5 * second):
        check_trusted_itself(signer, moment)
        assert len(build_path(signer, [], anchors, moment)) == 2
    for moment, text in ((now - second, "valid only from"), (now + 2 * second, "expired on")):
        with pytest.raises(UntrustedSignerError, match=text):
            check_trusted_itself(signer, moment)
        with pytest.raises(UntrustedSignerError, match=text):
            build_path(signer, [], anchors, moment)


def test_an_authority_that_expired_or_cannot_certify_is_named_as_unusable(
    forge: ModuleType, people: Mapping[str, Any], cas: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    wish = forge.Wish(ca=True, not_after=now - timedelta(seconds=1))
    expired = forge.certify(f"{BASE}Expired root", people["other"].key, wish).certificate
    mute = forge.certify(f"{BASE}Root without usage", people["other"].key, forge.Wish(ca=True, usage=None)).certificate

    identifier = (x509.SubjectKeyIdentifier.from_public_key(people["other"].key.public_key()), True)
    wish = forge.Wish(ca=True, identifiers=False, extra=(identifier,))
    critical = forge.certify(f"{BASE}Root with criticism", people["other"].key, wish).certificate

    first, second, third = unusable(only(anchors, cas["root"].certificate, expired, mute, critical), now)

    assert first.startswith(f"{BASE}Expired root: the certificate expired on")
    assert second.startswith(f"{BASE}Root without usage: it is no certificate of a CA: its key usage")
    assert third.startswith(f"{BASE}Root with criticism: its key identifiers are critical")


POLICIES = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.840.113612.5.2.2.1"), None)])


@pytest.mark.parametrize(
    ("extension", "critical", "text"),
    [
        (POLICIES, True, r"it has the critical extension 2\.5\.29\.32, which is not supported"),
        (x509.NameConstraints([x509.DNSName("example.org")], None), False, "has name constraints, which are not supp"),
        (x509.NameConstraints([x509.DNSName("example.org")], None), True, "has name constraints, which are not supp"),
        (x509.BasicConstraints(ca=True, path_length=None), False, "its basic constraints are not critical"),
    ],
)
def test_the_ca_whose_extension_prevents_a_path_is_named_with_it(
    ca_with: Callable[..., Any],
    forge: ModuleType,
    people: Mapping[str, Any],
    anchors: Anchors,
    now: datetime,
    extension: Any,
    critical: bool,
    text: str,
) -> None:
    between = ca_with(extension, critical)
    signer = forge.certify(f"{BASE}Below", people["plain"].key, forge.Wish(between)).certificate

    with pytest.raises(UntrustedSignerError, match=f"{BASE}Between: .*{text}"):
        build_path(signer, [between.certificate], anchors, now)
    (line,) = unusable(replace(anchors, roots=(), subordinates=(between.certificate,)), now)
    assert re.match(f"{BASE}Between: .*{text}", line)


def test_policies_that_are_not_critical_are_those_of_honest_cas(
    ca_with: Callable[..., Any], forge: ModuleType, people: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    between = ca_with(POLICIES, False)
    signer = forge.certify(f"{BASE}Below", people["plain"].key, forge.Wish(between)).certificate

    assert len(build_path(signer, [between.certificate], anchors, now)) == 3


def test_a_signer_whose_extension_prevents_a_path_is_named_with_it(
    forge: ModuleType, people: Mapping[str, Any], cas: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    wish = forge.Wish(cas["root"], extra=((POLICIES, True),))
    signer = forge.certify(f"{BASE}Strict", people["plain"].key, wish).certificate

    with pytest.raises(UntrustedSignerError, match=rf"{BASE}Strict: it has the critical extension 2\.5\.29\.32"):
        build_path(signer, [], anchors, now)


def test_a_ca_without_a_key_identifier_is_named(
    forge: ModuleType, people: Mapping[str, Any], cas: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    bare = forge.certify(f"{BASE}Bare", people["other"].key, forge.Wish(ca=True, identifiers=False))
    signer = forge.certify(f"{BASE}Below", people["plain"].key, forge.Wish(bare)).certificate
    text = f"{BASE}Bare: the CA's certificate has no subject key identifier"

    (line,) = unusable(only(anchors, bare.certificate), now)
    assert line.startswith(text)
    with pytest.raises(UntrustedSignerError, match=text):
        build_path(signer, [], only(anchors, bare.certificate), now)


def test_an_authority_key_identifier_may_have_other_names_of_the_ca(
    corpus_ground: ModuleType, cas: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    root = cas["root"].certificate
    own = x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()).key_identifier
    named = x509.AuthorityKeyIdentifier(own, [x509.DNSName("ca.example.org")], root.serial_number)
    signer = corpus_ground.leaf("Named in another way", cas["root"], authority_id=(named, False)).certificate

    assert build_path(signer, [], anchors, now) == (signer, root)


_RSA = bytes.fromhex("06092a864886f70d010101")
_INTEGER = bytes.fromhex("0282")


def _with_key(certificate: x509.Certificate, old: bytes, new: bytes) -> x509.Certificate:
    """Return a certificate in whose key the first place of some bytes is changed."""
    head, mark, key = certificate.public_bytes(Encoding.DER).rpartition(_RSA)
    return x509.load_der_x509_certificate(head + (mark + key).replace(old, new, 1))


def test_a_key_that_is_short_or_cannot_be_read_is_named(
    forge: ModuleType, pki: ModuleType, cas: Mapping[str, Any], now: datetime
) -> None:
    short = forge.certify(f"{BASE}Short", pki.rsa_key("rsa2047"), forge.Wish(cas["root"])).certificate
    usual = forge.certify(f"{BASE}Usual", pki.rsa_key("rsa3072"), forge.Wish(cas["root"])).certificate
    check_trusted_itself(usual, now)

    with pytest.raises(UntrustedSignerError, match=r"its RSA key has 2047 bits \(at least 2048 are needed\)"):
        check_trusted_itself(short, now)
    for unreadable in (_with_key(usual, _RSA, _RSA[:-1] + b"\x7f"), _with_key(usual, _INTEGER, b"\x04\x82")):
        with pytest.raises(UntrustedSignerError, match="its key is of a kind that is not supported"):
            check_trusted_itself(unreadable, now)


def test_a_ca_whose_key_cannot_sign_has_signed_nothing(
    forge: ModuleType, people: Mapping[str, Any], cas: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    key = x25519.X25519PrivateKey.generate()
    agreement = forge.certify(f"{BASE}Agreement", key, forge.Wish(cas["root"], ca=True))
    claimed = forge.Party(agreement.certificate, people["other"].key)
    signer = forge.certify(f"{BASE}Below", people["plain"].key, forge.Wish(claimed)).certificate

    with pytest.raises(UntrustedSignerError, match=f"signature is not by the CA {BASE}Agreement that is known here"):
        build_path(signer, [agreement.certificate], anchors, now)


def test_the_rules_about_a_subordinate_may_stand_with_those_of_its_root(
    people: Mapping[str, Any], cas: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    root, below = f"{BASE}Root CA", f"{BASE}Subordinate CA"
    signer = people["under-subordinate"].certificate
    anything, nothing = (
        SubjectRules(f"{name}.namespaces", (re.compile(pattern),)) for name, pattern in (("all", ".*"), ("none", "x"))
    )

    def build(rules: Mapping[str, Mapping[str, tuple[SubjectRules, ...]]]) -> int:
        return len(build_path(signer, [], replace(anchors, rules=rules), now))

    of_root = {root: (anything,), below: (nothing,)}
    with pytest.raises(UntrustedSignerError, match=rf"its CA {below} may not certify this name \(none\.namespaces\)"):
        build({root: of_root})
    assert build({root: of_root, below: {below: (anything,)}}) == 3
    assert build({root: {root: (anything,)}}) == 3
    assert build({f"{BASE}Old CA": {below: (nothing,)}}) == 3
    with pytest.raises(UntrustedSignerError, match=f"{below}: its CA {root} may not certify this name"):
        build({root: {root: (anything, nothing)}})
