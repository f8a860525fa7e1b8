"""``imagesync revoke``: a recall is a file, is quick, and stands over every list."""

import json
import stat

import pytest
import yaml

from imagesync.state import open_state
from imagesync.testing.disks import Kind
from imagesync.testing.faults import Held, Status

HANG = 150
WHY = ("--reason", "contains a private key")


def down(site):
    """Have no list server answer: a recall must not need one."""
    for published in (site.shaky, site.steady):
        published.server.misbehave(published.path, Status(503))


def pattern(site, what):
    """Return the options that name the first image of the shaky list by one of its facts."""
    image = next(iter(site.shaky.images.values()))
    entry = next(one for one in site.entries(site.shaky) if one["name"] == "shaky-1")
    return {
        "identifier": ("--identifier", image.identifier),
        "mpuri": ("--mpuri", entry["properties"]["APPLIANCE_MPURI"]),
        "sha512": ("--sha512", image.sha512.upper()),
        "part of it": ("--sha512", f"{image.sha512[:16]}*"),
        "list and identifier": ("--list", site.shaky.identifier, "--identifier", image.identifier),
    }[what]


@pytest.mark.parametrize("what", ["identifier", "mpuri", "sha512", "part of it", "list and identifier"])
def test_a_recalled_image_goes_at_once_though_no_server_answers_and_stays_away(synced, what):
    down(synced)

    result = synced.given("revoke", *pattern(synced, what), *WHY, "--now", "--json")

    assert (result.code, result.json["exit"]) == (0, 0)
    assert synced.titles() == ["shaky-2", "steady-1", "steady-2"]
    action = result.action("shaky-1")
    assert (action["kind"], action["cause"]) == ("retire", "revoked")
    assert action["reason"] == "denied locally: contains a private key"
    for published in (synced.shaky, synced.steady):
        published.server.behave(published.path)
    synced.shaky.publish()
    assert synced.given("sync", "--json").code == 0
    assert synced.titles() == ["shaky-2", "steady-1", "steady-2"]


def test_a_recall_takes_effect_in_the_next_pass_also_while_the_list_is_unknown(synced):
    down(synced)
    recalled = synced.run("revoke", *pattern(synced, "identifier"), *WHY)
    assert (recalled.code, len(synced.titles())) == (0, 4)
    assert "effective in the next pass" in recalled.err

    assert synced.sync().done() == [("retire", "shaky-1")]


def test_the_guard_does_not_hold_back_a_recall(synced):
    synced.configure(guard={"share": 0.0, "min_images": 0})

    result = synced.given("revoke", "--list", synced.shaky.identifier, *WHY, "--now", "--json")

    assert (result.code, synced.titles()) == (0, ["steady-1", "steady-2"])


@pytest.mark.parametrize("what", ["signer", "list version"])
def test_everything_of_a_signer_or_a_version_is_recalled(synced, what):
    option = ("--signer", "/DC=org/DC=example/CN=Robot: endorser") if what == "signer" else ("--list-version", "1")

    result = synced.given("revoke", *option, *WHY, "--now", "--json")

    assert (result.code, synced.titles()) == (0, [])


def test_a_repaired_version_is_offered_while_the_bad_one_stays_away(synced):
    image = next(iter(synced.shaky.images))
    assert synced.given("revoke", *pattern(synced, "sha512"), *WHY, "--now").code == 0
    synced.shaky.replace(image, synced.image("repaired"))
    synced.shaky.publish()

    first, second = synced.sync(), synced.sync()

    assert (first.code, first.done()) == (0, [("register", "shaky-1"), ("update", "shaky-2")])
    assert (second.code, second.done()) == (0, [])
    assert "shaky-1" in synced.titles()
    (standing,) = (one for one in synced.given("status", "--json").target()["images"] if one["title"] == "shaky-1")
    assert standing["state"] == "published"


@pytest.mark.parametrize("what", ["identifier", "mpuri", "sha512"])
def test_what_others_write_on_a_record_does_not_save_it(synced, what):
    named = pattern(synced, what)
    path = synced.root / "site" / "catalogue.json"
    catalogue = json.loads(path.read_bytes())
    (entry,) = (one for one in catalogue["images"] if one["name"] == "shaky-1")
    entry["properties"] |= {"APPLIANCE_MPURI": "x", "imagesync_source_sha512": "x"}
    if what == "identifier":
        entry["key"]["image"] = "another"
    path.write_text(json.dumps(catalogue))
    down(synced)

    result = synced.given("revoke", *named, *WHY, "--now", "--json")

    assert (result.code, len(synced.titles())) == (0, 3)
    assert "shaky-1" not in synced.titles()


def test_losing_the_state_does_not_publish_a_recalled_image(synced):
    assert synced.given("revoke", *pattern(synced, "identifier"), *WHY, "--now").code == 0
    for file in synced.root.glob("state.db*"):
        _ = file.is_dir() or file.unlink()

    assert synced.sync().json["state"] == "lost"
    assert "shaky-1" not in synced.titles()


def test_a_recall_leaves_pins_and_floors_as_they_are(synced):
    synced.shaky.publish(version=7)
    synced.given("sync", "--json")
    assert synced.given("list", "reset", "shaky", "--version").code == 0

    assert synced.given("revoke", "--identifier", "nothing", *WHY, "--now").code == 0

    synced.shaky.publish(version=3)
    assert synced.given("sync", "--json").list("shaky")["version"] == "3"


def test_what_is_endorsed_anew_in_another_version_is_published_again(synced):
    assert synced.given("revoke", "--list", synced.shaky.identifier, "--list-version", "1", *WHY, "--now").code == 0
    assert synced.titles() == ["steady-1", "steady-2"]
    synced.shaky.publish()

    first, second = synced.sync(), synced.sync()

    assert first.done() == [("restore", "shaky-1"), ("restore", "shaky-2")]
    assert (second.code, second.done(), len(synced.titles())) == (0, [], 4)


def test_converted_bytes_that_are_recalled_are_not_made_again(synced):
    synced.shaky.add(synced.image("converted", Kind.QCOW2), title="converted")
    synced.shaky.publish()
    synced.given("sync", "--json")
    (entry,) = (one for one in synced.entries() if one["name"] == "converted")

    result = synced.given("revoke", "--sha512", entry["properties"]["imagesync_sha512"], *WHY, "--now", "--json")

    assert result.done() == [("retire", "converted")]
    for _ in range(2):
        again = synced.sync()
        assert (again.code, again.done()) == (0, [])
    assert "converted" not in synced.titles()


@pytest.mark.parametrize("how", ["withdrawn", "superseded"])
def test_an_image_that_was_retired_before_it_is_recalled_counts_as_recalled(synced, how):
    named = pattern(synced, "sha512")
    first = next(iter(synced.shaky.images))
    if how == "withdrawn":
        synced.shaky.withdraw(first)
    else:
        synced.shaky.replace(first, synced.image("repaired"))
    synced.shaky.publish()
    synced.given("sync", "--json", "--allow-removals", "1")

    result = synced.given("revoke", *named, *WHY, "--now", "--json")

    assert (result.code, result.done()) == (0, [("retire", "shaky-1")])
    standing = [one["state"] for one in synced.given("status", "--json").target()["images"]]
    assert sorted(standing) == ["published"] * (4 if how == "superseded" else 3) + ["revoked"] * (how == "withdrawn")
    (retired,) = (one for one in synced.entries() if one["state"] == "retired")
    assert retired["retirement"]["reason"] == "revoked"
    again = synced.sync()
    assert (again.code, again.done()) == (0, [])


@pytest.mark.parametrize("what", ["missing", "empty"])
def test_a_recall_works_while_trust_is_broken_and_removes_nothing_else(synced, what):
    anchors = synced.root / "anchors"
    _ = what == "missing" or anchors.mkdir()
    synced.configure(trust={"anchors": str(anchors)})
    synced.shaky.withdraw(list(synced.shaky.images)[-1])
    synced.shaky.publish()

    result = synced.run("revoke", *pattern(synced, "identifier"), *WHY, "--now", "--json")

    assert (result.code, result.done()) == (0, [("retire", "shaky-1")])
    assert "trust anchors cannot be used, no list is known" in result.err
    assert synced.titles() == ["shaky-2", "steady-1", "steady-2"]
    assert synced.given("sync", "--json").code == 2


def test_nothing_but_the_recall_is_done_at_once(synced):
    synced.shaky.withdraw(list(synced.shaky.images)[-1])
    synced.shaky.publish()

    result = synced.given("revoke", *pattern(synced, "identifier"), *WHY, "--now", "--json")

    assert result.done() == [("retire", "shaky-1")]
    assert "shaky-2" in synced.titles()


def test_the_file_says_what_why_when_and_who(synced):
    result = synced.run("revoke", "--sha512", "ab*", *WHY, "--by", "Ada", "--json")

    (file,) = (synced.root / "deny.d").iterdir()
    text = file.read_text()
    (entry,) = yaml.safe_load(text)["deny"]
    assert (result.json["file"], result.json["entries"]) == (str(file), [entry])
    assert (entry["sha512"], entry["reason"], entry["by"]) == ("ab*", "contains a private key", "Ada")
    assert entry["at"].endswith("Z")
    assert f"imagesync revoke --lift {file.stem}" in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert synced.given("config", "check").code == 0


def test_a_lifted_recall_brings_the_image_back_without_an_upload(synced):
    synced.given("revoke", *pattern(synced, "identifier"), *WHY, "--now")
    (file,) = (synced.root / "deny.d").iterdir()

    lifted = synced.run("revoke", "--lift", file.stem, "--json")

    assert (lifted.code, lifted.json["lifted"], file.exists()) == (0, str(file), False)
    result = synced.sync()
    assert (result.done(), result.json["totals"]["bytes_uploaded"]) == ([("restore", "shaky-1")], 0)


WRONG = {
    "nothing": WHY,
    "everything": ("--identifier", "*", *WHY),
    "no reason": ("--identifier", "a"),
    "an empty reason": ("--identifier", "a", "--reason", " "),
    "an unknown recall": ("--lift", "absent"),
    "a file elsewhere": ("--lift", "../imagesync"),
    "lifting and recalling": ("--lift", "x", "--identifier", "a"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_recall_that_makes_no_sense_is_wrong_usage_and_writes_nothing(provider, what):
    result = provider.given("revoke", *WRONG[what])

    assert result.code == 2
    assert list((provider.root / "deny.d").glob("*")) == []


def test_a_target_that_does_not_answer_is_told_and_done_later(synced):
    catalogue = synced.root / "site" / "catalogue.json"
    good = catalogue.read_bytes()
    catalogue.write_text("{")

    result = synced.given("revoke", *pattern_for(synced), *WHY, "--now", "--json")

    assert (result.code, result.target()["outcome"]) == (5, "failed")
    catalogue.write_bytes(good)
    assert synced.sync().done() == [("retire", "shaky-1")]


def test_a_target_that_is_busy_is_told_and_done_later(synced):
    with open_state(f"sqlite:///{synced.root / 'state.db'}") as state, state.lock("site", synced.trust.now):
        result = synced.run("revoke", *pattern_for(synced), *WHY, "--now", "--json")

    assert (result.code, len(synced.titles())) == (6, 4)
    assert synced.sync().done() == [("retire", "shaky-1")]


def test_a_pass_that_has_begun_does_not_take_back_what_is_recalled_meanwhile(synced):
    synced.steady.publish()
    synced.steady.server.misbehave(synced.steady.path, held := Held(after=100))
    going_on = synced.start("sync", "--json")
    try:
        assert held.reached.wait(HANG)
        recalled = synced.given("revoke", *pattern_for(synced), *WHY, "--now", "--json")
        assert (recalled.code, synced.titles()) == (0, ["shaky-2", "steady-1", "steady-2"])
        held.release.set()
        out, err = going_on.communicate(timeout=HANG)
    finally:
        going_on.kill()
        going_on.wait()

    assert going_on.returncode == 0, (out, err)
    assert synced.titles() == ["shaky-2", "steady-1", "steady-2"]


def test_a_recall_that_cannot_be_read_by_then_keeps_the_pass_from_the_target(synced):
    synced.steady.publish()
    synced.steady.server.misbehave(synced.steady.path, held := Held(after=100))
    going_on = synced.start("sync", "--json")
    try:
        assert held.reached.wait(HANG)
        (synced.root / "deny.d").mkdir()
        (synced.root / "deny.d" / "wrong.yaml").write_text("deny: [{identifer: x}]")
        held.release.set()
        out, _ = going_on.communicate(timeout=HANG)
    finally:
        going_on.kill()
        going_on.wait()

    (target,) = json.loads(out)["targets"]
    assert "identifer" in target["error"]
    assert len(synced.titles()) == 4


def pattern_for(site):
    return ("--identifier", next(iter(site.shaky.images)))


def test_a_recall_is_written_also_when_the_state_is_damaged(synced):
    mpuri = pattern(synced, "mpuri")
    (synced.root / "state.db").write_bytes(b"no database" * 1000)

    result = synced.given("revoke", *mpuri, *WHY)

    assert result.code == 0
    assert "only what was named is recalled" in result.err
    (file,) = (synced.root / "deny.d").iterdir()
    assert [set(entry) for entry in yaml.safe_load(file.read_text())["deny"]] == [{"mpuri", "reason", "at", "by"}]


def mpuris(site):
    return {one["name"]: one["properties"]["APPLIANCE_MPURI"] for one in site.entries()}


def test_an_mpuri_of_an_earlier_publication_recalls_the_same_bytes(synced):
    before = mpuris(synced)
    synced.shaky.publish()
    assert synced.given("sync", "--json").code == 0
    assert mpuris(synced)["shaky-1"] != before["shaky-1"]

    result = synced.given("revoke", "--mpuri", before["shaky-1"], *WHY, "--now", "--json")

    assert (result.code, synced.titles()) == (0, ["shaky-2", "steady-1", "steady-2"])


def test_an_mpuri_beside_other_patterns_recalls_only_what_all_of_them_mean(synced):
    both = ("--list", synced.shaky.identifier, "--mpuri", "*")

    result = synced.given("revoke", *both, *WHY, "--now", "--json")

    assert (result.code, synced.titles()) == (0, ["steady-1", "steady-2"])
    (file,) = (synced.root / "deny.d").iterdir()
    assert {entry["list"] for entry in yaml.safe_load(file.read_text())["deny"]} == {synced.shaky.identifier}


@pytest.mark.parametrize("option", [("--mpuri", "https://x.example/none"), ("--identifier", "none"), ("--list", "no")])
def test_a_recall_that_means_nothing_known_says_so(synced, option):
    result = synced.given("revoke", *option, *WHY)

    assert result.code == 0
    assert "no image of a list that was accepted is meant: check the names" in result.err


def test_a_signer_may_be_written_in_any_form(synced):
    (synced.root / "deny.d").mkdir()
    entry = {"signer": "/DC=org/DC=example/CN=Rob\\x6ft: endorser", "reason": "x"}
    (synced.root / "deny.d" / "by-hand.yaml").write_text(yaml.safe_dump({"deny": [entry]}))

    assert synced.given("sync", "--json").code == 0
    assert synced.titles() == []
