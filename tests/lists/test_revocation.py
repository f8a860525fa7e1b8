from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding

from imagesync.errors import RevocationUnknownError, RevokedSignerError
from imagesync.lists.anchors import CrlMode
from imagesync.lists.revocation import check_revocation

ROOT = "/DC=test/DC=imagesync/CN=Root CA"


@pytest.fixture
def with_crls(anchors):
    """Return a function that gives the anchors other CRLs of one CA."""

    def make(ca, *crls):
        return replace(anchors, crls={ca.certificate.subject.public_bytes(): crls})

    return make


@pytest.fixture
def chain(people, cas):
    return people["endorser"].certificate, cas["root"].certificate


@pytest.fixture
def crl(forge, cas):
    """Return a function that makes a CRL of the root."""

    def make(**changes):
        return forge.revocation_list(cas["root"], forge.CrlWish(**changes))

    return make


def test_a_fresh_crl_without_the_certificate_is_good(chain, with_crls, cas, crl, now):
    assert check_revocation(chain, with_crls(cas["root"], crl()), CrlMode.REQUIRE, now) == ()


def test_a_listed_certificate_is_refused_with_the_date(chain, with_crls, cas, crl, now):
    anchors = with_crls(cas["root"], crl(revoked=(chain[0],)))

    with pytest.raises(RevokedSignerError, match="was revoked on 2026-02-03"):
        check_revocation(chain, anchors, CrlMode.REQUIRE, now)


def test_a_certificate_in_a_stale_crl_stays_revoked(chain, with_crls, cas, crl, now):
    stale = crl(revoked=(chain[0],), next_update=now - timedelta(days=1))

    with pytest.raises(RevokedSignerError):
        check_revocation(chain, with_crls(cas["root"], crl(), stale), CrlMode.REQUIRE, now)


def test_a_revoked_root_is_refused_too(chain, with_crls, cas, crl, now):
    anchors = with_crls(cas["root"], crl(revoked=(chain[1],)))

    with pytest.raises(RevokedSignerError, match=ROOT):
        check_revocation(chain, anchors, CrlMode.REQUIRE, now)


def test_a_revoked_subordinate_is_refused(forge, people, cas, anchors, now):
    chain = people["under-subordinate"].certificate, cas["subordinate"].certificate, cas["root"].certificate
    root = forge.revocation_list(cas["root"], forge.CrlWish(revoked=(chain[1],)))
    crls = {**anchors.crls, cas["root"].certificate.subject.public_bytes(): (root,)}

    with pytest.raises(RevokedSignerError, match="CN=Subordinate CA"):
        check_revocation(chain, replace(anchors, crls=crls), CrlMode.REQUIRE, now)


def test_one_usable_crl_among_several_is_enough(chain, with_crls, cas, crl, pki, now):
    forged = crl(key=pki.ec_key("somebody"))

    check_revocation(chain, with_crls(cas["root"], forged, crl()), CrlMode.REQUIRE, now)


@pytest.mark.parametrize("mode", [CrlMode.REQUIRE, CrlMode.IF_PRESENT])
def test_a_stale_crl_is_never_enough(chain, with_crls, cas, crl, now, mode):
    anchors = with_crls(cas["root"], crl(next_update=now - timedelta(seconds=1)))

    with pytest.raises(RevocationUnknownError, match="it is stale since 2026-06-01 11:59.*fetch-crl"):
        check_revocation(chain, anchors, mode, now)


def test_a_missing_crl_is_refused_or_warned_about_by_mode(chain, anchors, now):
    without = replace(anchors, crls={})

    with pytest.raises(RevocationUnknownError, match="there is no CRL of this CA in .*anchors"):
        check_revocation(chain, without, CrlMode.REQUIRE, now)
    assert check_revocation(chain, without, CrlMode.IF_PRESENT, now) == (
        f"there is no CRL of {ROOT}: revocation was not checked",
    )


def test_off_looks_at_nothing_and_says_so(chain, with_crls, cas, crl, now):
    anchors = with_crls(cas["root"], crl(revoked=(chain[0],)))

    assert check_revocation(chain, anchors, CrlMode.OFF, now) == ("revocation was not checked (crl: off)",)


def test_a_crl_with_sha1_counts_with_a_warning(forge, pki, chain, with_crls, cas, crl, now):
    key = pki.rsa_key("root")
    good = forge.sha1_revocation_list(crl(), key)
    bad = forge.sha1_revocation_list(crl(revoked=(chain[0],)), key)

    warning = f"CRL of {ROOT}: it is signed with SHA-1"
    assert check_revocation(chain, with_crls(cas["root"], good), CrlMode.REQUIRE, now) == (warning,)
    with pytest.raises(RevokedSignerError):
        check_revocation(chain, with_crls(cas["root"], bad), CrlMode.REQUIRE, now)


def unusable(forge, chain, anchors, now, text):
    with pytest.raises(RevocationUnknownError, match=text):
        check_revocation(chain, anchors, CrlMode.REQUIRE, now)


def test_a_crl_with_md5_does_not_count(forge, pki, chain, with_crls, cas, crl, now):
    old, new = (forge.algorithm(f"1.2.840.113549.1.1.{kind}", forge.NULL) for kind in (11, 4))
    tbs = crl().tbs_certlist_bytes.replace(old, new)
    signature = pki.rsa_key("root").sign(tbs, padding.PKCS1v15(), hashes.MD5())
    weak = x509.load_der_x509_crl(forge.seq(tbs, new, forge.tlv(3, b"\x00", signature)))

    unusable(forge, chain, with_crls(cas["root"], weak), now, "signed with md5 that is not accepted")


def test_a_crl_without_a_hash_does_not_count(forge, chain, with_crls, cas, crl, now):
    other = x509.CertificateRevocationListBuilder(cas["root"].certificate.subject, now, now + timedelta(days=1))
    signed = other.sign(ed25519.Ed25519PrivateKey.generate(), None)

    unusable(forge, chain, with_crls(cas["root"], signed), now, "signed with an algorithm that is not accepted")


def test_a_crl_by_a_key_of_another_kind_does_not_count(forge, chain, with_crls, cas, crl, now):
    forged = crl(key=ec.generate_private_key(ec.SECP256R1()))

    unusable(forge, chain, with_crls(cas["root"], forged), now, "its signature is not by this CA")


def test_a_crl_with_a_broken_signature_does_not_count(forge, chain, with_crls, cas, crl, now):
    good = crl()
    broken = forge.seq(
        good.tbs_certlist_bytes, forge.algorithm("1.2.840.113549.1.1.11", forge.NULL), forge.tlv(3, bytes(257))
    )
    anchors = with_crls(cas["root"], x509.load_der_x509_crl(broken))

    unusable(forge, chain, anchors, now, "its signature is not by this CA")


def test_a_crl_with_an_unknown_critical_extension_does_not_count(forge, chain, with_crls, cas, crl, now):
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")

    check_revocation(chain, with_crls(cas["root"], crl(extra=((unknown, False),))), CrlMode.REQUIRE, now)
    unusable(forge, chain, with_crls(cas["root"], crl(extra=((unknown, True),))), now, r"critical extension 1\.2\.3\.4")


def test_a_crl_that_does_not_say_when_the_next_comes_does_not_count(forge, pki, chain, with_crls, cas, crl, now):
    good = crl(next_update=datetime(2033, 3, 3, tzinfo=UTC))
    tbs = good.tbs_certlist_bytes
    header = 2 + (tbs[1] & 0x7F if tbs[1] & 0x80 else 0)
    tbs = forge.seq(tbs[header:].replace(forge.tlv(0x17, b"330303000000Z"), b""))
    signature = pki.rsa_key("root").sign(tbs, padding.PKCS1v15(), hashes.SHA256())
    der = forge.seq(tbs, forge.algorithm("1.2.840.113549.1.1.11", forge.NULL), forge.tlv(3, b"\x00", signature))

    unusable(forge, chain, with_crls(cas["root"], x509.load_der_x509_crl(der)), now, "when the next one is due")


@pytest.mark.parametrize(("usage", "fine"), [(None, True), ("sign and certify", True), ("sign", False)])
def test_a_ca_that_may_not_sign_crls_does_not(forge, pki, with_crls, now, usage, fine):
    key = pki.rsa_key("root")
    ca = forge.certify(ROOT, key, forge.Wish(usage=usage))
    anchors = with_crls(ca, forge.revocation_list(ca))

    if fine:
        check_revocation([ca.certificate], anchors, CrlMode.REQUIRE, now)
    else:
        unusable(forge, [ca.certificate], anchors, now, "its CA may not sign CRLs")
