import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.serialization import Encoding

from imagesync.errors import TrustStoreUnusableError, UntrustedSignerError
from imagesync.lists import anchors as anchors_module
from imagesync.lists.anchors import Anchors, CrlMode, is_self_signed, load_anchors
from imagesync.lists.filenames import file_stems, subject_hash
from imagesync.lists.names import comparable, render
from imagesync.lists.path import build_path

OLD = "/DC=test/DC=imagesync/CN=Old CA"


@pytest.fixture
def directory(fixtures: Path, tmp_path: Path) -> Path:
    """Return a copy of the fixtures' anchors that may be changed."""
    return shutil.copytree(fixtures / "trust" / "anchors", tmp_path / "anchors")


def file_of(directory: Path, name: str) -> Path:
    """Return the file of the CA with this common name."""
    for path in sorted(directory.glob("*.0")):
        if f"CN={name},".encode() in _subject(path) + b",":
            return path
    raise AssertionError(name)


def _subject(path: Path) -> bytes:
    from imagesync.lists.anchors import serial_zero_tolerated

    with serial_zero_tolerated():
        return x509.load_pem_x509_certificate(path.read_bytes()).subject.rfc4514_string().encode()


def names(certificates: Iterable[x509.Certificate]) -> set[str]:
    return {render(certificate.subject) for certificate in certificates}


def test_only_self_signed_cas_are_roots(directory: Path) -> None:
    anchors = load_anchors(directory)

    assert "/DC=test/DC=imagesync/CN=Subordinate CA" in names(anchors.subordinates)
    assert all(root.subject == root.issuer for root in anchors.roots)
    assert "/DC=test/DC=imagesync/CN=Root CA" in names(anchors.roots)
    assert not names(anchors.roots) & names(anchors.subordinates)


def test_a_root_with_serial_number_0_loads_without_a_warning(directory: Path) -> None:
    # With -W error the library's deprecation warning would fail this test.
    assert OLD in names(load_anchors(directory).roots)


def test_both_hash_styles_may_point_to_one_ca(directory: Path) -> None:
    before = load_anchors(directory)
    root = file_of(directory, "Root CA")
    (directory / "0000aaaa.0").symlink_to(root)
    (directory / "0000aaaa.r0").symlink_to(root.with_suffix(".r0"))

    anchors = load_anchors(directory)

    assert len(anchors.roots) == len(before.roots)
    issuer = next(ca for ca in anchors.roots if "CN=Root CA" in ca.subject.rfc4514_string()).subject
    assert len(anchors.crls[comparable(issuer)]) == 1


def test_files_in_der_are_as_good_as_in_pem(directory: Path) -> None:
    before = load_anchors(directory)
    root = file_of(directory, "Root CA")
    root.write_bytes(x509.load_pem_x509_certificate(root.read_bytes()).public_bytes(Encoding.DER))
    crl = root.with_suffix(".r0")
    crl.write_bytes(x509.load_pem_x509_crl(crl.read_bytes()).public_bytes(Encoding.DER))

    after = load_anchors(directory)

    assert (after.roots, after.crls) == (before.roots, before.crls)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("0000aaaa.0", b"rubbish", "0000aaaa.0: not understood"),
        ("0000aaaa.0", b"-----BEGIN CERTIFICATE-----\n", "0000aaaa.0: not understood"),
        ("0000aaaa.0", b"x" * 300_000, "0000aaaa.0: larger than 262144 bytes"),
        ("0000aaaa.r0", b"rubbish", "0000aaaa.r0: not understood: "),
    ],
)
def test_a_bad_file_is_named_and_costs_nothing_else(directory: Path, name: str, content: bytes, text: str) -> None:
    before = load_anchors(directory)
    (directory / name).write_bytes(content)

    after = load_anchors(directory)

    assert after.roots == before.roots
    assert any(warning.startswith(text) for warning in after.warnings)


def test_a_file_with_one_certificate_is_nothing_to_warn_about(directory: Path) -> None:
    assert "several certificates" not in str(load_anchors(directory).warnings)


def test_files_of_another_kind_are_nothing_to_warn_about(directory: Path) -> None:
    before = load_anchors(directory).warnings
    for name in ("README", "0000aaaa.info", "0000aaaa.crl_url", "0000aaaa.r0.new"):
        (directory / name).write_bytes(b"whatever")

    assert load_anchors(directory).warnings == before


def test_a_file_may_be_as_large_as_the_limit(directory: Path) -> None:
    before = load_anchors(directory)
    root = file_of(directory, "Root CA")
    root.write_bytes(root.read_bytes().rstrip() + b"\n" + b"\n" * 300_000)
    os.truncate(root, anchors_module.MAX_CA_BYTES)
    assert load_anchors(directory).roots == before.roots

    root.write_bytes(root.read_bytes() + b"\n")
    assert f"{root.name}: larger than 262144 bytes" in load_anchors(directory).warnings


@pytest.mark.parametrize(
    ("place", "old", "new"),
    [
        pytest.param(-1, bytes.fromhex("06092a864886f70d010101"), bytes.fromhex("06092a864886f70d01017f"), id="key"),
        pytest.param(1, b"Root CA", b"\xffoot CA", id="issuer"),
    ],
)
def test_a_ca_with_a_key_or_an_issuer_that_nobody_can_read_is_named(
    directory: Path, place: int, old: bytes, new: bytes
) -> None:
    before = load_anchors(directory)
    der = x509.load_pem_x509_certificate(file_of(directory, "Root CA").read_bytes()).public_bytes(Encoding.DER)
    parts = der.split(old)
    der = old.join(parts[:place]) + new + old.join(parts[place:])
    (directory / "00000001.0").write_bytes(der)

    after = load_anchors(directory)

    assert names(after.roots) == names(before.roots)
    (warning,) = set(after.warnings) - set(before.warnings)
    assert warning.startswith("00000001.0: ")


def test_a_ca_that_the_library_reads_in_part_only_costs_nothing_else(directory: Path) -> None:
    before = load_anchors(directory)
    old = next(directory.glob("*.signing_policy")).with_suffix(".0")
    der = x509.load_pem_x509_certificate(old.read_bytes()).public_bytes(Encoding.DER)
    basic_constraints, key_usage = bytes.fromhex("0603551d13"), bytes.fromhex("0603551d0f")
    assert der.count(key_usage) == 1
    (directory / "00000001.0").write_bytes(der.replace(key_usage, basic_constraints))

    after = load_anchors(directory)

    assert names(after.roots) == names(before.roots)
    (warning,) = set(after.warnings) - set(before.warnings)
    assert warning.startswith("00000001.0: not understood: ")


def test_rules_stand_also_beside_the_file_that_openssl_rehash_links_to(directory: Path) -> None:
    policies = directory.glob("*.signing_policy")
    policy = next(file for file in policies if not file.with_suffix(".namespaces").exists())
    authority = policy.with_suffix(".0")
    name = render(x509.load_pem_x509_certificate(authority.read_bytes()).subject)
    authority.rename(directory / "Named.pem")
    authority.symlink_to("Named.pem")
    text = policy.read_bytes()
    policy.unlink()
    assert name not in load_anchors(directory).rules
    (directory / "Named.signing_policy").write_bytes(text)

    anchors = load_anchors(directory)

    assert name in anchors.rules


def test_a_link_to_nothing_is_named(directory: Path) -> None:
    (directory / "0000aaaa.0").symlink_to("gone.pem")

    assert "0000aaaa.0: it is no regular file, or a link to nothing" in load_anchors(directory).warnings


@pytest.mark.parametrize("label", ["endorser", "plain"])
def test_a_certificate_that_is_no_ca_is_no_anchor(directory: Path, people: Mapping[str, Any], label: str) -> None:
    (directory / "0000aaaa.0").write_bytes(people[label].certificate.public_bytes(Encoding.PEM))

    assert "0000aaaa.0: the certificate is not one of a CA" in load_anchors(directory).warnings


def test_a_ca_whose_name_is_ambiguous_is_named(directory: Path, forge: ModuleType, pki: ModuleType) -> None:
    ca = forge.certify(pki._ambiguous(), pki.ec_key("x"), forge.Wish(ca=True))
    (directory / "0000aaaa.0").write_bytes(ca.certificate.public_bytes(Encoding.PEM))

    assert any("0000aaaa.0: the value of O" in warning for warning in load_anchors(directory).warnings)


def test_rules_come_from_namespaces_over_signing_policy(anchors: Anchors) -> None:
    name = "/DC=test/DC=imagesync/CN=CA with namespaces"
    (rules,) = anchors.rules[name][name]

    assert rules.file.endswith(".namespaces")
    assert not rules.permit("/DC=test/DC=imagesync/O=forbidden/CN=x")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'TO Issuer "/CN=other" PERMIT Subject ".*"', "it has no rule for this CA"),
        (b"\xff", "it is not UTF-8"),
        (b"?", "not understood"),
    ],
)
def test_a_ca_with_rules_that_do_not_work_is_not_used_and_named(directory: Path, content: bytes, text: str) -> None:
    root = file_of(directory, "Root CA")
    root.with_suffix(".namespaces").write_bytes(content)

    anchors = load_anchors(directory)

    assert text in anchors.skipped["/DC=test/DC=imagesync/CN=Root CA"]
    assert "/DC=test/DC=imagesync/CN=Root CA" not in names(anchors.roots)
    assert any("CN=Root CA is not used" in warning and text in warning for warning in anchors.warnings)


def test_a_file_that_cannot_be_read_is_named(directory: Path) -> None:
    (directory / "0000aaaa.0").symlink_to("/proc/self/mem")  # even root gets an I/O error from it

    assert "0000aaaa.0: cannot be read: Input/output error" in load_anchors(directory).warnings


def test_a_ca_whose_rules_cannot_be_read_is_not_used(directory: Path) -> None:
    file_of(directory, "Root CA").with_suffix(".namespaces").symlink_to("/proc/self/mem")

    assert "Input/output error" in load_anchors(directory).skipped["/DC=test/DC=imagesync/CN=Root CA"]


def test_a_certificate_without_basic_constraints_is_no_anchor(
    directory: Path, forge: ModuleType, pki: ModuleType
) -> None:
    key = pki.ec_key("v3 without")
    name = forge.name("/CN=without")
    builder = x509.CertificateBuilder(name, name, key.public_key(), 5, forge.NOT_BEFORE, forge.NOT_AFTER)
    (directory / "0000aaaa.0").write_bytes(forge.sign_builder(builder, key).public_bytes(Encoding.PEM))

    assert "0000aaaa.0: the certificate is not one of a CA" in load_anchors(directory).warnings


def test_rules_that_cannot_be_read_are_no_permission(directory: Path) -> None:
    root = file_of(directory, "Root CA")
    root.with_suffix(".namespaces").mkdir()

    assert "/DC=test/DC=imagesync/CN=Root CA" in load_anchors(directory).skipped


def test_a_missing_directory_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(TrustStoreUnusableError, match=r"cannot be read: No such file.*igtf-policy") as error:
        load_anchors(tmp_path / "none")

    assert error.value.subject == str(tmp_path / "none")


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(TrustStoreUnusableError, match="Not a directory"):
        load_anchors(tmp_path / "file")


def test_an_empty_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrustStoreUnusableError, match=r"no usable root CA.*no file is named <hash>\.0"):
        load_anchors(tmp_path)


def test_a_directory_with_only_a_subordinate_is_an_error(directory: Path, tmp_path: Path) -> None:
    only = tmp_path / "only"
    only.mkdir()
    shutil.copy(file_of(directory, "Subordinate CA"), only)

    with pytest.raises(TrustStoreUnusableError, match="no usable root CA"):
        load_anchors(only)


def test_a_directory_with_only_bad_files_names_the_first(tmp_path: Path) -> None:
    (tmp_path / "0000aaaa.0").write_bytes(b"?")
    (tmp_path / "0000aaab.0").write_bytes(b"?")

    with pytest.raises(TrustStoreUnusableError, match=r"0000aaaa\.0: not understood"):
        load_anchors(tmp_path)


def test_a_directory_of_something_else_is_refused_early(tmp_path: Path) -> None:
    for number in range(10_000):
        os.close(os.open(tmp_path / str(number), os.O_CREAT))
    with pytest.raises(TrustStoreUnusableError, match="no usable root CA"):
        load_anchors(tmp_path)
    (tmp_path / "one more").touch()

    with pytest.raises(TrustStoreUnusableError, match="more than 10000 files"):
        load_anchors(tmp_path)


def test_the_limits_are_those_that_the_documentation_gives() -> None:
    assert (anchors_module.MAX_FILES, anchors_module.MAX_CA_BYTES) == (10_000, 262_144)
    assert anchors_module.MAX_CRL_BYTES == 67_108_864


def test_modes_are_what_a_configuration_says() -> None:
    assert {mode.value for mode in CrlMode} == {"require", "if-present", "off"}


def broken_link(file: Path, kind: str) -> None:
    """Put a link there that leads nowhere, to itself, or to what cannot be read."""
    file.unlink(missing_ok=True)
    file.symlink_to({"dangling": "gone", "loop": file.name, "unreadable": "/proc/self/mem"}[kind])


@pytest.mark.parametrize("kind", ["dangling", "loop", "unreadable"])
@pytest.mark.parametrize("suffix", [".namespaces", ".signing_policy"])
def test_rules_that_are_a_link_to_nowhere_are_no_permission(directory: Path, suffix: str, kind: str) -> None:
    root = file_of(directory, "Root CA")
    broken_link(root.with_suffix(suffix), kind)

    anchors = load_anchors(directory)

    assert root.with_suffix(suffix).name in anchors.skipped["/DC=test/DC=imagesync/CN=Root CA"]
    assert "/DC=test/DC=imagesync/CN=Root CA" not in names(anchors.roots)


def test_every_crl_of_a_file_is_read(directory: Path, cas: Mapping[str, Any], forge: ModuleType) -> None:
    file = file_of(directory, "Root CA").with_suffix(".r0")
    second = forge.revocation_list(cas["root"], forge.CrlWish(revoked=(cas["short"].certificate,)))
    file.write_bytes(b"Issuer: me\n" + file.read_bytes() + second.public_bytes(Encoding.PEM))

    anchors = load_anchors(directory)

    first, last = anchors.crls[comparable(cas["root"].certificate.subject)]
    assert (len(first), last) == (1, second)


def test_a_bad_crl_of_a_file_is_named_and_the_others_count(directory: Path, cas: Mapping[str, Any]) -> None:
    file = file_of(directory, "Root CA").with_suffix(".r0")
    before = load_anchors(directory)
    file.write_bytes(file.read_bytes() + b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n")

    after = load_anchors(directory)

    assert after.crls == before.crls
    assert any(line.startswith(f"{file.name}: not understood (number 2 in it): ") for line in after.warnings)


def test_a_file_of_more_crls_than_anybody_needs_is_named(directory: Path) -> None:
    file = file_of(directory, "Root CA").with_suffix(".r0")
    file.write_bytes(file.read_bytes() * 100)
    assert not any(line.startswith(file.name) for line in load_anchors(directory).warnings)
    file.write_bytes(file.read_bytes() + file.read_bytes())

    assert f"{file.name}: it holds more than 100 CRLs" in load_anchors(directory).warnings


def test_several_certificates_in_a_file_are_named(directory: Path) -> None:
    root = file_of(directory, "Root CA")
    before = load_anchors(directory)
    root.write_bytes(root.read_bytes() + file_of(directory, "Old CA").read_bytes())

    after = load_anchors(directory)

    assert names(after.roots) == names(before.roots)
    assert f"{root.name}: it holds several certificates, of which only the first is used" in after.warnings


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"-----BEGIN X509 CRL-----\nMAA=\n", "dangling", "loop", "unreadable"]
)
def test_a_file_for_a_crl_that_holds_none_is_remembered(
    directory: Path, cas: Mapping[str, Any], content: bytes | str
) -> None:
    file = file_of(directory, "Root CA").with_suffix(".r0")
    if isinstance(content, str):
        broken_link(file, content)
    else:
        file.write_bytes(content)

    unread = load_anchors(directory).unread

    assert set(unread) == {comparable(cas["root"].certificate.subject)}
    assert next(iter(unread.values())).startswith(f"{file.name}: ")


def test_the_crl_of_another_ca_in_the_place_of_its_own_is_remembered(directory: Path, cas: Mapping[str, Any]) -> None:
    root, other = file_of(directory, "Root CA"), file_of(directory, "Subordinate CA")
    shutil.copy(other.with_suffix(".r0"), root.with_suffix(".r0"))

    unread = load_anchors(directory).unread

    assert list(unread) == [comparable(cas["root"].certificate.subject)]
    assert "is the CRL of another CA" in next(iter(unread.values()))


def test_nothing_is_remembered_of_files_that_hold_what_they_should(directory: Path) -> None:
    root = file_of(directory, "Root CA")
    (directory / "0000aaaa.0").symlink_to(root)
    (directory / "0000aaaa.r0").symlink_to(root.with_suffix(".r0"))

    assert load_anchors(directory).unread == {}


def test_the_rules_of_two_cas_of_one_name_both_count(directory: Path, cas: Mapping[str, Any]) -> None:
    root = "/DC=test/DC=imagesync/CN=Root CA"
    for stem, certificate in (("0000aaaa", cas["root"].certificate), ("0000aaab", cas["impostor"].certificate)):
        (directory / f"{stem}.0").write_bytes(certificate.public_bytes(Encoding.PEM))
        (directory / f"{stem}.namespaces").write_text(f'TO Issuer SELF PERMIT Subject "/CN={stem}"')

    rules = load_anchors(directory).rules[root][root]

    assert [one.file for one in rules] == ["0000aaaa.namespaces", "0000aaab.namespaces"]


def test_who_signed_decides_where_identifiers_do_not_say_what_is_self_signed(corpus_ground: ModuleType) -> None:
    own = corpus_ground.authority("Own")
    other = corpus_ground.ec_key("other")
    nameless = x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(own.certificate.subject)], 1), False
    below = {"issuer": own, "key": other}

    def is_root(how: Mapping[str, Any], **changes: Any) -> bool:
        return is_self_signed(corpus_ground.authority("Own", **how, **changes).certificate)

    assert (is_root({}), is_root(below)) == (True, False)
    assert (is_root({}, authority_id=nameless), is_root(below, authority_id=nameless)) == (True, False)
    for absent in ("authority_id", "subject_id"):
        assert (is_root({}, **{absent: None}), is_root(below, **{absent: None})) == (True, False)
    assert not is_root({"issuer": own, "key": x25519.X25519PrivateKey.generate()}, authority_id=None)
    ecdsa_with_sha256, unknown = bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d040309")
    der = corpus_ground.authority("Own", authority_id=None).der.replace(ecdsa_with_sha256, unknown)
    assert not is_self_signed(x509.load_der_x509_certificate(der))


def test_a_ca_whose_rules_cannot_be_looked_for_is_not_used(directory: Path, corpus_ground: ModuleType) -> None:
    file = directory / ("x" * 250 + ".pem")  # with .namespaces at its end no system has such a name
    file.write_bytes(corpus_ground.authority("Long").certificate.public_bytes(Encoding.PEM))
    (directory / "00000001.0").symlink_to(file)

    anchors = load_anchors(directory)

    assert "cannot be read: File name too long" in anchors.skipped["/DC=test/DC=imagesync/CN=Long"]


def test_a_ca_is_not_used_where_the_rules_of_another_of_its_name_are_broken(
    directory: Path, corpus_ground: ModuleType
) -> None:
    for number in (1, 2):
        ca = corpus_ground.authority("Twin", key=corpus_ground.ec_key(f"twin {number}"))
        (directory / f"0000000{number}.0").write_bytes(ca.certificate.public_bytes(Encoding.PEM))
    assert "/DC=test/DC=imagesync/CN=Twin" in names(load_anchors(directory).roots)
    (directory / "00000001.namespaces").write_text("rubbish")

    assert "/DC=test/DC=imagesync/CN=Twin" not in names(load_anchors(directory).roots)


# --- rules beside a certificate that is spoilt or gone ---
SUBORDINATE = "/DC=test/DC=imagesync/CN=Subordinate CA"


def permit(file: Path, name: str, subject: str) -> None:
    file.with_suffix(".signing_policy").write_text(
        f"access_id_CA X509 '{name}'\npos_rights globus CA:sign\ncond_subjects globus '\"{subject}\"'\n"
    )


def spoil(file: Path, how: str) -> None:
    """Do to a CA's file what a full disk, a mistake or somebody with a purpose may do to it."""
    data = file.read_bytes()
    file.unlink()
    match how:
        case "truncated":
            file.write_bytes(data[:200])
        case "empty":
            file.touch()
        case "dangling" | "loop" | "unreadable":
            broken_link(file, how)
        case "no file":
            file.symlink_to("/")


@pytest.mark.parametrize("how", ["truncated", "empty", "dangling", "loop", "unreadable", "no file", "gone"])
@pytest.mark.parametrize("suffix", [".signing_policy", ".namespaces"])
def test_a_ca_whose_certificate_is_spoilt_is_not_freed_of_its_rules(directory: Path, how: str, suffix: str) -> None:
    file = file_of(directory, "Subordinate CA")
    if suffix == ".signing_policy":
        permit(file, SUBORDINATE, "/O=good/*")
    else:
        file.with_suffix(suffix).write_text(f'TO Issuer "{SUBORDINATE}" PERMIT Subject "/O=good/.*"')
    before = load_anchors(directory)
    spoil(file, how)

    after = load_anchors(directory)

    assert set(after.skipped) - set(before.skipped) == {SUBORDINATE}
    assert f"{file.stem}{suffix}: the certificate of this CA is not beside it" in after.skipped[SUBORDINATE]
    assert any(f"the CA {SUBORDINATE} is not used: its certificate" in line for line in after.warnings)
    assert after.roots == before.roots


def test_a_ca_whose_certificate_is_spoilt_is_refused_where_a_message_carries_it(
    directory: Path, people: Mapping[str, Any], cas: Mapping[str, Any], now: datetime
) -> None:
    file = file_of(directory, "Subordinate CA")
    permit(file, SUBORDINATE, "/DC=test/*")
    signer, carried = people["under-subordinate"].certificate, (cas["subordinate"].certificate,)
    build_path(signer, carried, load_anchors(directory), now)
    spoil(file, "truncated")

    with pytest.raises(UntrustedSignerError, match=r"this CA is not used: .*\.signing_policy: the certificate"):
        build_path(signer, carried, load_anchors(directory), now)


def test_the_certificate_of_another_ca_does_not_free_the_one_whose_file_it_takes(directory: Path) -> None:
    file = file_of(directory, "Subordinate CA")
    permit(file, SUBORDINATE, "/O=good/*")
    file.write_bytes(file_of(directory, "Old CA").read_bytes())

    assert {SUBORDINATE, OLD} <= set(load_anchors(directory).skipped)


def test_a_ca_that_is_there_under_one_hash_is_bound_by_the_rules_under_the_other(directory: Path) -> None:
    file = file_of(directory, "Subordinate CA")
    other = directory / "0000aaaa.0"
    shutil.copy(file, other)
    permit(other, SUBORDINATE, "/O=good/*")
    before = load_anchors(directory)
    spoil(other, "truncated")

    after = load_anchors(directory)

    assert (after.skipped, names(after.subordinates)) == (before.skipped, names(before.subordinates))
    assert after.rules[SUBORDINATE] == before.rules[SUBORDINATE]


def test_namespaces_win_over_a_signing_policy_also_under_a_hash_without_a_certificate(directory: Path) -> None:
    other = directory / "0000aaaa.0"
    permit(other, SUBORDINATE, "/O=bad/*")
    other.with_suffix(".namespaces").write_text(f'TO Issuer "{SUBORDINATE}" PERMIT Subject "/O=good/.*"')

    (rules,) = load_anchors(directory).rules[SUBORDINATE][SUBORDINATE]

    assert rules.file == "0000aaaa.namespaces"


@pytest.mark.parametrize("how", ["truncated", "gone"])
def test_rules_count_that_stand_beside_what_a_broken_link_leads_to(directory: Path, tmp_path: Path, how: str) -> None:
    file, packaged = file_of(directory, "Subordinate CA"), tmp_path / "packaged"
    packaged.mkdir()
    file.rename(packaged / "Named.pem")
    file.symlink_to(packaged / "Named.pem")
    permit(packaged / "Named.pem", SUBORDINATE, "/O=good/*")
    assert SUBORDINATE in load_anchors(directory).rules
    spoil(packaged / "Named.pem", how)

    assert SUBORDINATE in load_anchors(directory).skipped


def test_rules_that_links_share_with_a_certificate_are_read_once(directory: Path) -> None:
    file = file_of(directory, "Subordinate CA")
    file.rename(directory / "Named.pem")
    file.symlink_to("Named.pem")
    permit(directory / "Named.pem", SUBORDINATE, "/O=good/*")
    file.with_suffix(".signing_policy").symlink_to("Named.signing_policy")
    (directory / "0000aaaa.signing_policy").symlink_to("Named.signing_policy")

    anchors = load_anchors(directory)

    assert len(anchors.rules[SUBORDINATE][SUBORDINATE]) == 1
    assert SUBORDINATE not in anchors.skipped


RUBBISH = {
    "empty": "",
    "cut short": f"access_id_CA X509 '{SUBORDINATE}'",
    "of nobody": 'TO Issuer SELF PERMIT Subject "/O=good/.*"',
}


@pytest.mark.parametrize("what", RUBBISH)
@pytest.mark.parametrize("style", ["new", "old"])
@pytest.mark.parametrize("how", ["empty", "gone"])
def test_a_ca_is_refused_by_its_hash_where_its_rules_are_spoilt_with_its_certificate(
    directory: Path, people: Mapping[str, Any], cas: Mapping[str, Any], now: datetime, what: str, style: str, how: str
) -> None:
    file = file_of(directory, "Subordinate CA")
    subject = cas["subordinate"].certificate.subject
    (old,) = file_stems(subject) - {subject_hash(subject)}
    if style == "old":
        file = file.rename(directory / f"{old}.0")
    suffix = ".namespaces" if what == "of nobody" else ".signing_policy"
    spoil(file, how)
    signer, carried = people["under-subordinate"].certificate, (cas["subordinate"].certificate,)
    before = load_anchors(directory)
    build_path(signer, carried, before, now)
    file.with_suffix(suffix).write_text(RUBBISH[what])

    anchors = load_anchors(directory)

    assert set(anchors.nameless) - set(before.nameless) == {file.stem}
    assert any(line.startswith(f"{file.stem}{suffix}: ") for line in anchors.warnings)
    with pytest.raises(UntrustedSignerError, match=rf"this CA is not used: {file.stem}{suffix}: ") as refused:
        build_path(signer, carried, anchors, now)
    assert refused.value.subject == SUBORDINATE


def test_rules_that_are_spoilt_with_what_a_link_leads_to_cost_the_ca_of_the_link(directory: Path) -> None:
    file = file_of(directory, "Subordinate CA")
    file.rename(directory / "Named.pem")
    file.symlink_to("Named.pem")
    spoil(directory / "Named.pem", "empty")
    (directory / "Named.signing_policy").touch()

    assert file.stem in load_anchors(directory).nameless


def test_both_hashes_of_a_name_are_those_that_openssl_makes(directory: Path) -> None:
    file = file_of(directory, "Subordinate CA")
    words = ["openssl", "x509", "-in", file, "-noout", "-subject_hash", "-subject_hash_old"]
    made = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout.split()

    assert file_stems(x509.load_pem_x509_certificate(file.read_bytes()).subject) == set(made)
