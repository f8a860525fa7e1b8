"""The exact forms of what ``sync``, ``plan`` and ``status`` say, which other programs rely on."""

import json
import os
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from imagesync.testing.disks import Kind
from imagesync.testing.faults import Status, Tampered

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def test_the_report_of_a_sync_has_the_promised_fields(provider):
    report = provider.sync().json

    assert {"exit", "run", "lists", "targets", "totals"} <= report.keys()
    shaky = report["lists"][0]
    assert (shaky["name"], shaky["verdict"], shaky["reason"], shaky["version"]) == ("shaky", "trusted", "", "1")
    assert shaky["signer"]["dn"] == "/DC=org/DC=example/CN=Robot: endorser"
    (target,) = report["targets"]
    assert (target["name"], target["outcome"]) == ("site", "done")
    promised = ["kind", "key", "title", "reason", "outcome", "error", "bytes_downloaded", "bytes_uploaded", "seconds"]
    assert all(set(promised) <= action.keys() for action in target["actions"])
    assert report["totals"]["bytes_downloaded"] == 4 * 1280 * 1024
    assert report["totals"]["outcomes"] == {"done": 4}


def test_a_second_sync_changes_nothing_and_reads_no_image(synced):
    before = synced.held(None)
    asked = [len(site.server.requests) for site in (synced.shaky, synced.steady)]

    result = synced.sync()

    assert (result.code, result.done(), result.json["totals"]["bytes_downloaded"]) == (0, [], 0)
    assert [len(site.server.requests) for site in (synced.shaky, synced.steady)] == [count + 1 for count in asked]
    assert synced.held(None) == before


def test_every_line_of_the_log_has_the_run_and_goes_to_standard_error(provider):
    result = provider.run("--log-json", "sync", "--json")

    lines = [json.loads(line) for line in result.err.splitlines()]
    assert {line["run"] for line in lines} == {result.json["run"]}
    published = next(line for line in lines if line["event"] == "published")
    assert {"image", "title", "target", "level", "timestamp"} <= published.keys()


def test_without_json_people_read_who_signed_and_what_was_done(provider):
    result = provider.run("sync")

    assert "list shaky: trusted, version 1, signed by /DC=org/DC=example/CN=Robot: endorser" in result.out
    assert "register shaky-1" in result.out
    assert "\x1b" not in result.out + result.err


# --- plan ---
def test_a_plan_says_what_a_sync_would_do_and_writes_nothing(provider):
    result = provider.run("plan", "--json")

    assert (result.code, result.json["changes"]) == (0, True)
    assert {action["kind"] for action in result.target()["actions"]} == {"register"}
    assert not (provider.root / "state.db").exists()
    assert provider.entries() == []
    assert all(
        provider.shaky.server.requests_for(provider.shaky.image_path(one)) == [] for one in provider.shaky.images
    )


def test_a_check_exits_with_seven_when_there_is_something_to_do(provider):
    assert provider.run("plan", "--check", "--json").json["exit"] == 7


def test_a_check_exits_with_zero_when_there_is_nothing_to_do(synced):
    assert synced.run("plan", "--check").code == 0


@pytest.mark.parametrize("failure", ["one list down", "a list refused", "guard"])
def test_what_is_wrong_weighs_more_than_that_there_are_changes(synced, failure):
    synced.steady.add(synced.image("news"), title="news")
    synced.steady.publish()
    match failure:
        case "one list down":
            synced.shaky.server.misbehave(synced.shaky.path, Status(503))
        case "a list refused":
            synced.shaky.publish(signer=synced.trust.stranger)
        case "guard":
            synced.shaky.images.clear()
            synced.shaky.publish()

    result = synced.given("plan", "--check", "--json")

    assert (result.code, result.json["changes"]) == (
        {"one list down": 1, "a list refused": 3, "guard": 4}[failure],
        True,
    )


# --- status ---
def rows(result, target="site"):
    return {row["title"]: row for row in result.target(target)["images"]}


def test_status_lists_every_endorsed_image_with_the_promised_fields(synced):
    failing = synced.shaky.add(synced.image("failing"), title="failing")
    gone = next(key for key, image in synced.shaky.images.items() if image.title == "shaky-2")
    synced.shaky.withdraw(gone)
    synced.shaky.publish()
    synced.shaky.server.misbehave(synced.shaky.image_path(failing), Status(404))
    synced.given("sync", "--json")

    result = synced.run("status", "--json")

    found = rows(result)
    assert result.code == 0
    assert {title: row["state"] for title, row in found.items()} == {
        "failing": "failed",
        "shaky-1": "published",
        "shaky-2": "retired",
        "steady-1": "published",
        "steady-2": "published",
    }
    assert all({"key", "title", "state", "reason", "since", "digest", "format"} <= row.keys() for row in found.values())
    assert all(TIME.fullmatch(row["since"]) for row in found.values())
    assert "HTTP 404" in found["failing"]["reason"]
    assert found["shaky-1"]["digest"] == next(iter(synced.shaky.images.values())).sha512
    assert found["shaky-1"]["format"] == "raw"


def test_status_asks_no_server(synced):
    synced.close()

    result = synced.run("status", "--json")

    assert (result.code, {row["state"] for row in rows(result).values()}) == (0, {"published"})


def test_status_shows_what_a_failing_list_holds(synced):
    synced.shaky.server.misbehave(synced.shaky.path, Status(503))
    synced.given("sync", "--json")

    found = rows(synced.given("status", "--json"))

    assert (found["shaky-1"]["state"], found["steady-1"]["state"]) == ("held", "published")
    assert "HTTP 503" in found["shaky-1"]["reason"]


def test_status_shows_what_was_never_synced_as_missing(synced):
    synced.targets.append({"name": "new", "backend": "directory", "path": str(synced.root / "new"), "formats": ["raw"]})
    synced.configure()

    result = synced.given("status", "--json", "--target", "new")

    assert {row["state"] for row in rows(result, "new").values()} == {"missing"}


def test_status_before_the_first_sync_is_no_error(provider):
    result = provider.run("status", "--json")

    assert (result.code, result.target()["images"]) == (0, [])


def test_a_tampered_file_is_shown_and_replaced(synced):
    (victim,) = [one for one in synced.entries() if one["name"] == "shaky-1"]
    file = synced.root / "site" / victim["file"]
    file.chmod(0o644)
    file.write_bytes(b"\0" * file.stat().st_size)

    assert rows(synced.given("status", "--json"))["shaky-1"]["state"] == "tampered"
    result = synced.sync()

    assert (result.code, result.done(), result.action("shaky-1")["cause"]) == (0, [("replace", "shaky-1")], "tampered")
    assert rows(synced.given("status", "--json"))["shaky-1"]["state"] == "published"


# --- the catalogue ---
def test_the_catalogue_has_the_promised_fields(provider):
    provider.shaky.add(provider.image("other", Kind.QCOW2), title="other", hv_ram_minimum="2048")
    provider.shaky.publish()
    provider.sync()

    entries = provider.entries()
    promised = {"key", "file", "format", "size", "sha512", "virtual_size", "state", "properties"}
    assert len(entries) == 5
    assert all(promised <= entry.keys() for entry in entries)
    other = next(entry for entry in entries if entry["name"] == "other")
    mpuri = provider.shaky.content.decode().split('"dc:title": "other"')[1].split('"ad:mpuri": "')[1].split('"')[0]
    assert other["properties"]["vmcatcher_event_ad_mpuri"] == mpuri
    assert other["properties"]["APPLIANCE_VO"] == "shaky.example.org"
    assert (provider.root / "site" / other["file"]).stat().st_size == other["size"]
    assert (other["format"], other["state"], other["virtual_size"]) == ("raw", "published", 1280 * 1024)


@pytest.mark.parametrize(("hours", "code"), [(23, 0), (25, 1), (73, 2)])
def test_an_image_that_failed_from_the_beginning_is_late_to_the_probe(provider, hours, code):
    for key, one in provider.shaky.images.items():
        if one.title == "shaky-1":
            provider.shaky.server.misbehave(provider.shaky.image_path(key), Tampered(0))
    assert provider.given("sync").code == 1
    (row,) = [
        image
        for image in provider.given("status", "--from-state", "--json").json["targets"][0]["images"]
        if image["title"] == "shaky-1"
    ]
    assert row["state"] == "failed"
    since = datetime.now(UTC) - timedelta(hours=hours)
    with closing(sqlite3.connect(provider.root / "state.db")) as state:
        state.execute("update image set since = ? where title = 'shaky-1'", (f"{since:%Y-%m-%d %H:%M:%S.%f}",))
        state.commit()
    said = provider.given("probe")

    assert (said.code, "1 images missing or outdated on site" in said.out) == (code, code > 0), said.out


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_probe_that_would_wait_for_long_is_unknown(provider, options):
    provider.config.unlink()
    os.mkfifo(provider.config)
    said = provider.run("probe", "--timeout", "1s", *options)

    assert said.code == 3
    assert "no answer within 1 s" in (said.json["text"] if options else said.out)
    assert options or said.out.startswith("IMAGESYNC UNKNOWN - ")
