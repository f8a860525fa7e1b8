"""``imagesync list``: verify, show, make, sign, reset - with the real openssl as the other side."""

import json
import re
import shutil
import subprocess
from datetime import timedelta

import pytest

from imagesync.testing.faults import Endless, Status, html_page
from imagesync.testing.pki import write_anchors

DN, CA = "/DC=org/DC=example/CN=Robot: endorser", "/DC=org/DC=example/CN=Test CA"
LARGE = 17 << 20


@pytest.fixture
def message(provider):
    """Return the signed list in a file."""
    path = provider.root / "image.list"
    path.write_bytes(provider.shaky.message)
    return path


@pytest.fixture
def verify(provider):
    """Return ``list verify --json`` with the site's anchors."""

    def run(source, *options, stdin=b""):
        return provider.given(
            "list", "verify", source, "--anchors", provider.trust.anchors, "--json", *options, stdin=stdin
        )

    return run


# --- verify: what it says ---
def test_a_trusted_list_is_described_in_json(verify, message, provider):
    result = verify(message, "--endorser-dn", DN, "--endorser-ca", CA, "--vo", "shaky.example.org")

    verdict = result.json
    assert (result.code, verdict["verdict"], verdict["reason"], verdict["pinned"]) == (0, "trusted", "", True)
    assert (verdict["signer"]["dn"], verdict["signer"]["ca"]) == (DN, CA)
    assert verdict["signer"]["not_after"].endswith("Z")
    found = verdict["list"]
    assert (found["identifier"], found["vo"], found["version"]) == (provider.shaky.identifier, "shaky.example.org", "1")
    assert found["created"] == f"{provider.trust.now:%Y-%m-%dT%H:%M:%SZ}"
    assert found["expires"] == f"{provider.trust.now + timedelta(days=28):%Y-%m-%dT%H:%M:%SZ}"
    assert [image["title"] for image in found["images"]] == ["shaky-1", "shaky-2"]


def test_without_an_endorser_the_text_says_that_nobody_checked_it(provider, message):
    result = provider.run("list", "verify", message, "--anchors", provider.trust.anchors)

    assert (result.code, result.err) == (0, "")
    assert "trusted, endorser NOT checked" in result.out
    assert DN in result.out
    assert "version 1" in result.out
    assert "shaky-2" in result.out


def test_without_an_endorser_the_json_says_that_nobody_checked_it(verify, message):
    assert verify(message).json["pinned"] is False


def test_a_list_is_read_from_standard_input(provider):
    options = ("--anchors", provider.trust.anchors, "--json")

    result = provider.run("list", "verify", "-", *options, stdin=provider.shaky.message)

    assert (result.code, result.json["verdict"]) == (0, "trusted")


def test_a_list_is_read_from_a_url(verify, provider):
    assert verify(provider.shaky.url).json["verdict"] == "trusted"


def test_a_list_is_read_from_a_relative_path(verify, message, provider, monkeypatch):
    monkeypatch.chdir(provider.root)

    assert verify(message.name).code == 0


# --- verify: what it refuses ---
REFUSED = {
    "another endorser": (("--endorser-dn", "/CN=other", "--endorser-ca", CA), "wrong-endorser"),
    "another CA": (("--endorser-dn", DN, "--endorser-ca", "/CN=other"), "wrong-endorser"),
    "another VO": (("--vo", "other.example.org"), "identity-mismatch"),
    "another identifier": (("--identifier", "33333333-3333-4333-8333-333333333333"), "identity-mismatch"),
    "before it was made": (("--at", "2020-01-01"), "not-yet-valid"),
    "after it expired": (("--at", "2040-01-01T00:00:00+01:00"), "revocation-unknown|expired|untrusted-signer"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_must_not_be_trusted_is_refused_with_a_reason(verify, message, what):
    options, reason = REFUSED[what]

    result = verify(message, *options)

    assert (result.code, result.json["verdict"]) == (3, "refused")
    assert re.match(reason, result.json["reason"])


def test_the_time_of_judgement_decides_about_expiry(provider, verify, message):
    at = (provider.trust.now + timedelta(days=28, seconds=1)).isoformat()

    assert verify(message, "--at", (provider.trust.now + timedelta(days=27)).isoformat()).code == 0
    result = verify(message, "--at", at)

    assert (result.code, result.json["reason"].partition(":")[0]) == (3, "expired-list")


def test_a_refusal_is_one_line(provider, message):
    message.write_bytes(message.read_bytes().replace(b"shaky-1", b"shaky-X"))

    result = provider.run("list", "verify", message, "--anchors", provider.trust.anchors)

    assert result.code == 3
    assert len((result.out + result.err).splitlines()) == 1
    assert "bad-signature" in result.out


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 1000, b"x" * LARGE], ids=["empty", "JSON", "zeros", "too big"])
@pytest.mark.parametrize("by", ["path", "standard input"])
def test_whatever_could_be_read_but_is_no_list_is_refused(verify, message, content, by):
    message.write_bytes(content)

    result = verify(message) if by == "path" else verify("-", stdin=content)

    assert (result.code, result.json["verdict"]) == (3, "refused")


@pytest.mark.parametrize("fault", [html_page(), Endless()], ids=["HTML", "endless"])
def test_a_body_that_is_no_list_is_refused(verify, provider, fault):
    provider.shaky.server.misbehave(provider.shaky.path, fault)

    assert verify(provider.shaky.url).code == 3


# --- verify: what it cannot read ---
def test_an_error_status_is_no_verdict(verify, provider):
    provider.shaky.server.misbehave(provider.shaky.path, Status(503))

    result = verify(provider.shaky.url)

    assert (result.code, result.json["verdict"]) == (5, "unavailable")
    assert "HTTP 503" in result.err


def test_no_connection_is_no_verdict(verify, provider):
    provider.close("shaky")

    assert verify(provider.shaky.url).code == 5


@pytest.mark.parametrize("name", ["absent", "."])
def test_a_path_that_cannot_be_read_is_no_verdict(verify, provider, name):
    assert verify(provider.root / name).code == 5


# --- verify: how it must be asked ---
def test_half_an_endorser_is_wrong_usage(verify, message):
    for option in (("--endorser-dn", DN), ("--endorser-ca", CA)):
        result = verify(message, *option)
        assert (result.code, result.json["exit"]) == (2, 2)
        assert "give both" in result.err


@pytest.mark.parametrize("options", [("--at", "yesterday"), ("--crl", "maybe"), ("--wrong",)])
def test_wrong_options_are_wrong_usage(verify, message, options):
    assert verify(message, *options).code == 2


@pytest.mark.parametrize("what", ["missing", "empty", "a file", "no certificate in it"])
def test_an_unusable_anchors_directory_is_wrong_usage(provider, message, what):
    anchors = provider.root / "anchors"
    if what in {"empty", "no certificate in it"}:
        anchors.mkdir()
    if what == "no certificate in it":
        (anchors / "01234567.0").write_text("nothing")
    if what == "a file":
        anchors.write_text("")

    result = provider.given("list", "verify", message, "--anchors", anchors, "--json")

    assert (result.code, result.json["exit"]) == (2, 2)
    assert str(anchors) in result.err


def test_an_unreadable_anchors_directory_is_wrong_usage(provider, message, unprivileged):
    anchors = write_anchors(provider.root / "anchors", [])
    anchors.chmod(0o000)

    result = unprivileged("list", "verify", message, "--anchors", anchors, "--json")

    assert result.returncode == 2
    assert str(anchors) in result.stderr


# --- make and sign ---
@pytest.fixture
def signed(provider):
    """Return a folder's list, made and signed by the command line, and what ``make`` said."""
    provider.image("one")
    provider.image("two")
    keys = provider.trust.files(provider.root / "keys")
    draft, out = provider.root / "list.json", provider.root / "made.list"
    options = ("--vo", "vo.example.org", "--base-url", "https://images.example.org/vo", "--out", draft, "--json")
    made = provider.run("list", "make", provider.root / "publisher", *options)
    assert made.code == 0, made.err
    sealed = provider.run("list", "sign", draft, "--cert", keys.certificate, "--key", keys.key, "--out", out, "--json")
    assert sealed.code == 0, sealed.err
    assert sealed.json == {"out": str(out), "signer": DN, "ca": CA, "verified": "signature"}
    return out, made.json


def test_what_make_and_sign_write_verifies_here(signed, verify):
    out, made = signed

    result = verify(out, "--endorser-dn", DN, "--endorser-ca", CA, "--vo", "vo.example.org")

    assert (result.code, result.json["list"]["identifier"]) == (0, made["identifier"])
    assert len(result.json["list"]["images"]) == made["images"] == 6


def test_what_make_and_sign_write_verifies_with_openssl(signed, provider):
    out, made = signed

    content = openssl("smime", "-verify", "-in", out, "-CApath", provider.trust.anchors, "-purpose", "any")

    assert json.loads(content)["hv:imagelist"]["dc:identifier"] == made["identifier"]


def test_what_openssl_signs_verifies_here(signed, provider, verify):
    keys = provider.trust.files(provider.root / "keys")
    draft = provider.root / "by-openssl.json"
    document = json.loads((provider.root / "list.json").read_bytes())
    document["hv:imagelist"]["hv:endorser"] = {"hv:x509": {"hv:dn": DN, "hv:ca": CA}}
    draft.write_text(json.dumps(document))
    out = provider.root / "by-openssl.list"
    openssl(
        "smime", "-sign", "-md", "sha256", "-in", draft, "-signer", keys.certificate, "-inkey", keys.key, "-out", out
    )

    assert verify(out, "--endorser-dn", DN, "--endorser-ca", CA).json["verdict"] == "trusted"


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_signing_with_a_missing_key_says_which(provider, signed):
    keys = provider.trust.files(provider.root / "keys")
    absent = provider.root / "absent.pem"

    result = provider.given(
        "list", "sign", provider.root / "list.json", "--cert", keys.certificate, "--key", absent, "--out", "x"
    )

    assert result.code == 2
    assert str(absent) in result.err


# --- show and reset ---
def test_show_says_that_nothing_was_verified(provider, message):
    message.write_bytes(message.read_bytes().replace(b"shaky-1", b"shaky-X"))

    result = provider.given("list", "show", message)

    assert result.code == 0
    assert "NOT VERIFIED" in result.err
    assert "shaky-X" in result.out


def test_show_finds_a_subscriptions_last_accepted_list(synced):
    synced.shaky.publish(signer=synced.trust.stranger)
    synced.given("sync", "--json")

    assert synced.given("list", "show", "shaky", "--json").json["hv:imagelist"]["hv:version"] == "1"


def test_an_older_version_is_accepted_once_its_floor_was_lifted(synced):
    synced.shaky.publish(version=7)
    synced.given("sync", "--json")
    synced.shaky.withdraw(list(synced.shaky.images)[-1])
    synced.shaky.publish(version=3)
    assert synced.given("sync", "--json").code == 3

    reset = synced.run("list", "reset", "shaky", "--version", "--json")

    assert (reset.code, reset.json) == (0, {"name": "shaky", "identifier": False, "version": True})
    assert "pins dropped" in reset.err
    assert synced.given("sync", "--json").list("shaky")["version"] == "3"
    again = synced.sync()
    assert (again.code, again.done()) == (0, [])


def test_a_floor_that_only_the_targets_remember_is_lifted_too(synced):
    synced.shaky.publish(version=7)
    synced.given("sync", "--json")
    for file in synced.root.glob("state.db*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    synced.shaky.publish(version=3)
    refused = synced.given("sync", "--json")
    assert (refused.code, refused.json["state"]) == (3, "lost")
    assert "imagesync list reset NAME --version" in refused.list("shaky")["hint"]

    reset = synced.run("list", "reset", "shaky", "--version")

    assert (reset.code, reset.out) == (0, "shaky: the next list that is accepted pins anew\n")
    assert synced.sync().list("shaky")["version"] == "3"
    assert synced.given("sync", "--json").code == 0
    synced.shaky.publish(version=2)
    assert synced.given("sync", "--json").list("shaky")["reason"].startswith("rollback")


def test_another_list_is_accepted_once_the_pin_was_dropped(synced):
    synced.shaky.identifier = "33333333-3333-4333-8333-333333333333"
    synced.shaky.publish()
    assert synced.given("sync", "--json").code == 3

    assert synced.given("list", "reset", "shaky", "--identifier").code == 0

    assert synced.sync().list("shaky")["identifier"] == synced.shaky.identifier


@pytest.mark.parametrize("arguments", [("shaky",), ("shaky", "--identifier"), ("unknown", "--version")])
def test_a_reset_of_nothing_is_wrong_usage(provider, arguments):
    assert provider.given("list", "reset", *arguments).code == 2
