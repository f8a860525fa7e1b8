"""What is remembered of passes, and when it is over."""

from datetime import UTC, datetime

import pytest
import yaml

from imagesync.config.load import load, snapshot
from imagesync.daemon.passes import Passes, Program, Site
from imagesync.state import TroubleRecord, open_state

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TROUBLES = (
    ("pass/one", "one", ""),
    ("refused/two", "two", ""),
    ("pass/(housekeeping)", "(housekeeping)", ""),
    ("target/site", "", "site"),
    ("target/away", "", "away"),
    ("image/away/p:l/i", "one", "away"),
    ("image/site/p:l/i", "one", "site"),
    ("guard/site/two", "two", "site"),
)


@pytest.fixture
def kept(tmp_path):
    """Return a function that gives the troubles that are left with these lists and targets."""

    def kept(lists, targets):
        endorsers = [{"dn": "/CN=a", "ca": "/CN=b"}]
        config = {
            "state": f"sqlite:///{tmp_path / 'state.db'}",
            "cache": str(tmp_path / "cache"),
            "subscriptions": [
                {"name": name, "vo": name, "url": f"https://l.example/{name}", "endorsers": endorsers} for name in lists
            ],
            "targets": [
                {"name": name, "backend": "directory", "path": str(tmp_path / name), **more}
                for name, more in targets.items()
            ],
        }
        file = tmp_path / "imagesync.yaml"
        file.write_text(yaml.safe_dump(config))
        with open_state(config["state"]) as state:
            state.tell([TroubleRecord(key, "failure", *about, key, NOW) for key, *about in TROUBLES], (), ())
            Passes(Program(["false"], {}, lambda: NOW)).forget(Site(load(file, {}), snapshot(file)))
            return {trouble.key for trouble in state.troubles()}

    return kept


def test_what_is_wrong_with_what_is_followed_stays(kept):
    assert kept(["one", "two"], {"site": {}, "away": {}}) == {key for key, *_ in TROUBLES}


def test_what_is_wrong_with_a_list_that_is_followed_no_more_is_over(kept):
    over = {"refused/two", "guard/site/two"}
    assert kept(["one"], {"site": {}, "away": {}}) == {key for key, *_ in TROUBLES} - over


def test_what_is_wrong_with_a_target_that_is_configured_no_more_is_over_with_its_images(kept):
    """Else it would be told never again when it comes back."""
    over = {"target/away", "image/away/p:l/i"}
    assert kept(["one", "two"], {"site": {}}) == {key for key, *_ in TROUBLES} - over


def test_what_is_wrong_with_images_of_a_list_that_the_target_follows_no_more_is_over(kept):
    over = {"guard/site/two"}
    targets = {"site": {"subscriptions": ["one"]}, "away": {}}
    assert kept(["one", "two"], targets) == {key for key, *_ in TROUBLES} - over
