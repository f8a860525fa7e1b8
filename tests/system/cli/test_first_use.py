"""The first time a list is met: everything to pin is shown, and nothing is trusted silently."""

import subprocess

import pytest
import yaml

from imagesync.testing.faults import Status, Tampered
from imagesync.testing.list_server import identity_of
from imagesync.testing.pki import HOST, Authority, ec_key, write_anchors

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
