"""``imagesync list``: verify, show, make, sign, reset - with the real openssl as the other side."""

import json
import re
import shutil
import subprocess
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes

from imagesync.testing.faults import Endless, Status, html_page
from imagesync.testing.list_server import identity_of
from imagesync.testing.pki import HOST, Authority, ec_key, write_anchors, write_identity

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


# --- verify: as a pass would, with a configuration ---
@pytest.fixture
def subscribed(provider):
    """Return ``list verify --json`` of the subscribed list, and a function that changes the subscription."""

    def change(signer, **options):
        identity = identity_of(signer)
        endorser = {"dn": identity.dn, "ca": identity.ca, **options.pop("endorser", {})}
        provider.subscription_options["shaky"] = {"endorsers": [endorser], **options}
        provider.shaky.publish(signer=signer)
        provider.configure()

    def verify(source=provider.shaky.url, *options):
        return provider.given("list", "verify", source, *options, "--json")

    return verify, change


def fingerprint(signer):
    return signer.certificate.fingerprint(hashes.SHA256()).hex()


def test_without_a_subscription_to_it_no_ones_rules_count(verify, message, subscribed):
    by_configuration, _ = subscribed

    assert [answer(message).json["subscription"] for answer in (verify, by_configuration)] == [None, None]


def test_a_certificate_that_its_subscription_trusts_is_trusted(provider, subscribed, tmp_path):
    verify, change = subscribed
    stranger = provider.trust.stranger
    change(stranger, endorser={"sha256": fingerprint(stranger)})
    elsewhere = tmp_path / "same.list"
    elsewhere.write_bytes(provider.shaky.message)

    result = verify()

    assert (result.code, result.json["subscription"], result.json["pinned"]) == (0, "shaky", False)
    assert "the signer's certificate is trusted itself: no CA and no revocation was checked" in result.json["warnings"]
    assert provider.sync().list("shaky")["verdict"] == "trusted"
    assert verify(elsewhere).json["verdict"] == "refused"
    assert verify(provider.shaky.url, "--anchors", provider.trust.anchors).json["verdict"] == "refused"


def test_sha1_is_judged_by_the_subscription(provider, subscribed, tmp_path):
    verify, change = subscribed
    authority = Authority("/DC=org/DC=example/CN=Old CA", provider.trust.now, key=ec_key())
    signer = authority.issue("/DC=org/DC=example/CN=Robot: old-fashioned")
    anchors = write_anchors(tmp_path / "old anchors", [authority])
    files = write_identity(signer, tmp_path)
    for days in (2, 0):
        change(signer, sha1_until=provider.trust.now.date() + timedelta(days=days))
        provider.configure(trust={"anchors": str(anchors)})
        draft = tmp_path / "content.json"
        draft.write_bytes(provider.shaky.content)
        words = ("-md", "sha1", "-in", draft, "-signer", files.certificate, "-inkey", files.key)
        provider.shaky.server.put(provider.shaky.path, openssl("smime", "-sign", *words))

        assert verify().code == (0 if days else 3)


def test_a_host_certificate_is_accepted_of_the_endorser_of_the_subscription_alone(provider, subscribed, tmp_path):
    verify, change = subscribed
    authority = Authority("/DC=org/DC=example/CN=Host CA", provider.trust.now, key=ec_key())
    anchors = write_anchors(tmp_path / "host anchors", [authority])
    endorser, other = (authority.issue(f"/DC=org/DC=example/CN={name}", HOST, key=ec_key()) for name in ("a", "b"))
    change(endorser)
    provider.configure(trust={"anchors": str(anchors)})

    assert (verify().code, verify().json["warnings"]) == (0, [])
    assert provider.sync().list("shaky")["verdict"] == "trusted"
    provider.shaky.publish(signer=other)
    assert (verify().code, verify().json["reason"].partition(":")[0]) == (3, "untrusted-signer")


def test_a_signer_who_is_no_endorser_of_the_subscription_is_told(provider, subscribed):
    verify, change = subscribed
    change(provider.trust.colleague)
    said = "a pass refuses it: the signer is no endorser of the subscription shaky"
    assert verify().json["warnings"] == []
    provider.shaky.publish(signer=provider.trust.endorser)

    result, text = verify(), provider.given("list", "verify", provider.shaky.url)

    assert (result.code, result.json["warnings"]) == (0, [said])
    assert {"judged by   the rules of the subscription shaky", f"warning: {said}"} <= set(text.out.splitlines())
    assert provider.sync().list("shaky")["reason"].startswith("wrong-endorser")
    assert verify(provider.shaky.url, "--endorser-dn", DN, "--endorser-ca", CA).json["warnings"] == []


def test_the_rules_of_a_subscription_to_a_file_count_for_its_path(provider, subscribed, message):
    verify, _ = subscribed
    provider.subscription_options["shaky"] = {"url": message.as_uri()}
    provider.configure()

    assert verify(message).json["subscription"] == "shaky"
    assert provider.run("list", "verify", "-", "--json", stdin=message.read_bytes()).json["subscription"] is None
