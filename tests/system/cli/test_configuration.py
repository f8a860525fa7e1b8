"""``imagesync config``, ``backends`` and ``prune``, and what a wrong configuration makes of every command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml


def rewrite(site, edit):
    config = yaml.safe_load(site.config.read_text())
    edit(config)
    site.config.write_text(yaml.safe_dump(config, sort_keys=False))


def misspell(config):
    config["guards"] = config.pop("guard")
    config["trust"]["anchor"] = config["trust"].pop("anchors")
    config["subscriptions"][0]["endorsers"][0]["dm"] = config["subscriptions"][0]["endorsers"][0].pop("dn")
    config["subscriptions"][1]["every"] = "6 hours"
    config["targets"][0]["formats"] = ["qcow3"]


COMMANDS = [("sync", "--json"), ("plan",), ("status",), ("prune",), ("config", "check"), ("list", "show", "shaky")]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_every_typo_is_reported_at_once_and_nothing_is_done(provider, command):
    rewrite(provider, misspell)

    result = provider.run(*command) if command[0] == "sync" else provider.given(*command)

    said = result.out + result.err
    assert result.code == 2
    assert f"{provider.config}: guards: is no option: did you mean guard?" in said
    assert "trust.anchor: is no option: did you mean anchors?" in said
    assert "subscriptions[0].endorsers[0].dm: is no option: did you mean dn?" in said
    assert "subscriptions[0].endorsers[0].dn: is missing" in said
    assert "subscriptions[1].every: is no duration" in said
    assert "targets[0].formats[0]: qcow3 is no disk format" in said
    assert not (provider.root / "state.db").exists()
    assert not (provider.root / "site").exists()


@pytest.mark.parametrize("content", ["subscriptions: [", "- a list", "a: 1\na: 2", "\0"])
def test_what_is_no_mapping_in_yaml_is_a_configuration_error(provider, content):
    provider.config.write_text(content)

    result = provider.given("sync", "--json")

    assert (result.code, result.json["exit"], len(result.json["problems"])) == (2, 2, 1)
    assert str(provider.config) in result.err


def test_an_absent_configuration_is_named(provider):
    provider.config.unlink()

    result = provider.given("sync")

    assert result.code == 2
    assert str(provider.config) in result.err


def test_the_environment_may_name_the_configuration(provider):
    named = provider.config.rename(provider.root / "named.yaml")
    command = [sys.executable, "-m", "imagesync", "config", "check"]

    done = subprocess.run(
        command, env={**os.environ, "IMAGESYNC_CONFIG": str(named)}, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, f"{named}: good\n")


def test_a_setting_that_the_backend_does_not_know_is_found_by_the_check(provider):
    provider.targets[0]["pathh"] = "x"
    provider.configure()

    result = provider.given("config", "check", "--json")

    assert (result.code, result.json["ok"]) == (2, False)
    assert any("did you mean path?" in problem for problem in result.json["problems"])


def test_a_target_with_a_wrong_setting_harms_no_other(provider):
    provider.targets.append({"name": "odd", "backend": "directory", "path": str(provider.root / "odd"), "pathh": "x"})
    provider.configure()

    result = provider.sync()

    assert (result.target("site")["outcome"], len(provider.titles())) == ("done", 4)
    assert (result.code, result.target("odd")["outcome"]) == (2, "failed")


def test_an_unusable_anchors_directory_is_a_configuration_error(provider):
    provider.options["trust"] = {"anchors": str(provider.root / "nowhere")}
    provider.configure()

    result = provider.sync()

    assert (result.code, result.json["exit"], len(result.json["problems"])) == (2, 2, 1)
    assert str(provider.root / "nowhere") in result.err


def test_a_cache_that_cannot_be_made_fails_the_images_and_loses_none(synced):
    (synced.root / "file").write_text("")
    synced.options["cache"] = str(synced.root / "file")
    synced.configure()
    synced.shaky.add(synced.image("new"), title="new")
    synced.shaky.publish()

    result = synced.sync()

    assert (result.code, result.action("new")["outcome"], len(synced.titles())) == (1, "failed", 4)
    assert "check the directory" in result.action("new")["error"]


def test_a_state_that_cannot_be_opened_is_an_error_before_anything_is_done(provider):
    (provider.root / "state.db").mkdir()

    result = provider.sync()

    assert result.code == 5
    assert "state.db" in result.err
    assert not (provider.root / "site").exists()


# --- config ---
def test_the_check_may_connect_and_writes_nothing(provider):
    provider.shaky.publish(signer=provider.trust.stranger)

    result = provider.given("config", "check", "--connect", "--json")

    assert (result.code, result.json["ok"]) == (2, False)
    assert [problem.partition(":")[0] for problem in result.json["problems"]] == ["subscription shaky"]
    assert not (provider.root / "state.db").exists()


def test_the_check_names_the_cas_that_no_list_can_be_verified_under(provider):
    anchors = Path(__file__).resolve().parents[3] / "fixtures" / "trust" / "anchors"
    provider.options["trust"] = {"anchors": str(anchors)}
    provider.configure()

    warnings = provider.given("config", "check", "--json").json["warnings"]
    assert provider.given("config", "check", "--connect", "--json").json["warnings"] == warnings

    name = "/DC=test/DC=imagesync/CN=Expired CA"
    assert any(f"{name}: the certificate expired on 2020-01-01" in warning for warning in warnings)


def test_the_shown_configuration_has_the_defaults(provider):
    shown = provider.given("config", "show", "--json").json

    assert shown["expiry_grace"] == "3d"
    assert shown["subscriptions"][0]["allow_private_addresses"] is True
    assert provider.given("config", "show").out.startswith("instance: imagesync")


def test_the_schema_describes_every_option(provider):
    schema = provider.given("config", "schema").json

    assert {"subscriptions", "targets", "guard", "trust"} <= schema["properties"].keys()


def test_the_initial_configuration_is_a_good_one(provider):
    provider.config.write_text(provider.given("config", "init").out)

    result = provider.given("config", "show", "--json")

    assert result.code == 0
    assert json.loads(provider.given("config", "init", "--json").out)["subscriptions"]


def test_the_backends_are_listed_with_their_package(provider):
    assert {"name": "directory", "distribution": "imagesync"}.items() <= provider.given("backends", "--json").json[
        0
    ].items()


# --- prune ---
@pytest.fixture
def retired(synced):
    """Return a site that retired an image a moment ago."""
    synced.shaky.withdraw(list(synced.shaky.images)[-1])
    synced.shaky.publish()
    synced.given("sync", "--json")
    return synced


def test_pruning_leaves_what_is_not_due(retired):
    result = retired.given("prune", "--json")

    assert (result.code, result.target()["actions"]) == (0, [])
    assert retired.titles("retired") == ["shaky-2"]


def test_pruning_deletes_what_is_due(retired):
    (gone,) = [one for one in retired.entries() if one["state"] == "retired"]
    retired.targets[0]["delete_after"] = 0
    retired.options["cache_max_bytes"] = 0
    retired.configure()

    result = retired.run("prune", "--json")

    assert (result.code, result.done()) == (0, [("delete", "shaky-2")])
    assert not (retired.root / "site" / gone["file"]).exists()
    assert retired.titles() == ["shaky-1", "steady-1", "steady-2"]
    # What the directory still has a link to takes no room, and stays; where blocks are shared all four go.
    assert len(result.json["cache"]) in {1, 4}


def test_a_removed_subscription_keeps_its_images_until_they_are_pruned(synced):
    rewrite(synced, lambda config: config["subscriptions"].pop(0))
    assert synced.given("sync", "--json").code == 0
    assert len(synced.titles()) == 4

    result = synced.run("prune", "--unsubscribed", "--json")

    assert (result.code, result.done()) == (0, [("retire", "shaky-1"), ("retire", "shaky-2")])
    assert synced.titles() == ["steady-1", "steady-2"]
