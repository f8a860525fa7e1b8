"""The attacks on update systems by the names of python-tuf's list, each against a site that worked before.

One scenario each, through the real command line, with what the report has to say. The variants of each (which byte,
which status, which date) are in the modules about failures of lists, images and over time.
"""

import shutil
import subprocess
from datetime import timedelta

import pytest

from imagesync.testing.faults import Endless, Replaced, Slow, Status
from imagesync.testing.list_server import identity_of
from imagesync.testing.pki import Authority, ec_key, write_anchors


@pytest.fixture
def attacked(synced):
    """Return the site with a check that nobody lost or got an image by an attack on the shaky list."""
    synced.before = synced.held(synced.shaky)
    return synced


def unharmed(site, result, reason, code=3):
    """See that the list was refused for ``reason`` and that all of its images are as they were."""
    listed = result.list("shaky")
    assert (result.code, listed["verdict"]) == (code, "refused" if code == 3 else "unavailable")
    assert reason in listed["reason"]
    assert listed["hint"]
    assert site.held(site.shaky) == site.before
    assert result.list("steady")["verdict"] == "trusted"


def first_image(site):
    return next(iter(site.shaky.images))


def lose_state(site):
    for file in site.root.glob("state.db*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()


# --- what is served ---
def test_arbitrary_software(attacked):
    """The attacker serves bytes of their own for an image."""
    attacked.shaky.replace(first_image(attacked), attacked.image("next"))
    attacked.shaky.publish()
    genuine = (attacked.root / "publisher" / "next.img").read_bytes()
    forged = Replaced(genuine[:-1] + bytes([genuine[-1] ^ 1]))
    attacked.shaky.server.misbehave(attacked.shaky.image_path(first_image(attacked)), forged)

    result = attacked.sync()

    action = result.action("shaky-1")
    assert (result.code, action["kind"], action["outcome"]) == (1, "replace", "failed")
    assert "SHA-512 is" in action["error"]
    old = next(one for one, _ in attacked.before if one["name"] == "shaky-1")
    assert old["file"] in {one["file"] for one in attacked.entries() if one["state"] == "published"}


def test_arbitrary_metadata(attacked):
    """The attacker serves a list of their own, signed by a certificate that they made."""
    attacked.shaky.add(attacked.image("malware"), title="malware")
    attacked.shaky.publish(signer=attacked.trust.stranger)

    unharmed(attacked, attacked.sync(), "untrusted-signer")


def test_endless_data(attacked):
    """The attacker answers with a body without end, for the list and for an image."""
    attacked.steady.add(attacked.image("endless"), title="endless")
    attacked.steady.publish()
    attacked.steady.server.misbehave(attacked.steady.image_path(list(attacked.steady.images)[-1]), Endless())
    attacked.shaky.publish()
    attacked.shaky.server.misbehave(attacked.shaky.path, Endless())

    result = attacked.sync()

    unharmed(attacked, result, "allowed are 65536")
    assert result.action("endless")["outcome"] == "failed"


def test_slow_retrieval(attacked):
    """The attacker sends so slowly that a pass would never end."""
    attacked.shaky.publish()
    attacked.shaky.server.misbehave(attacked.shaky.path, Slow(chunk=1, pause=30))

    unharmed(attacked, attacked.sync(), "no data for 2 s", code=1)


def test_extraneous_dependencies(attacked):
    """Images depend on nothing; one that names another file as its backing store is refused though it is endorsed."""
    image = attacked.root / "publisher" / "dependent.qcow2"
    words = ["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", image, "1M"]
    subprocess.run(words, check=True)
    attacked.shaky.add(image, title="dependent")
    attacked.shaky.publish()

    result = attacked.sync()

    assert (result.code, result.action("dependent")["outcome"]) == (1, "failed")
    assert "backing" in result.action("dependent")["error"]
    assert "dependent" not in attacked.titles()


def test_malicious_mirror_preventing_updates(attacked):
    """Whoever serves one image keeps it from the site; everything else is updated and nothing is lost."""
    for title in ("kept away", "free"):
        attacked.shaky.add(attacked.image(title), title=title)
    attacked.shaky.publish()
    kept_away = list(attacked.shaky.images)[-2]
    attacked.shaky.server.misbehave(attacked.shaky.image_path(kept_away), Status(403))

    result = attacked.sync()

    assert (result.code, result.action("kept away")["outcome"], result.action("free")["outcome"]) == (
        1,
        "failed",
        "done",
    )
    assert {"shaky-1", "shaky-2", "free"} < set(attacked.titles())


# --- which list, and when ---
def test_rollback(attacked):
    """The attacker serves an older list, which is signed and not expired."""
    old = attacked.shaky.message
    attacked.shaky.replace(first_image(attacked), attacked.image("repaired"))
    attacked.shaky.publish()
    attacked.given("sync", "--json")
    attacked.before = attacked.held(attacked.shaky)
    attacked.shaky.publish_bytes(old)

    unharmed(attacked, attacked.sync(), "rollback: version 1 is older than 2")


def test_replay_after_state_loss(attacked):
    """The same, right after the site lost its state: the records on the target remember the version."""
    old = attacked.shaky.message
    attacked.shaky.publish()
    attacked.given("sync", "--json")
    attacked.before = attacked.held(attacked.shaky)
    lose_state(attacked)
    attacked.shaky.publish_bytes(old)

    result = attacked.sync()

    unharmed(attacked, result, "rollback")
    assert result.json["state"] == "lost"


def test_equivocation(attacked):
    """Somebody with the endorser's key shows this site another content under the same version."""
    attacked.shaky.withdraw(first_image(attacked))
    attacked.shaky.publish(version=attacked.shaky.version)

    unharmed(attacked, attacked.sync(), "rollback: version 1 was accepted before with other content")


def test_fast_forward(attacked):
    """With a stolen key the attacker publishes a version so high that no later one counts; the operator gets out."""
    attacked.shaky.publish(version=10**30)
    assert attacked.given("sync", "--json").code == 0
    attacked.before = attacked.held(attacked.shaky)
    attacked.shaky.publish(version=2)
    unharmed(attacked, attacked.sync(), "rollback")

    assert attacked.run("list", "reset", "shaky", "--version").code == 0

    result = attacked.sync()
    assert (result.code, result.list("shaky")["version"]) == (0, "2")
    attacked.shaky.publish(version=3)
    assert attacked.given("sync", "--json").list("shaky")["version"] == "3"


def test_indefinite_freeze(attacked):
    """The attacker serves the same list for ever: its age is told, also where it does not expire for centuries."""
    attacked.shaky.created = attacked.trust.now - timedelta(days=400)
    attacked.shaky.expires = attacked.trust.now + timedelta(days=150_000)
    attacked.shaky.publish()

    first, again = attacked.sync(), attacked.sync()

    for result in (first, again):
        (notice,) = result.list("shaky")["notices"]
        assert (notice["level"], notice["matter"]) == ("critical", "list-age")
        assert "no newer list was seen for 400 days" in result.err


def test_freeze_beyond_the_date(attacked):
    """The same with a list that expired: what is served is refused, and the last accepted version stands."""
    attacked.shaky.created = attacked.trust.now - timedelta(days=2)
    attacked.shaky.expires = attacked.trust.now - timedelta(hours=1)
    attacked.shaky.publish()

    unharmed(attacked, attacked.sync(), "expired-list")


def test_mix_and_match(attacked):
    """The attacker serves the new list with the old bytes of an image: neither is offered as the other."""
    old = next(path for path in (attacked.root / "publisher").iterdir() if path.stem == "shaky-1").read_bytes()
    attacked.shaky.replace(first_image(attacked), attacked.image("newer"))
    attacked.shaky.publish()
    attacked.shaky.server.misbehave(attacked.shaky.image_path(first_image(attacked)), Replaced(old))

    result = attacked.sync()

    assert (result.code, result.action("shaky-1")["outcome"]) == (1, "failed")
    (entry,) = (one for one in attacked.entries() if one["name"] == "shaky-1" and one["state"] == "published")
    assert entry["properties"]["imagesync_list_version"] == "1"
    assert "shaky-2" in attacked.titles()


def test_wrong_software_installation(attacked):
    """The attacker serves another VO's list, which is signed by the same endorser."""
    attacked.shaky.publish_bytes(attacked.steady.message)

    unharmed(attacked, attacked.sync(), "identity-mismatch")


# --- with the endorser's key ---
def test_key_compromise(provider, tmp_path):
    """The key is stolen and used, found out, revoked by its CA and recalled by the operator, and replaced."""
    now = provider.trust.now
    authority = Authority("/DC=org/DC=example/CN=Robbed CA", now, key=ec_key())
    anchors = write_anchors(tmp_path / "anchors", [authority])
    stolen = authority.issue("/DC=org/DC=example/CN=Robot: robbed", key=ec_key())
    fresh = authority.issue("/DC=org/DC=example/CN=Robot: fresh", key=ec_key())
    trust = {"trust": {"anchors": str(anchors)}}
    endorsed_by(provider, stolen, **trust)
    provider.shaky.publish(signer=stolen)
    provider.steady.publish(signer=stolen)
    provider.shaky.add(provider.image("malware"), title="malware")
    provider.shaky.publish(signer=stolen)
    assert provider.given("sync", "--json").code == 0
    assert "malware" in provider.titles()  # nothing can tell this list from a good one

    authority.revoke(stolen.certificate)
    write_anchors(anchors, [authority])
    refused = provider.sync()
    assert (refused.code, refused.list("shaky")["reason"].partition(":")[0]) == (3, "revoked-signer")

    recalled = provider.run("revoke", "--signer", "*/CN=Robot: robbed", "--reason", "stolen key", "--now", "--json")
    assert (recalled.code, provider.titles()) == (0, [])

    del provider.shaky.images[list(provider.shaky.images)[-1]]
    endorsed_by(provider, fresh, **trust)
    for published in (provider.shaky, provider.steady):
        published.publish(signer=fresh)
    healed = provider.sync()
    assert (healed.code, provider.titles()) == (0, ["shaky-1", "shaky-2", "steady-1", "steady-2"])
    assert provider.sync().done() == []


def endorsed_by(site, signer, **changes):
    identity = identity_of(signer)
    for name in ("shaky", "steady"):
        site.subscription_options[name] = {"endorsers": [{"dn": identity.dn, "ca": identity.ca}]}
    site.configure(**changes)
