"""The first time a list is met: everything to pin is shown, and nothing is trusted silently."""

import subprocess
from dataclasses import replace
from datetime import timedelta

import pytest
import yaml
from cryptography.hazmat.primitives import hashes

from imagesync.lists.seal import SigningIdentity
from imagesync.testing.faults import Status, Tampered
from imagesync.testing.list_server import identity_of
from imagesync.testing.pki import HOST, Authority, Profile, ec_key, write_anchors

DN, CA = "/DC=org/DC=example/CN=Robot: endorser", "/DC=org/DC=example/CN=Test CA"


@pytest.fixture
def init(provider):
    """Return ``config init --from-list`` with the site's anchors."""

    def run(source, *options):
        return provider.given("config", "init", "--from-list", source, "--anchors", provider.trust.anchors, *options)

    return run


def openssl_fingerprint(file):
    words = ["openssl", "x509", "-in", file, "-noout", "-fingerprint", "-sha256"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.strip().partition("=")[2].replace(":", "").lower()


def test_verify_shows_everything_that_is_pinned(provider, tmp_path):
    result = provider.given("list", "verify", provider.shaky.url, "--anchors", provider.trust.anchors, "--json")

    shown = result.json
    own = openssl_fingerprint(provider.trust.files(tmp_path).certificate)
    root = openssl_fingerprint(next(provider.trust.anchors.glob("*.0")))
    assert (shown["signer"]["dn"], shown["signer"]["ca"], shown["signer"]["sha256"]) == (DN, CA, own)
    assert [link["sha256"] for link in shown["chain"]] == [own, root]
    assert (shown["list"]["identifier"], shown["list"]["vo"]) == (provider.shaky.identifier, "shaky.example.org")


def test_a_subscription_is_proposed_and_switched_off(provider, init):
    result = init(provider.shaky.url)

    (proposed,) = yaml.safe_load(result.out)["subscriptions"]
    assert result.code == 0
    assert proposed == {
        "name": "shaky.example.org",
        "vo": "shaky.example.org",
        "url": provider.shaky.url,
        "identifier": provider.shaky.identifier,
        "endorsers": [{"dn": DN, "ca": CA}],
        "enabled": False,
    }
    for part in ("NOTHING OF IT IS TRUSTED YET", f"signed by    {DN}", "by another channel", "enabled to true"):
        assert part in result.out


def test_the_proposal_works_after_it_was_confirmed_and_not_before(provider, init):
    text = init(provider.shaky.url).out
    provider.configure()
    config = yaml.safe_load(provider.config.read_text())
    config["subscriptions"] = [one for one in config["subscriptions"] if one["name"] == "steady"]
    provider.config.write_text(yaml.safe_dump(config))
    (provider.root / "conf.d").mkdir()
    drop_in = provider.root / "conf.d" / "shaky.yaml"
    # The images are on loopback, which a list may name only with this.
    drop_in.write_text(text + "  allow_private_addresses: true\n")

    assert (provider.sync().code, provider.titles()) == (0, ["steady-1", "steady-2"])
    drop_in.write_text(drop_in.read_text().replace("enabled: false", "enabled: true"))

    assert (provider.sync().code, len(provider.titles())) == (0, 4)


def test_a_host_certificate_can_be_proposed_because_it_becomes_pinned(provider, tmp_path):
    authority = Authority("/DC=org/DC=example/CN=Host CA", provider.trust.now, key=ec_key())
    anchors = write_anchors(tmp_path / "host anchors", [authority])
    signer = authority.issue("/DC=org/DC=example/CN=appdb.example.org", HOST, key=ec_key())
    provider.shaky.publish(signer=signer)

    result = provider.given("config", "init", "--from-list", provider.shaky.url, "--anchors", anchors, "--json")

    identity = identity_of(signer)
    assert result.code == 0
    assert result.json["subscriptions"][0]["endorsers"] == [{"dn": identity.dn, "ca": identity.ca}]
    assert result.json["confirmed"] is False


def test_a_list_that_does_not_verify_gives_no_subscription(provider, init):
    provider.shaky.server.misbehave(provider.shaky.path, Tampered())

    result = init(provider.shaky.url)

    assert (result.code, result.out) == (3, "")


def test_a_list_that_cannot_be_read_gives_no_subscription(provider, init):
    provider.shaky.server.misbehave(provider.shaky.path, Status(503))

    assert (init(provider.shaky.url).code, init(provider.root / "absent").code) == (5, 5)


def test_what_a_stranger_writes_stays_inside_the_comment(provider, init):
    provider.shaky.title = "x\nsubscriptions: []\n\u2028y"
    provider.shaky.publish()

    (proposed,) = yaml.safe_load(init(provider.shaky.url).out)["subscriptions"]

    assert proposed["vo"] == "shaky.example.org"


def test_a_list_without_a_vo_needs_it_from_the_operator(provider, init):
    provider.shaky.extra["ad:vo"] = None
    provider.shaky.publish()

    assert "--vo" in init(provider.shaky.url).err
    (proposed,) = init(provider.shaky.url, "--vo", "vo.example.org", "--name", "mine", "--json").json["subscriptions"]

    assert (proposed["vo"], proposed["name"], proposed["identifier"]) == (
        "vo.example.org",
        "mine",
        provider.shaky.identifier,
    )


# --- signers that are not trusted before they are pinned ---
SHOWN = "NOT VERIFIED: the signature fits this certificate, which is not trusted"


@pytest.fixture
def by_host(provider, tmp_path):
    """Return ``list verify`` of a list that a host certificate signed, as AppDB's endorser does."""
    authority = Authority("/DC=org/DC=example/CN=Host CA", provider.trust.now, key=ec_key())
    anchors = write_anchors(tmp_path / "host anchors", [authority])
    signer = authority.issue("/DC=org/DC=example/CN=appdb.example.org", HOST, key=ec_key())
    provider.shaky.publish(signer=signer)

    def run(*options):
        return provider.given("list", "verify", provider.shaky.url, "--anchors", anchors, *options)

    return run, identity_of(signer), signer.certificate.fingerprint(hashes.SHA256()).hex()


@pytest.fixture
def by_itself(provider):
    """Return who signed a list with a self-signed certificate, and its fingerprint."""
    usage = Profile(usage=("digital_signature", "key_cert_sign"), ca=True)
    own = Authority("/O=Example/CN=Own", provider.trust.now, key=ec_key(), profile=usage)
    signer = SigningIdentity(own.certificate, own.key, ())
    provider.shaky.publish(signer=signer)
    return identity_of(signer), own.certificate.fingerprint(hashes.SHA256()).hex()


def test_verify_shows_a_host_certificate_and_what_it_needs(by_host):
    verify, identity, sha256 = by_host

    result = verify("--json")

    shown, entry = result.json, {"dn": identity.dn, "ca": identity.ca}
    assert (result.code, shown["verdict"], shown["list"]) == (3, "refused", None)
    assert shown["reason"].startswith("untrusted-signer: ")
    assert {key: shown["signer"][key] for key in ("dn", "ca", "sha256")} == {**entry, "sha256": sha256}
    assert shown["needs"] == {"endorsers": [entry]}
    assert verify("--endorser-dn", identity.dn, "--endorser-ca", identity.ca).code == 0


def test_verify_shows_a_self_signed_signer_and_what_it_needs(provider, by_itself):
    identity, sha256 = by_itself
    verify = ("list", "verify", provider.shaky.url, "--anchors", provider.trust.anchors)

    result, text = provider.given(*verify, "--json"), provider.given(*verify)

    entry = {"dn": identity.dn, "ca": identity.ca, "sha256": sha256}
    assert (result.code, result.json["verdict"], result.json["signer"]["sha256"]) == (3, "refused", sha256)
    assert result.json["needs"] == {"endorsers": [entry]}
    assert text.code == 3
    assert {SHOWN, f"signer      {identity.dn}"} <= set(text.out.splitlines())
    assert yaml.safe_load(text.out.partition("a subscription then needs ")[2]) == {"endorsers": [entry]}


def test_what_a_self_signed_signer_needs_works_once_it_was_written_down(provider, by_itself):
    words = ("list", "verify", provider.shaky.url, "--anchors", provider.trust.anchors, "--json")
    provider.subscription_options["shaky"] = provider.given(*words).json["needs"]
    provider.configure()

    assert provider.sync().list("shaky")["verdict"] == "trusted"


def test_no_subscription_is_proposed_for_a_self_signed_signer_but_what_to_do(init, provider, by_itself):
    identity, sha256 = by_itself

    result = init(provider.shaky.url)

    assert (result.code, result.out) == (3, "")
    assert "ask the publisher by another channel" in result.err
    for part in (identity.dn, sha256):
        assert part in result.err


def test_verify_shows_a_signer_of_an_unknown_ca_and_proposes_nothing(provider):
    provider.shaky.publish(signer=provider.trust.stranger)

    words = ("list", "verify", provider.shaky.url, "--anchors", provider.trust.anchors)
    result, text = provider.given(*words, "--json"), provider.given(*words)

    identity = identity_of(provider.trust.stranger)
    assert (result.code, result.json["needs"]) == (3, None)
    assert (result.json["signer"]["dn"], result.json["signer"]["ca"]) == (identity.dn, identity.ca)
    assert text.out.splitlines()[-1] == SHOWN


def test_verify_shows_nobody_whose_signature_does_not_fit(provider, by_itself):
    provider.shaky.server.misbehave(provider.shaky.path, Tampered())

    result = provider.given("list", "verify", provider.shaky.url, "--anchors", provider.trust.anchors, "--json")

    assert (result.code, result.json["signer"], result.json["needs"]) == (3, None, None)


@pytest.mark.parametrize("ends", [-1, 30], ids=["expired", "not"])
def test_nothing_is_proposed_that_would_not_be_accepted(provider, tmp_path, ends):
    authority = Authority("/DC=org/DC=example/CN=Host CA", provider.trust.now, key=ec_key())
    anchors = write_anchors(tmp_path / "host anchors", [authority])
    profile = replace(HOST, begins=timedelta(days=-400), ends=timedelta(days=ends))
    provider.shaky.publish(signer=authority.issue("/DC=org/DC=example/CN=appdb.example.org", profile, key=ec_key()))

    shown = provider.given("list", "verify", provider.shaky.url, "--anchors", anchors, "--json").json

    assert (shown["verdict"], shown["needs"] is None) == ("refused", ends < 0)


@pytest.mark.parametrize("mode", ["require", "if-present"])
def test_a_revoked_host_certificate_is_not_proposed(provider, tmp_path, mode):
    authority = Authority("/DC=org/DC=example/CN=Host CA", provider.trust.now, key=ec_key())
    signer = authority.issue("/DC=org/DC=example/CN=appdb.example.org", HOST, key=ec_key())
    authority.revoke(signer.certificate)
    anchors = write_anchors(tmp_path / "host anchors", [authority])
    provider.shaky.publish(signer=signer)

    words = ("list", "verify", provider.shaky.url, "--anchors", anchors, "--crl", mode, "--json")

    assert provider.given(*words).json["needs"] is None
