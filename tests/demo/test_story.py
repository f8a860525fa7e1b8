import json
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from imagesync.demo.story import run_demo
from imagesync.errors import ConfigError


class Site:
    """Stands in for the command line: reads the published list at each sync and keeps a catalogue of titles."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.lists: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.codes: dict[str, int] = {}
        self.forget_on_failure = False

    def run(self, arguments: Sequence[str]) -> int:
        option, path, *command = arguments
        assert option == "--config"
        self.config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        self.commands.append(" ".join(command))
        return self.sync() if command == ["sync"] else self.codes.get(command[0], 0)

    def sync(self) -> int:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self.config["subscriptions"][0]["url"], timeout=20) as response:
                message = response.read()
        except urllib.error.HTTPError as error:
            error.close()
            if self.forget_on_failure:
                self.write([])
            return 5
        content = json.loads(message[message.index(b"\r\n{") : message.rindex(b"}\r\n") + 1])["hv:imagelist"]
        self.lists.append(content)
        self.write([holder["hv:image"] for holder in content["hv:images"]])
        return self.codes.get("sync", 0)

    def write(self, images: list[dict[str, Any]]) -> None:
        target = Path(self.config["targets"][0]["path"])
        target.mkdir(exist_ok=True)
        entries = [
            {"key": image["dc:identifier"], "sha512": image["sl:checksum:sha512"], "state": "published"}
            for image in images
        ]
        (target / "catalogue.json").write_text(json.dumps({"images": entries}))


def site_config(tmp_path: Path) -> Path:
    return tmp_path / "demo" / "imagesync.yaml"


@pytest.fixture(autouse=True)
def small_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same images with less in them; the real sizes are tried by running the demonstration itself."""
    monkeypatch.setattr("imagesync.demo.images._MIB", 1 << 14)


def test_the_story_is_told_with_the_real_commands(tmp_path: Path) -> None:
    site, said = Site(), []

    assert run_demo(tmp_path / "demo", True, said.append, site.run) == 0

    assert site.commands == ["sync", "status", "plan", "sync", "status", "sync", "status"]
    assert "\n  $ imagesync sync" in said
    assert f"Each command below runs with --config {site_config(tmp_path)} and --log-level warning." in said
    assert "Nothing is lost: the same 4 images" in "\n".join(said)
    assert "`sync` can only fail there" in "\n".join(said)


def test_the_publisher_withdraws_updates_and_adds_one_image(tmp_path: Path) -> None:
    site = Site()
    run_demo(tmp_path / "demo", True, lambda _line: None, site.run)

    before, after = (
        {holder["hv:image"]["dc:identifier"]: holder["hv:image"] for holder in content["hv:images"]}
        for content in site.lists
    )
    changed = [
        key
        for key in before.keys() & after.keys()
        if before[key]["sl:checksum:sha512"] != after[key]["sl:checksum:sha512"]
    ]
    assert [before[key]["dc:title"] for key in before.keys() - after.keys()] == ["Storage node 1.0"]
    assert [after[key]["dc:title"] for key in after.keys() - before.keys()] == ["Notebook 1.0"]
    assert [after[key]["dc:title"] for key in changed] == ["Compute node 1.1"]
    assert site.lists[1]["hv:version"] > site.lists[0]["hv:version"]


def test_the_guard_of_a_site_with_defaults_would_not_trip(tmp_path: Path) -> None:
    site = Site()
    run_demo(tmp_path / "demo", True, lambda _line: None, site.run)

    assert "guard" not in site.config
    withdrawn, published = 1, len(site.lists[0]["hv:images"])
    assert withdrawn / published <= 0.5


def test_the_configuration_pins_the_endorser_and_lies_inside_the_directory(tmp_path: Path) -> None:
    site, place = Site(), tmp_path / "demo"
    run_demo(place, True, lambda _line: None, site.run)

    names = site.lists[0]["hv:endorser"]["hv:x509"]
    subscription, target = site.config["subscriptions"][0], site.config["targets"][0]
    assert subscription["endorsers"] == [{"dn": names["hv:dn"], "ca": names["hv:ca"]}]
    assert subscription["allow_private_addresses"] is True
    assert site.config["trust"] == {"anchors": str(place / "certificates"), "crl": "require"}
    assert site.config["state"] == f"sqlite:///{place}/state.db"
    assert target == {
        "name": "demo", "backend": "directory", "path": str(place / "catalogue"), "formats": ["qcow2", "raw"],
    }  # fmt: skip


def test_what_was_kept_is_named(tmp_path: Path) -> None:
    said: list[str] = []
    run_demo(tmp_path / "demo", True, said.append, Site().run)

    assert f"configuration   {tmp_path / 'demo' / 'imagesync.yaml'}" in said
    assert (tmp_path / "demo" / "imagesync.yaml").exists()


def test_nothing_is_left_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    threads = threading.active_count()
    said: list[str] = []

    assert run_demo(None, False, said.append, Site().run) == 0

    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == threads
    assert "keeps it" in said[-1]


def test_an_unexpected_exit_code_is_told(tmp_path: Path) -> None:
    site, said = Site(), []
    site.codes["plan"] = 3

    assert run_demo(tmp_path / "demo", False, said.append, site.run) == 1

    assert "`imagesync plan` ended with 3, expected 0" in said
    assert "--keep DIR" in said[-1]


def test_a_loss_is_told(tmp_path: Path) -> None:
    site, said = Site(), []
    site.forget_on_failure = True

    assert run_demo(tmp_path / "demo", False, said.append, site.run) == 1
    assert said[-2].startswith("published before the failure")


def test_an_interrupted_story_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(_arguments: Sequence[str]) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path / "demo", False, lambda _line: None, interrupt)

    assert not (tmp_path / "demo").exists()


def test_a_directory_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()

    with pytest.raises(ConfigError, match="is not empty"):
        run_demo(tmp_path, False, lambda _line: None, Site().run)
    assert (tmp_path / "mine").exists()


def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="cannot be used"):
        run_demo(tmp_path / "file", False, lambda _line: None, Site().run)
