"""``list sign`` for publishers: renewal, passphrases, keys that only another program has, and checks of its own work."""

import json
import os
import pty
import subprocess
import sys
from datetime import datetime, timedelta

import pytest

from imagesync.testing.pki import EXPIRED, write_identity

SECRET = "pass phrase"


@pytest.fixture
def publisher(provider, tmp_path):
    """Return a function that signs a document of the shaky list's content, and the files it works with."""
    return Publisher(provider, tmp_path)


class Publisher:
    def __init__(self, provider, tmp_path):
        self.provider = provider
        self.keys = provider.trust.files(tmp_path / "keys")
        self.locked = write_identity(provider.trust.endorser, tmp_path / "locked", passphrase=SECRET)
        self.draft, self.out = tmp_path / "draft.json", tmp_path / "out.list"
        self.draft.write_bytes(provider.shaky.content)

    def sign(self, *options, document=None, keys=None, run=None, **environment):
        keys = keys or self.keys
        words = ["list", "sign", document or self.draft, "--cert", keys.certificate, "--out", self.out]
        return (run or self.provider.run)(*words, *options, **environment)

    def with_key(self, *options, **how):
        return self.sign("--key", (how.get("keys") or self.keys).key, *options, **how)

    def verified(self):
        words = ("list", "verify", self.out, "--anchors", self.provider.trust.anchors, "--json")
        result = self.provider.given(*words)
        assert result.code == 0, result.out
        return result.json["list"]


# --- renewal ---
@pytest.mark.parametrize("what", ["JSON", "the signed list"])
def test_a_renewed_list_has_the_same_content_and_new_version_and_dates(publisher, what):
    site = publisher.provider
    site.shaky.created = site.trust.now - timedelta(days=20)
    site.shaky.publish()
    publisher.draft.write_bytes(site.shaky.content if what == "JSON" else site.shaky.message)

    result = publisher.with_key("--renew", "--json")

    old, new = json.loads(site.shaky.content)["hv:imagelist"], publisher.verified()
    assert (result.code, new["identifier"]) == (0, old["dc:identifier"])
    assert [one["sha512"] for one in new["images"]] == [
        holder["hv:image"]["sl:checksum:sha512"] for holder in old["hv:images"]
    ]
    assert int(new["version"]) > int(old["hv:version"])
    created, expires = (datetime.fromisoformat(new[key]) for key in ("created", "expires"))
    assert expires - created == timedelta(days=28)
    assert created >= site.trust.now


def test_a_renewed_list_is_accepted_where_the_old_one_was(synced, tmp_path):
    publisher = Publisher(synced, tmp_path)
    publisher.draft.write_bytes(synced.shaky.message)
    assert publisher.with_key("--renew").code == 0
    synced.shaky.publish_bytes(publisher.out.read_bytes())

    result = synced.sync()

    assert (result.code, result.list("shaky")["verdict"]) == (0, "trusted")
    assert {kind for kind, _ in result.done()} == {"update"}


def test_a_list_is_renewed_twice_in_a_second(publisher):
    assert publisher.with_key("--renew", run=publisher.provider.given).code == 0
    first = publisher.verified()["version"]
    publisher.draft.write_bytes(publisher.out.read_bytes())
    assert publisher.with_key("--renew", "--days", "3", run=publisher.provider.given).code == 0

    second = publisher.verified()
    created, expires = (datetime.fromisoformat(second[key]) for key in ("created", "expires"))
    assert int(second["version"]) > int(first)
    assert expires - created == timedelta(days=3)


def test_what_somebody_else_signed_is_not_renewed(publisher):
    site = publisher.provider
    site.shaky.publish(signer=site.trust.colleague)
    publisher.draft.write_bytes(site.shaky.message)

    result = publisher.with_key("--renew")

    assert (result.code, publisher.out.exists()) == (2, False)
    assert "another certificate signed it" in result.err


def test_what_was_changed_since_is_not_renewed(publisher):
    publisher.draft.write_bytes(publisher.provider.shaky.message.replace(b"shaky-1", b"shaky-X"))

    result = publisher.with_key("--renew")

    assert (result.code, "not what was signed" in result.err) == (2, True)


# --- what is checked ---
def test_the_result_is_verified_as_a_site_would(publisher):
    result = publisher.with_key("--anchors", publisher.provider.trust.anchors, "--json")

    assert (result.code, result.json["verified"]) == (0, "trusted")


def test_a_result_that_sites_would_refuse_is_not_written(publisher, tmp_path):
    stranger = write_identity(publisher.provider.trust.stranger, tmp_path / "stranger")
    document = json.loads(publisher.provider.shaky.content)
    document["hv:imagelist"]["hv:endorser"] = {}
    publisher.draft.write_text(json.dumps(document))

    result = publisher.with_key("--anchors", publisher.provider.trust.anchors, keys=stranger)

    assert (result.code, publisher.out.exists()) == (2, False)
    assert "a site would refuse it: untrusted-signer" in result.err


def test_an_expired_certificate_does_not_sign(publisher, tmp_path):
    from imagesync.testing.pki import Authority, ec_key

    authority = Authority("/DC=org/DC=example/CN=CA", publisher.provider.trust.now, key=ec_key())
    old = write_identity(authority.issue("/DC=org/CN=old", EXPIRED, key=ec_key()), tmp_path / "old")

    result = publisher.with_key(keys=old)

    assert (result.code, publisher.out.exists(), "expired on" in result.err) == (2, False, True)


# --- passphrases ---
def test_a_passphrase_comes_from_a_file_that_others_cannot_read(publisher, tmp_path):
    file = tmp_path / "passphrase"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o644)
    assert "everybody may read it" in publisher.with_key("--passphrase-file", file, keys=publisher.locked).err
    file.chmod(0o600)

    assert publisher.with_key("--passphrase-file", file, keys=publisher.locked).code == 0
    publisher.verified()


def test_a_passphrase_comes_from_the_environment(publisher):
    result = publisher.with_key("--passphrase-env", "ENDORSER", keys=publisher.locked, ENDORSER=SECRET)

    assert (result.code, SECRET in result.out + result.err) == (0, False)


def test_a_passphrase_comes_from_a_systemd_credential(publisher, tmp_path):
    (tmp_path / "endorser").write_text(SECRET)
    (tmp_path / "endorser").chmod(0o600)
    options = ("--passphrase-credential", "endorser")

    assert publisher.with_key(*options, keys=publisher.locked, CREDENTIALS_DIRECTORY=str(tmp_path)).code == 0


def test_a_passphrase_is_asked_for_on_a_terminal_and_not_shown(publisher):
    ours, theirs = pty.openpty()
    keys = publisher.locked
    words = ["list", "sign", publisher.draft, "--cert", keys.certificate, "--key", keys.key, "--out", publisher.out]
    command = [sys.executable, "-m", "imagesync", *map(str, words)]
    with subprocess.Popen(command, stdin=theirs, stderr=theirs, stdout=theirs, start_new_session=True) as process:
        os.close(theirs)
        shown = b""
        while b"Passphrase of the key:" not in shown:
            shown += os.read(ours, 1024)
        os.write(ours, f"{SECRET}\n".encode())
        assert process.wait(60) == 0
    os.close(ours)
    assert SECRET.encode() not in shown
    publisher.verified()


@pytest.mark.parametrize("given", [(), ("--passphrase-env", "ABSENT"), ("--passphrase-env", "WRONG")])
def test_without_the_right_passphrase_nothing_is_signed(publisher, given):
    result = publisher.with_key(*given, keys=publisher.locked, WRONG="wrong one")

    assert (result.code, publisher.out.exists()) == (2, False)


# --- keys on tokens ---
def test_a_prepared_list_that_openssl_signs_is_accepted(publisher):
    document = json.loads(publisher.provider.shaky.content)
    document["hv:imagelist"]["hv:endorser"] = {}
    publisher.draft.write_text(json.dumps(document))
    prepared = publisher.out.with_name("prepared.json")

    result = publisher.sign("--prepare", "--json")
    os.replace(publisher.out, prepared)

    assert (result.code, result.json["verified"]) == (0, "nothing")
    words = ["openssl", "cms", "-sign", "-md", "sha256", "-in", prepared, "-signer", publisher.keys.certificate]
    subprocess.run([*words, "-inkey", publisher.keys.key, "-out", publisher.out], check=True, capture_output=True)
    assert publisher.verified()["identifier"] == publisher.provider.shaky.identifier


@pytest.mark.parametrize("options", [(), ("--days", "3"), ("--crls", "."), ("--crl", "off")])
def test_what_is_missing_or_means_nothing_is_wrong_usage(publisher, options):
    result = publisher.with_key(*options) if options else publisher.sign()

    assert (result.code, publisher.out.exists()) == (2, False)
