from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding

from imagesync.errors import RevocationUnknownError, RevokedSignerError
from imagesync.lists.anchors import Anchors, CrlMode
from imagesync.lists.names import comparable
from imagesync.lists.revocation import check_revocation, fault_of

ROOT = "/DC=test/DC=imagesync/CN=Root CA"


@pytest.fixture
def with_crls(anchors: Anchors) -> Callable[..., Anchors]:
    """Return a function that gives the anchors other CRLs of one CA."""

    def make(ca: Any, *crls: x509.CertificateRevocationList) -> Anchors:
        return replace(anchors, crls={comparable(ca.certificate.subject): crls})

    return make


@pytest.fixture
def chain(people: Mapping[str, Any], cas: Mapping[str, Any]) -> tuple[x509.Certificate, ...]:
    return people["endorser"].certificate, cas["root"].certificate


@pytest.fixture
def judge(
    chain: Sequence[x509.Certificate], with_crls: Callable[..., Anchors], cas: Mapping[str, Any], now: datetime
) -> Callable[..., tuple[str, ...]]:
    """Return a function that checks the endorser's path with other CRLs of the root."""

    def check(*crls: x509.CertificateRevocationList, mode: CrlMode = CrlMode.REQUIRE) -> tuple[str, ...]:
        return check_revocation(chain, with_crls(cas["root"], *crls), mode, now)

    return check


@pytest.fixture
def crl(forge: ModuleType, cas: Mapping[str, Any]) -> Callable[..., x509.CertificateRevocationList]:
    """Return a function that makes a CRL of the root."""

    def make(**changes: Any) -> x509.CertificateRevocationList:
        return forge.revocation_list(cas["root"], forge.CrlWish(**changes))

    return make


def test_a_fresh_crl_without_the_certificate_is_good(
    judge: Callable[..., tuple[str, ...]], crl: Callable[..., x509.CertificateRevocationList]
) -> None:
    assert judge(crl()) == ()


def test_a_listed_certificate_is_refused_with_the_date(
    judge: Callable[..., tuple[str, ...]],
    chain: Sequence[x509.Certificate],
    crl: Callable[..., x509.CertificateRevocationList],
) -> None:
    with pytest.raises(RevokedSignerError, match="was revoked on 2026-02-03"):
        judge(crl(revoked=(chain[0],)))


def test_a_certificate_in_a_stale_crl_stays_revoked(
    judge: Callable[..., tuple[str, ...]],
    chain: Sequence[x509.Certificate],
    crl: Callable[..., x509.CertificateRevocationList],
    now: datetime,
) -> None:
    stale = crl(revoked=(chain[0],), next_update=now - timedelta(days=1))

    with pytest.raises(RevokedSignerError):
        judge(crl(), stale)


def test_a_revoked_root_is_refused_too(
    judge: Callable[..., tuple[str, ...]],
    chain: Sequence[x509.Certificate],
    crl: Callable[..., x509.CertificateRevocationList],
) -> None:
    with pytest.raises(RevokedSignerError, match=ROOT):
        judge(crl(revoked=(chain[1],)))


def test_a_revoked_subordinate_is_refused(
    forge: ModuleType, people: Mapping[str, Any], cas: Mapping[str, Any], anchors: Anchors, now: datetime
) -> None:
    chain = people["under-subordinate"].certificate, cas["subordinate"].certificate, cas["root"].certificate
    root = forge.revocation_list(cas["root"], forge.CrlWish(revoked=(chain[1],)))
    crls = {**anchors.crls, comparable(cas["root"].certificate.subject): (root,)}

    with pytest.raises(RevokedSignerError, match="CN=Subordinate CA"):
        check_revocation(chain, replace(anchors, crls=crls), CrlMode.REQUIRE, now)


def test_one_usable_crl_among_several_is_enough(
    judge: Callable[..., tuple[str, ...]], crl: Callable[..., x509.CertificateRevocationList], pki: ModuleType
) -> None:
    forged = crl(key=pki.ec_key("somebody"))

    assert judge(forged, crl()) == ()


@pytest.mark.parametrize("mode", [CrlMode.REQUIRE, CrlMode.IF_PRESENT])
def test_a_stale_crl_is_never_enough(
    judge: Callable[..., tuple[str, ...]],
    crl: Callable[..., x509.CertificateRevocationList],
    now: datetime,
    mode: CrlMode,
) -> None:
    with pytest.raises(RevocationUnknownError, match=r"it is stale since 2026-06-01 11:59.*fetch-crl"):
        judge(crl(next_update=now - timedelta(seconds=1)), mode=mode)


def test_a_missing_crl_is_refused_or_warned_about_by_mode(
    chain: Sequence[x509.Certificate], anchors: Anchors, now: datetime
) -> None:
    without = replace(anchors, crls={})

    with pytest.raises(RevocationUnknownError, match=r"there is no CRL of this CA in .*anchors"):
        check_revocation(chain, without, CrlMode.REQUIRE, now)
    assert check_revocation(chain, without, CrlMode.IF_PRESENT, now) == (
        f"there is no CRL of {ROOT}: revocation was not checked",
    )


def test_off_looks_at_nothing_and_says_so(
    judge: Callable[..., tuple[str, ...]],
    chain: Sequence[x509.Certificate],
    crl: Callable[..., x509.CertificateRevocationList],
) -> None:
    assert judge(crl(revoked=(chain[0],)), mode=CrlMode.OFF) == ("revocation was not checked (crl: off)",)


def test_a_crl_with_sha1_counts_with_a_warning(
    judge: Callable[..., tuple[str, ...]],
    forge: ModuleType,
    pki: ModuleType,
    chain: Sequence[x509.Certificate],
    crl: Callable[..., x509.CertificateRevocationList],
) -> None:
    key = pki.rsa_key("root")
    good = forge.sha1_revocation_list(crl(), key)
    forged = forge.sha1_revocation_list(crl(), pki.rsa_key("rsa3072"))
    bad = forge.sha1_revocation_list(crl(revoked=(chain[0],)), key)

    warning = f"CRL of {ROOT}: it is signed with SHA-1"
    assert judge(good) == (warning,)
    assert judge(forged, crl()) == ()
    with pytest.raises(RevokedSignerError):
        judge(bad)


def unusable(judge: Callable[..., tuple[str, ...]], crl: x509.CertificateRevocationList, text: str) -> None:
    with pytest.raises(RevocationUnknownError, match=text):
        judge(crl)


def test_a_crl_with_md5_does_not_count(
    judge: Callable[..., tuple[str, ...]],
    forge: ModuleType,
    pki: ModuleType,
    crl: Callable[..., x509.CertificateRevocationList],
) -> None:
    old, new = (forge.algorithm(f"1.2.840.113549.1.1.{kind}", forge.NULL) for kind in (11, 4))
    tbs = crl().tbs_certlist_bytes.replace(old, new)
    signature = pki.rsa_key("root").sign(tbs, padding.PKCS1v15(), hashes.MD5())
    weak = x509.load_der_x509_crl(forge.seq(tbs, new, forge.tlv(3, b"\x00", signature)))

    unusable(judge, weak, "signed with md5 that is not accepted")


def test_a_crl_without_a_hash_does_not_count(
    judge: Callable[..., tuple[str, ...]], cas: Mapping[str, Any], now: datetime
) -> None:
    other = x509.CertificateRevocationListBuilder(cas["root"].certificate.subject, now, now + timedelta(days=1))
    signed = other.sign(ed25519.Ed25519PrivateKey.generate(), None)

    unusable(judge, signed, "signed with an algorithm that is not accepted")


def test_a_crl_by_a_key_of_another_kind_does_not_count(
    judge: Callable[..., tuple[str, ...]], crl: Callable[..., x509.CertificateRevocationList]
) -> None:
    forged = crl(key=ec.generate_private_key(ec.SECP256R1()))

    unusable(judge, forged, "its signature is not by this CA")


def test_a_crl_with_a_broken_signature_does_not_count(
    judge: Callable[..., tuple[str, ...]], forge: ModuleType, crl: Callable[..., x509.CertificateRevocationList]
) -> None:
    good = crl()
    broken = forge.seq(
        good.tbs_certlist_bytes, forge.algorithm("1.2.840.113549.1.1.11", forge.NULL), forge.tlv(3, bytes(257))
    )

    unusable(judge, x509.load_der_x509_crl(broken), "its signature is not by this CA")


def test_a_crl_with_an_unknown_critical_extension_does_not_count(
    judge: Callable[..., tuple[str, ...]], crl: Callable[..., x509.CertificateRevocationList]
) -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")

    judge(crl(extra=((unknown, False),)))
    unusable(judge, crl(extra=((unknown, True),)), r"critical extension 1\.2\.3\.4")


def test_a_crl_that_does_not_say_when_the_next_comes_does_not_count(
    judge: Callable[..., tuple[str, ...]],
    forge: ModuleType,
    pki: ModuleType,
    crl: Callable[..., x509.CertificateRevocationList],
) -> None:
    good = crl(next_update=datetime(2033, 3, 3, tzinfo=UTC))
    tbs = good.tbs_certlist_bytes
    header = 2 + (tbs[1] & 0x7F if tbs[1] & 0x80 else 0)
    tbs = forge.seq(tbs[header:].replace(forge.tlv(0x17, b"330303000000Z"), b""))
    signature = pki.rsa_key("root").sign(tbs, padding.PKCS1v15(), hashes.SHA256())
    der = forge.seq(tbs, forge.algorithm("1.2.840.113549.1.1.11", forge.NULL), forge.tlv(3, b"\x00", signature))

    unusable(judge, x509.load_der_x509_crl(der), "when the next one is due")


@pytest.fixture
def judge_ca(
    forge: ModuleType, pki: ModuleType, with_crls: Callable[..., Anchors], now: datetime
) -> Callable[..., Any]:
    """Return a function that checks a CA with another key usage against its own CRL."""

    def check(usage: str | None) -> tuple[str, ...]:
        ca = forge.certify(ROOT, pki.rsa_key("root"), forge.Wish(usage=usage))
        return check_revocation([ca.certificate], with_crls(ca, forge.revocation_list(ca)), CrlMode.REQUIRE, now)

    return check


@pytest.mark.parametrize("usage", [None, "sign and certify"])
def test_a_ca_may_sign_crls_by_its_key_usage_or_without_one(judge_ca: Callable[..., Any], usage: str | None) -> None:
    assert judge_ca(usage) == ()


def test_a_ca_that_may_not_sign_crls_does_not(judge_ca: Callable[..., Any]) -> None:
    with pytest.raises(RevocationUnknownError, match="its CA may not sign CRLs"):
        judge_ca("sign")


def test_what_keeps_a_crl_from_counting_is_said(
    forge: ModuleType, people: Mapping[str, Any], cas: Mapping[str, Any], now: datetime
) -> None:
    root = cas["root"]
    forged = forge.revocation_list(root, forge.CrlWish(key=people["other"].key))
    future = forge.revocation_list(root, forge.CrlWish(this_update=now + timedelta(days=1)))

    weak = forge.sha1_revocation_list(forge.revocation_list(root), root.key)

    assert fault_of(forge.revocation_list(root), root.certificate, now) == ""
    assert fault_of(weak, root.certificate, now) == ""
    assert fault_of(forged, root.certificate, now) == "its signature is not by this CA"
    assert "in the future" in fault_of(future, root.certificate, now)


def test_a_crl_counts_from_its_first_second_to_its_last(
    forge: ModuleType, cas: Mapping[str, Any], now: datetime
) -> None:
    root, second = cas["root"], timedelta(seconds=1)
    brief = forge.revocation_list(root, forge.CrlWish(this_update=now, next_update=now + second))

    assert [fault_of(brief, root.certificate, now + number * second) for number in (0, 1)] == ["", ""]
    assert fault_of(brief, root.certificate, now - second) == "it is dated 2026-06-01 12:00, in the future"
    assert fault_of(brief, root.certificate, now + 2 * second) == "it is stale since 2026-06-01 12:00"


@pytest.mark.parametrize("mode", [CrlMode.REQUIRE, CrlMode.IF_PRESENT])
def test_a_file_for_a_crl_that_holds_none_is_not_as_good_as_no_file(
    chain: Sequence[x509.Certificate], anchors: Anchors, now: datetime, mode: CrlMode
) -> None:
    unread = {comparable(chain[1].subject): "0000aaaa.r0: larger than 1 bytes"}
    spoilt = replace(anchors, crls={}, unread=unread)

    with pytest.raises(RevocationUnknownError, match=r"is not usable: 0000aaaa\.r0: larger than"):
        check_revocation(chain, spoilt, mode, now)
    assert check_revocation(chain, replace(anchors, unread=unread), mode, now) == ()


@pytest.fixture
def odd(
    crl: Callable[..., x509.CertificateRevocationList], forge: ModuleType, pki: ModuleType
) -> Callable[[bytes, bytes], x509.CertificateRevocationList]:
    """Return a function that changes the signed bytes of a CRL and signs them again."""

    def make(old: bytes, new: bytes) -> x509.CertificateRevocationList:
        tbs = crl().tbs_certlist_bytes
        assert old in tbs
        tbs = tbs.replace(old, new, 1)
        signature = pki.rsa_key("root").sign(tbs, padding.PKCS1v15(), hashes.SHA256())
        sealed = forge.seq(tbs, forge.algorithm("1.2.840.113549.1.1.11", forge.NULL), forge.tlv(3, b"\x00", signature))
        return x509.load_der_x509_crl(sealed)

    return make


NUMBER, AUTHORITY = bytes.fromhex("0603551d14"), bytes.fromhex("0603551d23")


def test_a_crl_that_cannot_be_understood_does_not_count_and_spoils_no_other(
    judge: Callable[..., tuple[str, ...]],
    odd: Callable[[bytes, bytes], x509.CertificateRevocationList],
    crl: Callable[..., x509.CertificateRevocationList],
) -> None:
    twice = odd(NUMBER, AUTHORITY)

    assert judge(crl(), twice) == judge(twice, crl()) == ()
    unusable(judge, twice, "it cannot be understood")


def test_nothing_of_a_crl_is_looked_at_before_its_signature(
    odd: Callable[[bytes, bytes], x509.CertificateRevocationList], cas: Mapping[str, Any], now: datetime
) -> None:
    stranger = cas["short"].certificate

    assert fault_of(odd(NUMBER, AUTHORITY), stranger, now) == "its signature is not by this CA"


def test_a_crl_whose_issuer_is_written_in_another_way_counts(
    judge: Callable[..., tuple[str, ...]],
    forge: ModuleType,
    cas: Mapping[str, Any],
    chain: Sequence[x509.Certificate],
    anchors: Anchors,
    now: datetime,
) -> None:
    text = x509.name._ASN1Type.PrintableString
    same = [
        x509.NameAttribute(one.oid, str(one.value).upper().replace(" ", "  "), text if one.value == "Root CA" else None)
        for one in chain[1].subject
    ]
    builder = x509.CertificateRevocationListBuilder(x509.Name(same), now, now + timedelta(days=1))
    entry = x509.RevokedCertificateBuilder(chain[0].serial_number, now)
    revoking = builder.add_revoked_certificate(entry.build()).sign(cas["root"].key, hashes.SHA256())
    assert revoking.issuer != chain[1].subject
    known = {**anchors.crls, comparable(revoking.issuer): (*anchors.crls[comparable(chain[1].subject)], revoking)}

    with pytest.raises(RevokedSignerError):
        check_revocation(chain, replace(anchors, crls=known), CrlMode.REQUIRE, now)
