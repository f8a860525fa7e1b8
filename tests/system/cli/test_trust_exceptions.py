"""What a subscription may accept on purpose: a certificate without a CA, and SHA-1 until a day."""

from cryptography.hazmat.primitives import hashes

from imagesync.testing.list_server import identity_of


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
