"""Revocation lists that imagesync fetches itself, only where a site asks for it, and never for worse."""

import os
import shutil
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from imagesync.cli.trust import USUAL_ANCHORS
from imagesync.testing.faults import Endless, Silent, Status, html_page
from imagesync.testing.list_server import identity_of
from imagesync.testing.pki import Authority, ec_key, subject_hash, write_anchors, write_identity

PATH = "/ca.crl"


class Site:
    """The provider, whose one authority has no CRL in the anchors directory but says where it is."""

    def __init__(self, provider, tmp_path):
        self.provider = provider
        self.now = provider.trust.now
        self.authority = Authority("/DC=org/DC=example/CN=Distant CA", self.now, key=ec_key())
        self.signer = self.authority.issue("/DC=org/DC=example/CN=Robot: distant", key=ec_key())
        self.anchors = write_anchors(tmp_path / "distant", [self.authority], crls=False)
        self.server = provider.shaky.server
        name = subject_hash(self.authority.certificate.subject)
        (self.anchors / f"{name}.crl_url").write_text(f"# where\n{self.server.url}{PATH}\n")
        self.before = sorted(path.name for path in self.anchors.iterdir())
        identity = identity_of(self.signer)
        for name in ("shaky", "steady"):
            provider.subscription_options[name] = {"endorsers": [{"dn": identity.dn, "ca": identity.ca}]}
        self.publish()
        self.serve()
        self.configure(fetch_crls=True)

    def publish(self):
        for published in (self.provider.shaky, self.provider.steady):
            published.publish(signer=self.signer)

    def serve(self, authority=None, **how):
        self.server.put(PATH, (authority or self.authority).crl(**how).public_bytes(Encoding.DER))

    def configure(self, **trust):
        self.provider.configure(trust={"anchors": str(self.anchors), **trust})

    def sync(self):
        result = self.provider.sync()
        assert sorted(path.name for path in self.anchors.iterdir()) == self.before
        return result

    def expire_fetched(self):
        """Have the lists that were fetched count as old enough to be fetched again."""
        for file in (self.provider.root / "cache" / "crls").iterdir():
            os.utime(file, (0, 0))

    @property
    def asked(self):
        return len(self.server.requests_for(PATH))


@pytest.fixture
def site(provider, tmp_path):
    return Site(provider, tmp_path)


def test_by_default_nothing_is_fetched(site):
    site.configure()

    result = site.sync()

    assert (result.code, result.list("shaky")["reason"].partition(":")[0]) == (3, "revocation-unknown")
    assert site.asked == 0


@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
def test_a_site_without_fetch_crl_need_not_switch_revocation_off(site, encoding):
    site.server.put(PATH, site.authority.crl().public_bytes(encoding))

    result = site.sync()

    assert (result.code, len(site.provider.titles())) == (0, 4)
    assert site.asked == 1


def test_of_several_in_one_file_the_newest_that_counts_is_kept(site):
    older = site.authority.crl().public_bytes(Encoding.PEM)
    site.authority.revoke(site.signer.certificate)
    newest = site.authority.crl(age=timedelta(minutes=1)).public_bytes(Encoding.PEM)
    other = Authority("/DC=org/DC=example/CN=Other CA", site.now, key=ec_key()).crl(age=timedelta(0))
    rubbish = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"
    site.server.put(PATH, rubbish + older + newest + other.public_bytes(Encoding.PEM) + older)

    assert site.sync().list("shaky")["reason"].startswith("revoked-signer")


def test_a_fresh_one_is_not_fetched_again(site):
    site.sync()

    assert (site.sync().code, site.asked) == (0, 1)


def test_a_plan_fetches_nothing(site):
    assert (site.provider.given("plan", "--json").code, site.asked) == (3, 0)


def test_a_revoked_signer_is_refused_with_the_next_one(site):
    site.sync()
    site.authority.revoke(site.signer.certificate)
    site.serve(age=timedelta(minutes=1))
    site.expire_fetched()

    result = site.sync()

    assert (result.code, result.list("shaky")["reason"].partition(":")[0]) == (3, "revoked-signer")
    assert len(site.provider.titles()) == 4


def a_forged_one(site):
    forger = Authority("/DC=org/DC=example/CN=Distant CA", site.now, key=ec_key())
    site.serve(forger, age=timedelta(minutes=1))


def a_stale_one(site):
    site.serve(age=timedelta(days=31))


def an_older_one(site):
    site.serve(age=timedelta(hours=2))


def one_of_the_future(site):
    site.serve(age=timedelta(days=-1))


def another_authoritys(site):
    site.serve(Authority("/DC=org/DC=example/CN=Other CA", site.now, key=ec_key()))


def one_that_the_library_reads_in_part_only(site):
    der = site.authority.crl(age=timedelta(minutes=1)).public_bytes(Encoding.DER)
    ecdsa_with_sha256, unknown = bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d040309")
    assert der.count(ecdsa_with_sha256) == 2
    site.server.put(PATH, der.replace(ecdsa_with_sha256, unknown))


def an_endless_one(site):
    site.server.misbehave(PATH, Endless())


def a_web_page(site):
    site.server.misbehave(PATH, html_page())


def nothing(site):
    site.server.misbehave(PATH, Status(503))


def silence(site):
    site.server.misbehave(PATH, Silent())


BAD = {
    one_that_the_library_reads_in_part_only: "cannot be understood",
    a_forged_one: "not by this CA",
    a_stale_one: "stale since",
    an_older_one: "older than the one that is there",
    one_of_the_future: "in the future",
    another_authoritys: "another authority",
    an_endless_one: "allowed are 65536",
    a_web_page: "no revocation list",
    nothing: "HTTP 503",
    silence: "no complete answer",
}


@pytest.mark.parametrize("what", BAD, ids=lambda what: what.__name__)
def test_whatever_is_wrong_with_a_new_one_the_old_one_stays(site, what):
    site.sync()
    site.authority.revoke(site.signer.certificate)  # what a forger would like to hide is not even there yet
    site.expire_fetched()
    what(site)

    result = site.sync()

    assert (result.code, len(site.provider.titles())) == (0, 4)
    assert "revocation list not fetched, the old one stays" in result.err
    assert BAD[what] in result.err


def test_a_revocation_in_either_place_counts(site):
    site.sync()
    site.authority.revoke(site.signer.certificate)
    write_anchors(site.anchors, [site.authority])
    site.before = sorted(path.name for path in site.anchors.iterdir())

    assert site.sync().list("shaky")["reason"].startswith("revoked-signer")


def test_losing_what_was_fetched_costs_one_more_request(site):
    site.sync()
    shutil.rmtree(site.provider.root / "cache" / "crls")

    assert (site.sync().code, site.asked) == (0, 2)


def test_an_authority_that_does_not_say_where_is_named(site):
    for file in site.anchors.glob("*.crl_url"):
        file.unlink()
    site.before = sorted(path.name for path in site.anchors.iterdir())

    result = site.sync()

    assert result.code == 3
    assert "no .crl_url beside its certificate" in result.err


def test_the_root_of_an_intermediate_authority_is_asked_too(site, tmp_path):
    below = Authority("/DC=org/DC=example/CN=Intermediate CA", site.now, parent=site.authority, key=ec_key())
    site.signer = below.issue("/DC=org/DC=example/CN=Robot: below", key=ec_key())
    write_anchors(site.anchors, [site.authority, below], crls=False)
    name = subject_hash(below.certificate.subject)
    url = site.server.put("/below.crl", below.crl().public_bytes(Encoding.DER))
    (site.anchors / f"{name}.crl_url").write_text(f"{site.server.url}/absent\n{url}\n")
    site.before = sorted(path.name for path in site.anchors.iterdir())
    identity = identity_of(site.signer)
    for name in ("shaky", "steady"):
        site.provider.subscription_options[name] = {"endorsers": [{"dn": identity.dn, "ca": identity.ca}]}
    site.publish()
    site.configure(fetch_crls=True)

    assert (site.sync().code, site.asked, len(site.provider.titles())) == (0, 1, 4)


# --- looking at one list ----------------------------------------------------------------------------------------------
def looks(site, *options):
    """Look at the list in both ways that do not sync; return the codes, which must be the same."""
    verify = site.provider.given("list", "verify", site.provider.shaky.url, "--json", *options)
    propose = site.provider.given("config", "init", "--from-list", site.provider.shaky.url, "--json", *options)
    assert sorted(path.name for path in site.anchors.iterdir()) == site.before
    return verify.code, propose.code


def test_a_list_is_looked_at_with_what_a_pass_would_go_by(site):
    site.sync()
    site.server.misbehave(PATH, Status(503))

    assert looks(site) == (0, 0)
    assert site.asked == 1


def test_the_first_look_fetches_what_is_missing_and_keeps_nothing(site):
    assert (looks(site), site.asked) == ((0, 0), 2)

    assert not (site.provider.root / "cache").exists()


def test_a_configuration_that_nobody_may_look_at_is_an_error(site, unprivileged):
    hidden = site.provider.root / "hidden"
    hidden.mkdir(mode=0o000)

    result = unprivileged("--config", hidden / "imagesync.yaml", "list", "verify", site.provider.shaky.url)

    assert (result.returncode, result.stdout) == (2, "")
    assert "cannot be read" in result.stderr


def test_a_look_finds_a_revocation_that_was_fetched(site):
    site.authority.revoke(site.signer.certificate)
    site.serve(age=timedelta(minutes=1))
    site.sync()

    assert looks(site) == (3, 3)


def test_nothing_is_fetched_for_a_message_by_somebody_unknown(site):
    for published in (site.provider.shaky, site.provider.steady):
        published.publish(signer=site.provider.trust.stranger)

    assert looks(site) == (3, 3)
    assert site.asked == 0


def test_nothing_is_fetched_for_another_time(site):
    result = site.provider.given("list", "verify", site.provider.shaky.url, "--at", site.now.isoformat(), "--json")

    assert (result.code, site.asked) == (3, 0)


def test_the_configuration_decides_about_crls_unless_the_command_line_does(site):
    site.configure(crl="if-present")

    assert (looks(site), looks(site, "--crl", "require")) == ((0, 0), (3, 3))


def test_directories_on_the_command_line_stand_for_the_configuration(site):
    site.sync()
    fetched = site.provider.root / "cache" / "crls"
    site.provider.config.write_text("broken: [")

    assert looks(site) == (2, 2)
    assert looks(site, "--anchors", site.anchors) == (3, 3)
    assert looks(site, "--anchors", site.anchors, "--crls", fetched) == (0, 0)


def test_a_publisher_checks_a_list_with_what_a_site_fetched(site, tmp_path):
    site.sync()
    keys, draft, out = write_identity(site.signer, tmp_path / "keys"), tmp_path / "draft.json", tmp_path / "out.list"
    draft.write_bytes(site.provider.shaky.content)

    def sign(*options):
        words = ("list", "sign", draft, "--cert", keys.certificate, "--key", keys.key, "--out", out)
        return site.provider.given(*words, "--anchors", site.anchors, *options)

    alone = sign()

    assert (alone.code, "a site would refuse it: revocation-unknown" in alone.err, out.exists()) == (2, True, False)
    assert sign("--crls", site.provider.root / "cache" / "crls").code == 0
    assert sign("--crl", "if-present").code == 0


@pytest.mark.parametrize("options", [("--crls", "."), ("--anchors", ".", "--crls", "absent")])
def test_directories_that_do_not_go_together_are_wrong_usage(site, options):
    options = [str(site.anchors) if word == "." and options[0] == "--anchors" else word for word in options]

    assert looks(site, *options) == (2, 2)


def test_without_a_configuration_the_usual_directory_counts(site):
    site.provider.config.unlink()

    result = site.provider.given("list", "verify", site.provider.shaky.url)

    assert result.code == (3 if any(USUAL_ANCHORS.glob("*.0")) else 2)
    assert str(USUAL_ANCHORS) in result.out + result.err
