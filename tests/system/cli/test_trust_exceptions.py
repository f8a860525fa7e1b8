"""What a subscription may accept on purpose: a certificate without a CA, and SHA-1 until a day."""

import subprocess
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes

from imagesync.testing.list_server import identity_of
from imagesync.testing.pki import Authority, ec_key, write_anchors, write_identity


def trusting(provider, sha256):
    stranger = identity_of(provider.trust.stranger)
    endorsers = [{"dn": stranger.dn, "ca": stranger.ca, "sha256": sha256}]
    provider.subscription_options["shaky"] = {"endorsers": endorsers, "sha1_until": "2031-02-03"}
    provider.configure()
    provider.shaky.publish(signer=provider.trust.stranger)


def test_a_list_by_a_certificate_that_is_trusted_itself_is_followed_with_a_warning(provider):
    certificate = provider.trust.stranger.certificate.fingerprint(hashes.SHA256()).hex(":").upper()
    trusting(provider, certificate)

    result = provider.sync()

    assert result.code == 0
    assert result.list("shaky")["verdict"] == "trusted"
    assert "the signer's certificate is trusted itself: no CA and no revocation was checked" in result.err


def test_another_certificate_of_the_same_names_is_not(provider):
    trusting(provider, "ab" * 32)

    result = provider.sync()

    assert result.code == 3
    assert result.list("shaky")["verdict"] == "refused"


def test_the_exceptions_are_shown_with_the_configuration(provider):
    trusting(provider, "ab" * 32)

    shown = provider.given("config", "show", "--json").json["subscriptions"][0]

    assert shown["sha1_until"] == "2031-02-03"
    assert shown["endorsers"][0]["sha256"] == "ab" * 32


# --- SHA-1 until a day -------------------------------------------------------------------------------------------------
SAID = "it is signed with SHA-1, which can be forged: accepted until"


def signed_by_openssl(content, files, digest):
    command = ["openssl", "smime", "-sign", "-md", digest, "-signer", files.certificate, "-inkey", files.key]
    return subprocess.run(command, input=content, capture_output=True, check=True, timeout=60).stdout


@pytest.fixture
def old_fashioned(provider, tmp_path):
    """Return a function that subscribes to a list which OpenSSL signed with SHA-1, until so many days from today."""
    authority = Authority("/DC=org/DC=example/CN=Old CA", provider.trust.now, key=ec_key())
    signer = authority.issue("/DC=org/DC=example/CN=Robot: old-fashioned")
    anchors = write_anchors(tmp_path / "old anchors", [authority])
    provider.steady.publish(signer=signer)
    provider.shaky.publish(signer=signer)
    message = signed_by_openssl(provider.shaky.content, write_identity(signer, tmp_path), "sha1")
    provider.shaky.server.put(provider.shaky.path, message)
    endorsers = [{"dn": identity_of(signer).dn, "ca": identity_of(signer).ca}]

    def until(days):
        chosen = {} if days is None else {"sha1_until": provider.trust.now.date() + timedelta(days=days)}
        provider.subscription_options |= {
            "shaky": {"endorsers": endorsers, **chosen},
            "steady": {"endorsers": endorsers},
        }
        provider.configure(trust={"anchors": str(anchors)})
        return provider

    return until


@pytest.mark.parametrize("days", [None, 0, -1], ids=["never", "today", "yesterday"])
def test_sha1_is_refused_without_the_option_and_from_its_day_on(old_fashioned, days):
    site = old_fashioned(days)

    result = site.sync()

    reason = result.list("shaky")["reason"]
    assert (result.code, result.list("shaky")["verdict"]) == (3, "refused")
    assert reason.startswith("bad-signature: the digest algorithm SHA-1 is not accepted")
    assert site.titles() == ["steady-1", "steady-2"]


def test_sha1_is_accepted_before_its_day_and_said_wherever_somebody_looks(old_fashioned):
    site = old_fashioned(2)

    result, status = site.sync(), site.given("status", "--json")

    assert (result.code, result.list("shaky")["verdict"], len(site.titles())) == (0, "trusted", 4)
    assert SAID in result.err
    assert [SAID in "".join(found.list("shaky")["warnings"]) for found in (result, status)] == [True, True]
    assert site.given("config", "show", "--json").json["subscriptions"][0]["sha1_until"] > f"{site.trust.now:%Y-%m-%d}"


def test_what_was_accepted_before_the_day_stays_after_it_and_nothing_new_comes(old_fashioned):
    site = old_fashioned(2)
    assert site.given("sync", "--json").code == 0
    old_fashioned(0)

    result = site.given("sync", "--json")

    assert (result.code, result.list("shaky")["verdict"], result.done()) == (3, "refused", [])
    assert len(site.titles()) == 4
