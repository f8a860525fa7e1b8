"""What became of images is told whatever ended in between: a pass, the daemon, or both."""

import json
import time

from imagesync.state import open_state
from imagesync.testing.faults import Held

HANG = 150


def until(truth):
    due = time.monotonic() + HANG
    while not truth():
        assert time.monotonic() < due
        time.sleep(0.05)


def changes(site):
    """Return what the state has to tell."""
    with open_state(f"sqlite:///{site.root / 'state.db'}") as state:
        return [(change.kind, change.subscription, change.title) for change in state.changes(99, ended=False)]


def test_an_image_that_a_killed_pass_published_is_told_by_the_next(provider, ending):
    held, last = Held(100), max(provider.shaky.images)
    provider.shaky.server.misbehave(provider.shaky.image_path(last), held)
    with ending(provider.start("sync", "--list", "shaky")) as process:
        assert held.reached.wait(HANG)
        until(lambda: len(provider.titles()) == 1)
        process.kill()
    held.release.set()
    provider.shaky.server.behave()
    assert changes(provider) == []

    assert provider.given("sync", "--list", "shaky").code == 0
    told = [("published", "shaky", "shaky-1"), ("published", "shaky", "shaky-2")]
    assert sorted(changes(provider)) == told
    assert provider.given("sync", "--list", "shaky").code == 0
    assert sorted(changes(provider)) == told


def test_what_was_done_without_the_daemon_is_told_by_it_once(synced, start):
    synced.steady.withdraw(next(key for key, one in synced.steady.images.items() if one.title == "steady-1"))
    synced.steady.publish()
    assert synced.given("sync").code == 0
    file = synced.root / "ops.jsonl"
    synced.options["notifications"] = [{"name": "ops", "command": ["sh", "-c", f"cat >> {file}; echo >> {file}"]}]
    synced.options["daemon"] = {"listen": "off", "jitter": "0"}
    synced.configure()
    with start() as daemon:
        daemon.idle()
        until(lambda: file.exists() and len(file.read_text().splitlines()) == 2)
        assert changes(synced) == []
        daemon.stop()

    events = [event for line in file.read_text().splitlines() for event in json.loads(line)["events"]]
    assert [event["kind"] for event in events] == ["published"] * 4 + ["withdrawn"]
    assert len({event["id"] for event in events}) == 5
