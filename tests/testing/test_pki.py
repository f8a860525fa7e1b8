import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from imagesync.testing import pki

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def root() -> pki.Authority:
    return pki.Authority("/DC=org/DC=example/CN=Example Root", NOW, key=pki.ec_key())


@pytest.fixture(scope="module")
def issuing(root: pki.Authority) -> pki.Authority:
    return pki.Authority("/DC=org/DC=example/CN=Example Issuing CA", NOW, parent=root, key=pki.ec_key())


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)


def write(path: Path, certificate: x509.Certificate) -> Path:
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return path


NAMES = {
    "slashes": "/DC=ORG/DC=SEE-GRID/CN=SEE-GRID CA 2013",
    "blanks": "/C=DE/O=  Many   Blanks\tInside  /CN=Mixed CASE",
    "umlauts": "/C=FR/O=Université ÄÖÜ/CN=Été",
    "email": "/C=CZ/O=CESNET/CN=CA/emailAddress=CA@Example.ORG",
    "slash inside": "/DC=org/CN=host/www.example.org",
    "wide": "/O=研究/CN=認証局",
    "uid": "/DC=org/UID=Someone/CN=x",
}


@pytest.mark.parametrize("dn", NAMES.values(), ids=NAMES.keys())
def test_subject_hash_is_the_one_openssl_looks_for(dn: str, tmp_path: Path, root: pki.Authority) -> None:
    certificate = root.certify(dn, root.key)
    path = write(tmp_path / "ca.pem", certificate)

    expected = openssl("x509", "-in", path, "-noout", "-subject_hash").stdout.strip()

    assert pki.subject_hash(certificate.subject) == expected


def test_subject_hash_of_a_multi_valued_rdn_and_other_string_types(tmp_path: Path, root: pki.Authority) -> None:
    name = x509.Name(
        [
            x509.RelativeDistinguishedName(
                [
                    x509.NameAttribute(NameOID.COMMON_NAME, "Both  Of"),
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Them"),
                ]
            ),
            x509.RelativeDistinguishedName(
                [x509.NameAttribute(NameOID.COMMON_NAME, "Wide À", _type=x509.name._ASN1Type.BMPString)]
            ),
        ]
    )
    certificate = root.certify(name, root.key)
    path = write(tmp_path / "ca.pem", certificate)

    assert pki.subject_hash(name) == openssl("x509", "-in", path, "-noout", "-subject_hash").stdout.strip()


def test_openssl_verifies_an_endorser_against_the_written_directory(
    tmp_path: Path, root: pki.Authority, issuing: pki.Authority
) -> None:
    endorser = issuing.issue("/DC=org/DC=example/CN=Robot", pki.ROBOT, key=pki.ec_key())
    anchors = pki.write_anchors(tmp_path / "certificates", [root, issuing])
    files = pki.write_identity(endorser, tmp_path)
    assert files.chain is not None

    done = verify(anchors, files.certificate, files.chain)

    assert done.returncode == 0, done.stderr


def test_openssl_refuses_the_endorser_once_revoked(tmp_path: Path) -> None:
    root = pki.Authority("/CN=Own Root", NOW, key=pki.ec_key())
    endorser = root.issue("/CN=Robot", key=pki.ec_key())
    certificate = write(tmp_path / "robot.pem", endorser.certificate)

    root.revoke(endorser.certificate)
    anchors = pki.write_anchors(tmp_path / "certificates", [root])

    assert "certificate revoked" in verify(anchors, certificate).stderr


def test_a_stale_crl_is_stale_and_an_absent_one_absent(tmp_path: Path) -> None:
    root = pki.Authority("/CN=Own Root", NOW, key=pki.ec_key())
    certificate = write(tmp_path / "robot.pem", root.issue("/CN=Robot", key=pki.ec_key()).certificate)
    anchors = tmp_path / "certificates"

    pki.write_anchors(anchors, [root], crl_age=timedelta(days=31))
    assert "CRL has expired" in verify(anchors, certificate).stderr
    pki.write_anchors(anchors, [root], crls=False)
    assert "unable to get certificate CRL" in verify(anchors, certificate).stderr


@pytest.mark.parametrize(
    ("profile", "complaint"),
    [
        (pki.PLAIN, ""),
        (pki.HOST, "unsuitable certificate purpose"),
        (pki.CODE_SIGNING, "unsuitable certificate purpose"),
        (pki.ENCIPHERMENT, "unsuitable certificate purpose"),
        (pki.EXPIRED, "certificate has expired"),
        (pki.FUTURE, "certificate is not yet valid"),
    ],
    ids=["plain", "host", "code signing", "encipherment", "expired", "future"],
)
def test_each_profile_has_the_fault_it_is_named_after(
    profile: pki.Profile, complaint: str, tmp_path: Path, root: pki.Authority
) -> None:
    anchors = pki.write_anchors(tmp_path / "certificates", [root])
    certificate = write(tmp_path / "leaf.pem", root.issue("/CN=Leaf", profile, key=pki.ec_key()).certificate)

    done = verify(anchors, certificate)

    assert complaint in done.stderr
    assert (done.returncode == 0) is (complaint == "")


def test_two_authorities_with_one_name_get_two_files(tmp_path: Path) -> None:
    twins = [pki.Authority("/CN=Twin", NOW, key=pki.ec_key()) for _ in range(2)]

    pki.write_anchors(tmp_path, twins)

    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".0", ".1", ".r0", ".r1"]


def test_an_encrypted_key_opens_with_its_passphrase_only(tmp_path: Path, root: pki.Authority) -> None:
    files = pki.write_identity(root.issue("/CN=Robot", key=pki.ec_key()), tmp_path, passphrase="open sesame")

    assert openssl("pkey", "-in", files.key, "-passin", "pass:open sesame", "-noout").returncode == 0
    assert openssl("pkey", "-in", files.key, "-passin", "pass:wrong", "-noout").returncode != 0
    assert files.key.stat().st_mode & 0o777 == 0o600


def test_a_key_that_must_not_sign_lists_can_be_certified(root: pki.Authority) -> None:
    key = ed25519.Ed25519PrivateKey.generate()

    assert root.certify("/CN=Edward", key).public_key() == key.public_key()


def test_policy_files_carry_the_authoritys_hash(tmp_path: Path, root: pki.Authority) -> None:
    policy = pki.write_signing_policy(tmp_path, root, "/DC=org/CN=x", ["/DC=org/*"])
    namespaces = pki.write_namespaces(tmp_path, root, "/DC=org/CN=x", ["/DC=org/.*"])

    assert policy.stem == namespaces.stem == pki.subject_hash(root.name)
    assert "cond_subjects     globus     '\"/DC=org/*\"'" in policy.read_text()
    assert 'PERMIT Subject "/DC=org/.*"' in namespaces.read_text()


def test_a_name_not_in_slash_form_is_refused() -> None:
    with pytest.raises(ValueError, match="slash form"):
        pki.parse_name("CN=backwards,O=x")


def verify(anchors: Path, certificate: Path, chain: Path | None = None) -> subprocess.CompletedProcess[str]:
    extra = ["-untrusted", chain] if chain else []
    return openssl(
        "verify", "-CApath", anchors, "-no-CAfile", "-no-CAstore", "-crl_check_all", "-x509_strict",
        "-purpose", "smimesign", "-attime", str(int(NOW.timestamp())), *extra, certificate,
    )  # fmt: skip
