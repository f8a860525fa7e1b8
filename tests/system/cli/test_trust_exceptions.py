"""What is accepted only where a subscription says so, in so many words: SHA-1 for a time, and single certificates."""

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from imagesync.testing.list_server import identity_of
from imagesync.testing.pki import Authority, Profile, ec_key, write_anchors, write_identity

TODAY = datetime.now(UTC).date()


@pytest.fixture
def authority(provider):
    return Authority("/DC=org/DC=example/CN=Old CA", provider.trust.now, key=ec_key())


@pytest.fixture
def accept(provider, authority):
    """Return a function that has the shaky list follow ``signer``, with options of the endorser and the list."""

    def configure(signer, options=None, **endorser):
        identity = identity_of(signer)
        provider.subscription_options["shaky"] = {
            "endorsers": [{"dn": identity.dn, "ca": identity.ca, **endorser}],
            **(options or {}),
        }
        anchors = provider.root / "anchors"
        write_anchors(anchors, [authority])
        for file in provider.trust.anchors.iterdir():
            (anchors / file.name).write_bytes(file.read_bytes())
        provider.configure(trust={"anchors": str(anchors)})

    return configure


def fingerprint(signer):
    return signer.certificate.fingerprint(hashes.SHA256()).hex()


# --- SHA-1 ---
@pytest.fixture
def old_fashioned(provider, authority, tmp_path):
    """Publish the shaky list signed by OpenSSL with SHA-1, and return who signed."""
    signer = authority.issue("/DC=org/DC=example/CN=Robot: old")
    provider.shaky.publish(signer=signer)
    files = write_identity(signer, tmp_path / "old")
    (tmp_path / "content.json").write_bytes(provider.shaky.content)
    words = ["openssl", "cms", "-sign", "-md", "sha1", "-in", tmp_path / "content.json", "-signer", files.certificate]
    done = subprocess.run([*words, "-inkey", files.key], capture_output=True, check=True)
    assert b'micalg="sha1"' in done.stdout
    provider.shaky.publish_bytes(done.stdout)
    return signer


def test_sha1_is_refused_by_default(provider, accept, old_fashioned):
    accept(old_fashioned)

    result = provider.given("sync", "--json")

    assert (result.code, result.list("shaky")["verdict"]) == (3, "refused")
    assert "SHA-1 is not accepted" in result.list("shaky")["reason"]


def test_sha1_is_accepted_until_a_day_and_every_report_says_so(provider, accept, old_fashioned):
    accept(old_fashioned, {"sha1_until": (TODAY + timedelta(days=1)).isoformat()})

    result = provider.sync()

    (warning,) = result.list("shaky")["warnings"]
    assert (result.code, result.list("shaky")["verdict"]) == (0, "trusted")
    assert "signed with SHA-1, which is accepted until" in warning
    assert "SHA-1" in result.err
    assert f"  warning: {warning}" in provider.given("status").out


def test_sha1_is_refused_again_after_that_day(provider, accept, old_fashioned):
    accept(old_fashioned, {"sha1_until": (TODAY - timedelta(days=1)).isoformat()})

    assert "SHA-1 is not accepted" in provider.given("sync", "--json").list("shaky")["reason"]


def test_sha1_of_one_subscription_is_not_that_of_another(provider, accept, old_fashioned):
    accept(old_fashioned)
    provider.subscription_options["steady"] = {"sha1_until": (TODAY + timedelta(days=1)).isoformat()}
    provider.configure(trust={"anchors": str(provider.root / "anchors")})

    assert provider.given("sync", "--json").list("shaky")["verdict"] == "refused"


def test_what_was_changed_is_refused_with_sha1_too(provider, accept, old_fashioned):
    accept(old_fashioned, {"sha1_until": (TODAY + timedelta(days=1)).isoformat()})
    provider.shaky.publish_bytes(provider.shaky.message.replace(b"shaky-1", b"shaky-X"))

    assert provider.given("sync", "--json").list("shaky")["reason"].startswith("bad-signature")


# --- single certificates ---
@pytest.fixture
def selfmade(provider):
    """Return an endorser who certified himself."""
    own = Authority(
        "/DC=org/DC=example/CN=Self", provider.trust.now, key=ec_key(), profile=Profile(usage=("digital_signature",))
    )
    signer = replace(own.issue("/CN=unused", key=ec_key()), certificate=own.certificate, key=own.key, chain=())
    provider.shaky.publish(signer=signer)
    return signer


def test_a_self_signed_certificate_is_refused_without_its_fingerprint(provider, accept, selfmade):
    accept(selfmade)

    assert provider.given("sync", "--json").list("shaky")["reason"].startswith("untrusted-signer")


def test_a_self_signed_certificate_is_accepted_with_its_fingerprint_and_told(provider, accept, selfmade):
    shown = ":".join(fingerprint(selfmade)[at : at + 2] for at in range(0, 64, 2)).upper()
    accept(selfmade, sha256=shown)

    result = provider.sync()

    assert (result.code, result.list("shaky")["verdict"]) == (0, "trusted")
    assert result.list("shaky")["warnings"] == [
        "its certificate is trusted by its fingerprint alone: nobody can revoke it"
    ]


def test_what_a_self_signed_certificate_signed_can_be_proved_too(provider, accept, selfmade):
    accept(selfmade, sha256=fingerprint(selfmade))
    assert provider.given("sync", "--json").code == 0

    (line,) = provider.given("why", "shaky-1", "--export", provider.root / "out", "--json").json["verify"]

    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_another_self_signed_certificate_of_that_name_is_refused(provider, accept, selfmade):
    accept(selfmade, sha256="0" * 64)

    assert provider.given("sync", "--json").list("shaky")["verdict"] == "refused"


@pytest.mark.parametrize("pinned", [True, False])
def test_a_pinned_fingerprint_is_asked_for_beside_the_path(provider, accept, authority, pinned):
    name = "/DC=org/DC=example/CN=Robot: renewed"
    old, new = (authority.issue(name, key=ec_key()) for _ in range(2))
    provider.shaky.publish(signer=new)
    accept(new, sha256=fingerprint(new if pinned else old))

    result = provider.given("sync", "--json")

    assert result.list("shaky")["verdict"] == ("trusted" if pinned else "refused")
    if not pinned:
        assert result.list("shaky")["reason"].startswith("wrong-endorser")
        assert fingerprint(new) in result.list("shaky")["reason"]


def test_a_pinned_certificate_of_an_unknown_authority_is_refused(provider, accept):
    signer = provider.trust.stranger
    provider.shaky.publish(signer=signer)
    accept(signer, sha256=fingerprint(signer))

    assert provider.given("sync", "--json").list("shaky")["verdict"] == "refused"


def test_an_expired_self_signed_certificate_is_refused_though_pinned(provider, accept):
    profile = Profile(usage=("digital_signature",), begins=timedelta(days=-9), ends=timedelta(days=-1))
    own = Authority("/DC=org/DC=example/CN=Self", provider.trust.now, key=ec_key(), profile=profile)
    signer = replace(own.issue("/CN=unused", key=ec_key()), certificate=own.certificate, key=own.key, chain=())
    provider.shaky.publish(signer=signer)
    accept(signer, sha256=fingerprint(signer))

    result = provider.given("sync", "--json")

    assert isinstance(signer.certificate, x509.Certificate)
    assert "not valid now" in result.list("shaky")["reason"]


@pytest.mark.parametrize("key", ["sha256", "sha1_until"])
def test_what_is_no_fingerprint_or_day_is_a_configuration_error(provider, accept, selfmade, key):
    accept(
        selfmade, {"sha1_until": "soon"} if key == "sha1_until" else {}, **({"sha256": "ab"} if key == "sha256" else {})
    )

    result = provider.given("config", "check", "--json")

    assert (result.code, key in json.dumps(result.json["problems"])) == (2, True)
