import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from imagesync.errors import ConfigError
from imagesync.lists.document import dump
from imagesync.lists.seal import SigningIdentity, seal
from imagesync.lists.sign import check_identity, load_identity, sign
from imagesync.testing import pki

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DN = "/DC=org/DC=example/O=Robots/CN=Robot - images"

STRICT = ["-no-CAfile", "-no-CAstore", "-x509_strict", "-auth_level", "2", "-crl_check_all"]


@pytest.fixture(scope="module")
def root() -> pki.Authority:
    return pki.Authority("/DC=org/DC=example/CN=Example Root", NOW)


@pytest.fixture(scope="module")
def issuing(root: pki.Authority) -> pki.Authority:
    return pki.Authority("/DC=org/DC=example/CN=Example Issuing CA", NOW, parent=root)


@pytest.fixture(scope="module")
def robot(issuing: pki.Authority) -> SigningIdentity:
    return issuing.issue(DN, pki.ROBOT)


@pytest.fixture
def anchors(tmp_path: Path, root: pki.Authority, issuing: pki.Authority) -> Path:
    """A directory in which the issuing CA is known by its CRL only: the message must bring its certificate."""
    directory = pki.write_anchors(tmp_path / "certificates", [root, issuing])
    (directory / f"{pki.subject_hash(issuing.name)}.0").unlink()
    return directory


def document(**changes: Any) -> dict[str, Any]:
    content = {
        "dc:identifier": "6c0c9c3d-0a0c-4f0e-9c40-0d9c1a4f2b11",
        "dc:title": "Bilder für alle",
        "dc:date:created": "2026-03-01T12:00:00Z",
        "dc:date:expires": "2026-03-29T12:00:00Z",
        "hv:version": "20260301120000",
        "hv:endorser": {"hv:x509": {"hv:dn": "", "hv:ca": "", "hv:email": "a@b.c", "dc:creator": "A"}},
        "hv:images": [{"hv:image": image()}],
    }
    return {"hv:imagelist": {key: value for key, value in (content | changes).items() if value is not None}}


def image(**changes: Any) -> dict[str, Any]:
    return {
        "dc:identifier": "a",
        "hv:uri": "https://example.org/a.qcow2",
        "hv:size": 5,
        "hv:version": "1",
        "sl:checksum:sha512": "0" * 128,
    } | changes


def verify(command: str, message: bytes, anchors: Path, *extra: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["openssl", command, "-verify", "-CApath", str(anchors), *STRICT, *extra, "-attime", str(int(NOW.timestamp()))],
        input=message,
        capture_output=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("command", ["cms", "smime"])
def test_openssl_verifies_what_is_signed_and_gives_it_back(command: str, robot: SigningIdentity, anchors: Path) -> None:
    message = sign(dump(document()), robot, NOW)

    done = verify(command, message, anchors)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    expected = document()
    expected["hv:imagelist"]["hv:endorser"]["hv:x509"] |= {
        "hv:dn": DN,
        "hv:ca": "/DC=org/DC=example/CN=Example Issuing CA",
    }
    assert found == expected
    assert done.stdout == dump(expected).replace(b"\n", b"\r\n")


CONTENTS = {
    "line feeds": b'{\n "a": 1\n}\n',
    "crlf": b'{\r\n "a": 1\r\n}\r\n',
    "mixed": b'{\r\n "a": 1\n}\n',
    "no last line end": b'{"a": 1}',
    "blank lines at the end": b'{"a": 1}\n\n\n',
    "one very long line": b'{"a": "' + b"x" * 100_000 + b'"}\n',
    "line ends around the buffer of openssl": b"".join(b"y" * n + b"\n" for n in range(1018, 1030)),
    "utf-8": '{"a": "ü ß 研"}\n'.encode(),
    "blanks before line ends": b'{"a": 1}   \n\t\n}',
    "looks like a boundary": b'{\n--------\n"------ABC"\n--\n}\n',
    "empty": b"",
}


@pytest.mark.parametrize("command", ["cms", "smime"])
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_content_comes_back_exactly_but_for_line_ends(
    content: bytes, command: str, robot: SigningIdentity, anchors: Path
) -> None:
    done = verify(command, seal(content, robot, NOW), anchors)

    assert done.returncode == 0, done.stderr
    assert done.stdout == content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    ("curve", "micalg"),
    [(ec.SECP256R1(), b"sha-256"), (ec.SECP384R1(), b"sha-384"), (ec.SECP521R1(), b"sha-512")],
    ids=lambda value: getattr(value, "name", ""),
)
@pytest.mark.parametrize("command", ["cms", "smime"])
def test_openssl_verifies_ecdsa(
    command: str, curve: ec.EllipticCurve, micalg: bytes, issuing: pki.Authority, anchors: Path
) -> None:
    identity = issuing.issue(DN, key=pki.ec_key(curve))

    message = sign(dump(document()), identity, NOW)

    assert b'micalg="' + micalg + b'"' in message
    assert verify(command, message, anchors).returncode == 0


def test_a_host_certificate_signs_and_openssl_takes_it_for_any_purpose(issuing: pki.Authority, anchors: Path) -> None:
    message = sign(dump(document()), issuing.issue(DN, pki.HOST), NOW)

    assert b"unsuitable certificate purpose" in verify("cms", message, anchors).stderr
    assert verify("cms", message, anchors, "-purpose", "any").returncode == 0


def test_one_changed_byte_is_noticed(robot: SigningIdentity, anchors: Path) -> None:
    message = seal(b'{"a": 1}\n', robot, NOW)

    assert verify("cms", message.replace(b'"a": 1', b'"a": 2'), anchors).returncode != 0


def test_the_message_survives_other_line_ends(robot: SigningIdentity, anchors: Path) -> None:
    message = seal(b'{\n "a": 1\n}\n', robot, NOW)

    done = verify("cms", message.replace(b"\r\n", b"\n"), anchors)

    assert done.stdout == b'{\r\n "a": 1\r\n}\r\n'


def test_signed_attributes_are_content_type_signing_time_and_digest(robot: SigningIdentity) -> None:
    printed = printed_message(seal(b"{}", robot, NOW))

    attributes = printed.partition("signedAttrs:")[2].partition("signatureAlgorithm:")[0]
    assert attributes.count("object: ") == 3
    assert "contentType (1.2.840.113549.1.9.3)" in attributes
    assert "messageDigest (1.2.840.113549.1.9.4)" in attributes
    assert "UTCTIME:Mar  1 12:00:00 2026 GMT" in attributes
    assert "eContent: <ABSENT>" in printed
    assert "unsignedAttrs:\n          <ABSENT>" in printed


def test_signing_time_beyond_2049_is_written_as_generalized_time(robot: SigningIdentity) -> None:
    printed = printed_message(seal(b"{}", robot, datetime(2050, 1, 1, tzinfo=UTC)))

    assert "GENERALIZEDTIME:Jan  1 00:00:00 2050 GMT" in printed


def test_rsa_signatures_are_reproducible(robot: SigningIdentity) -> None:
    assert seal(b"{}", robot, NOW) == seal(b"{}", robot, NOW)
    assert seal(b"{}", robot, NOW) != seal(b"{}", robot, NOW + timedelta(seconds=1))


def test_a_complete_document_is_signed_as_it_stands(robot: SigningIdentity) -> None:
    names = {"hv:dn": DN, "hv:ca": "/DC=org/DC=example/CN=Example Issuing CA"}
    text = json.dumps(document(**{"hv:endorser": {"hv:x509": names}}), separators=(",", ":")).encode()

    assert text in sign(text, robot, NOW)


def test_the_endorser_is_filled_where_there_is_none(robot: SigningIdentity) -> None:
    message = sign(dump(document(**{"hv:endorser": {}})), robot, NOW)

    assert f'"hv:dn": "{DN}"'.encode() in message


@pytest.mark.parametrize("key", ["hv:dn", "hv:ca"])
def test_another_endorser_is_an_error(key: str, robot: SigningIdentity) -> None:
    text = dump(document(**{"hv:endorser": {"hv:x509": {key: "/CN=Somebody else"}}}))

    with pytest.raises(ConfigError, match=rf"{key} names /CN=Somebody else"):
        sign(text, robot, NOW)


REFUSED_DOCUMENTS = {
    "no json": (b"<html>", "not usable JSON"),
    "not utf-8": (b'{"hv:imagelist": "\xff"}', "not usable JSON"),
    "key twice": (b'{"hv:imagelist": {}, "hv:imagelist": {}}', "stands twice"),
    "an array": (b"[]", "not a JSON object with hv:imagelist"),
    "endorser is text": (dump(document(**{"hv:endorser": "me"})), "hv:endorser is no object"),
    "no identifier": (dump(document(**{"dc:identifier": None})), "dc:identifier is missing"),
    "expired": (dump(document(**{"dc:date:expires": "2026-03-01T12:00:00Z"})), "dc:date:expires has passed"),
    "from the future": (dump(document(**{"dc:date:created": "2026-03-01T12:00:01Z"})), "in the future"),
    "no time zone": (dump(document(**{"dc:date:expires": "2026-04-01T12:00:00"})), "no date with a time zone"),
    "images no array": (dump(document(**{"hv:images": {}})), "hv:images is no array"),
    "entry no image": (dump(document(**{"hv:images": [5]})), "holds no hv:image"),
    "image twice": (
        dump(document(**{"hv:images": [{"hv:image": image()}, {"hv:image": image()}]})),
        "dc:identifier a stands twice",
    ),
    "bad digest": (
        dump(document(**{"hv:images": [{"hv:image": image(**{"sl:checksum:sha512": "zz"})}]})),
        "not 128 hexadecimal digits",
    ),
    "bad size": (dump(document(**{"hv:images": [{"hv:image": image(**{"hv:size": -1})}]})), "no number of bytes"),
    "no uri": (dump(document(**{"hv:images": [{"hv:image": image(**{"hv:uri": ""})}]})), "hv:uri is missing"),
    "bare carriage return": (b'{"hv:imagelist":\r{}}', "is missing"),
}


@pytest.mark.parametrize(("text", "complaint"), REFUSED_DOCUMENTS.values(), ids=REFUSED_DOCUMENTS.keys())
def test_a_document_that_sites_would_refuse_is_not_signed(text: bytes, complaint: str, robot: SigningIdentity) -> None:
    with pytest.raises(ConfigError, match=complaint):
        sign(text, robot, NOW)


def test_an_empty_list_is_a_list(robot: SigningIdentity) -> None:
    assert sign(dump(document(**{"hv:images": []})), robot, NOW)


def test_all_faults_of_a_document_are_told_at_once(robot: SigningIdentity) -> None:
    text = dump(document(**{"dc:identifier": None, "hv:images": [{"hv:image": image(**{"hv:uri": ""})}]}))

    with pytest.raises(ConfigError) as caught:
        sign(text, robot, NOW)

    assert caught.value.problems == ("dc:identifier is missing", "hv:images[0]: hv:uri is missing")


@pytest.mark.parametrize("content", [b"{\r}", b"{\0}", b"{}\r"], ids=["carriage return", "zero byte", "at the end"])
def test_what_mail_cannot_carry_is_not_sealed(content: bytes, robot: SigningIdentity) -> None:
    with pytest.raises(ConfigError, match="bare carriage return or a zero byte"):
        seal(content, robot, NOW)


@pytest.mark.parametrize(
    ("profile", "complaint"),
    [
        (pki.EXPIRED, "expired on 2026-02-28 12:00:00Z"),
        (pki.FUTURE, "not valid before 2026-03-02 12:00:00Z"),
        (pki.CODE_SIGNING, "extended key usage has no purpose"),
        (pki.ENCIPHERMENT, "its key usage does not allow"),
        (pki.AUTHORITY, "is the certificate of a CA"),
    ],
    ids=["expired", "future", "code signing", "encipherment", "authority"],
)
def test_an_unfit_certificate_is_refused(profile: pki.Profile, complaint: str, issuing: pki.Authority) -> None:
    with pytest.raises(ConfigError, match=complaint):
        sign(dump(document()), issuing.issue(DN, profile), NOW)


@pytest.mark.parametrize("profile", [pki.ROBOT, pki.HOST, pki.PLAIN], ids=["robot", "host", "plain"])
def test_a_fit_certificate_is_accepted(profile: pki.Profile, issuing: pki.Authority) -> None:
    check_identity(issuing.issue(DN, profile, key=pki.ec_key()), NOW)


def test_validity_ends_at_its_last_second(root: pki.Authority) -> None:
    identity = root.issue(DN, replace(pki.ROBOT, ends=timedelta(seconds=1)), key=pki.ec_key())

    check_identity(identity, NOW)
    with pytest.raises(ConfigError, match="expired"):
        check_identity(identity, NOW + timedelta(seconds=1))


def test_a_short_rsa_key_is_refused(issuing: pki.Authority) -> None:
    with pytest.raises(ConfigError, match="RSA with 1024 bits is too weak"):
        sign(dump(document()), issuing.issue(DN, key=pki.rsa_key(1024)), NOW)


def test_another_curve_is_refused(issuing: pki.Authority) -> None:
    with pytest.raises(ConfigError, match="cannot sign lists"):
        sign(dump(document()), issuing.issue(DN, key=pki.ec_key(ec.SECP256K1())), NOW)


def test_a_name_without_unambiguous_form_is_refused(issuing: pki.Authority) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x/O=Somebody else")])

    with pytest.raises(ConfigError, match="sites refuse it"):
        sign(dump(document()), issuing.issue(name, key=pki.ec_key()), NOW)


# --- reading the files ---------------------------------------------------------------------------------------------


def test_an_identity_is_read_with_its_chain(tmp_path: Path, robot: SigningIdentity, anchors: Path) -> None:
    files = pki.write_identity(robot, tmp_path)

    identity = load_identity(files.certificate, files.key, files.chain)

    assert identity.chain == robot.chain
    assert verify("cms", sign(dump(document()), identity, NOW), anchors).returncode == 0


def test_the_chain_may_stand_in_the_certificates_own_file_and_roots_are_left_out(
    tmp_path: Path, robot: SigningIdentity, root: pki.Authority
) -> None:
    files = pki.write_identity(robot, tmp_path)
    with files.certificate.open("ab") as stream:
        for link in (*robot.chain, root.certificate, robot.certificate):
            stream.write(link.public_bytes(Encoding.PEM))

    assert load_identity(files.certificate, files.key).chain == robot.chain


def test_the_passphrase_is_asked_for_only_if_needed(tmp_path: Path, robot: SigningIdentity) -> None:
    asked: list[str] = []

    def passphrase() -> str:
        asked.append("once")
        return "öffne"

    plain = pki.write_identity(robot, tmp_path / "plain")
    load_identity(plain.certificate, plain.key, passphrase=passphrase)
    assert asked == []
    locked = pki.write_identity(robot, tmp_path / "locked", passphrase="öffne")
    load_identity(locked.certificate, locked.key, passphrase=passphrase)
    assert asked == ["once"]


def test_keys_in_the_forms_of_openssl_are_read(tmp_path: Path, robot: SigningIdentity) -> None:
    files = pki.write_identity(robot, tmp_path)
    traditional = tmp_path / "traditional.pem"
    command = ["openssl", "rsa", "-in", files.key, "-traditional", "-aes256", "-passout", "pass:abc", "-out"]
    subprocess.run([*command, traditional], check=True, capture_output=True, timeout=60)

    found = load_identity(files.certificate, traditional, passphrase=lambda: "abc")
    assert found.key.public_key() == robot.key.public_key()


def test_an_encrypted_key_without_or_with_a_wrong_passphrase_is_refused(tmp_path: Path, robot: SigningIdentity) -> None:
    files = pki.write_identity(robot, tmp_path, passphrase="right")

    with pytest.raises(ConfigError, match="is encrypted"):
        load_identity(files.certificate, files.key)
    with pytest.raises(ConfigError, match="passphrase does not open") as caught:
        load_identity(files.certificate, files.key, passphrase=lambda: "wrong-one")
    assert "wrong-one" not in str(caught.value)


def test_somebody_elses_key_is_refused(tmp_path: Path, robot: SigningIdentity, issuing: pki.Authority) -> None:
    files = pki.write_identity(robot, tmp_path)
    other = pki.write_identity(issuing.issue(DN, key=pki.ec_key()), tmp_path, "other")

    with pytest.raises(ConfigError, match="is not the key of"):
        load_identity(files.certificate, other.key)


def test_somebody_elses_chain_is_refused(tmp_path: Path, robot: SigningIdentity, root: pki.Authority) -> None:
    files = pki.write_identity(robot, tmp_path)
    stranger = pki.Authority("/CN=Stranger", NOW, parent=root, key=pki.ec_key())
    chain = tmp_path / "stranger.pem"
    chain.write_bytes(stranger.certificate.public_bytes(Encoding.PEM))

    with pytest.raises(ConfigError, match="no certificate in it issued"):
        load_identity(files.certificate, files.key, chain)


def test_an_ed25519_key_is_refused_by_name(tmp_path: Path, root: pki.Authority) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    certificate, path = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.write_bytes(root.certify(DN, key).public_bytes(Encoding.PEM))
    pki.write_key(path, key)

    with pytest.raises(ConfigError, match="Ed25519"):
        load_identity(certificate, path)


@pytest.mark.parametrize(
    "content", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_files_that_hold_something_else_are_refused(content: bytes, tmp_path: Path, robot: SigningIdentity) -> None:
    files = pki.write_identity(robot, tmp_path)
    other = tmp_path / "other.pem"
    other.write_bytes(content)

    with pytest.raises(ConfigError, match="holds no certificate"):
        load_identity(other, files.key)
    with pytest.raises(ConfigError, match="holds no private key"):
        load_identity(files.certificate, other)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.pem: cannot be read: No such file"):
        load_identity(tmp_path / "absent.pem", tmp_path / "absent.key")


def test_neither_text_form_of_an_identity_shows_the_key(robot: SigningIdentity) -> None:
    assert repr(robot) == "SigningIdentity('CN=Robot - images,O=Robots,DC=example,DC=org')"
    assert str(robot) == repr(robot)


def printed_message(message: bytes) -> str:
    command = ["openssl", "cms", "-cmsout", "-print", "-inform", "SMIME", "-noout"]
    return subprocess.run(command, input=message, capture_output=True, check=True, timeout=60).stdout.decode()
