"""What is paused stays as it is, whatever its list says, until it goes on."""

from datetime import UTC, datetime, timedelta

import pytest

from imagesync.state import Pausable, PauseRecord, open_state


@pytest.fixture
def changed(synced):
    """Return a site whose lists both have one image more and one less than it offers."""
    for name, published in (("shaky", synced.shaky), ("steady", synced.steady)):
        published.add(synced.image(f"{name}-3"), title=f"{name}-3")
        published.withdraw(next(key for key, one in published.images.items() if one.title == f"{name}-1"))
        published.publish()
    return synced


BEFORE = ["shaky-1", "shaky-2", "steady-1", "steady-2"]
AFTER = ["shaky-2", "shaky-3", "steady-2", "steady-3"]


def pause(site, *what, reason="an upgrade", **more):
    said = site.given("pause", *what, "--reason", reason, "--by", "ops@host", "--json", **more)
    assert said.code == 0, said.err
    return said.json


def test_a_paused_list_is_not_asked_for_and_its_images_stay(changed):
    pause(changed, "--list", "shaky", "--until", "3d")
    asked = len(changed.shaky.server.requests)
    result = changed.given("sync", "--json")

    assert (result.code, len(changed.shaky.server.requests)) == (0, asked)
    assert changed.titles() == ["shaky-1", "shaky-2", "steady-2", "steady-3"]
    assert {
        (one["kind"], one["cause"], one["outcome"]) for one in result.target()["actions"] if "shaky" in one["title"]
    } == {("hold", "paused", "held")}
    assert result.list("shaky")["paused"]["reason"] == "an upgrade"
    assert (result.list("shaky")["followed"], result.list("steady")["followed"]) == (False, True)
    assert " by ops@host since " in result.list("shaky")["reason"]


@pytest.mark.parametrize("what", [("--target", "site"), ("--all",)], ids=["target", "all"])
def test_a_paused_target_stays_as_it_is_until_it_goes_on(changed, what):
    pause(changed, *what)
    result = changed.given("sync", "--json")

    assert (result.code, changed.titles()) == (0, BEFORE)
    assert result.target()["paused"]["until"] is None
    assert any("paused until imagesync resume by ops@host" in text for text in result.target()["notices"])
    assert changed.given("resume", *what).out.endswith("goes on with the next pass\n")
    assert changed.given("sync", "--json").code == 0
    assert changed.titles() == AFTER


def test_a_pause_ends_by_itself(changed):
    began = datetime.now(UTC) - timedelta(days=2)
    with open_state(f"sqlite:///{changed.root / 'state.db'}") as state:
        state.pause([PauseRecord(Pausable.ALL, "", "over", "ops", began, began + timedelta(days=1))])
    assert changed.given("sync", "--json").code == 0
    assert changed.titles() == AFTER


def test_what_is_published_is_recalled_from_a_paused_target(synced):
    pause(synced, "--all")
    (recalled,) = [key for key, one in synced.steady.images.items() if one.title == "steady-1"]
    assert synced.given("revoke", "--identifier", recalled, "--reason", "found bad").code == 0
    result = synced.given("sync", "--json")

    assert ("retire", "steady-1") in result.done()
    assert synced.titles() == ["shaky-1", "shaky-2", "steady-2"]


def test_nothing_is_deleted_while_it_is_paused(synced):
    synced.targets[0]["delete_after"] = "0s"
    synced.configure()
    synced.shaky.withdraw(next(key for key, one in synced.shaky.images.items() if one.title == "shaky-1"))
    synced.shaky.publish()
    synced.given("sync", "--json")
    pause(synced, "--list", "shaky")
    assert synced.given("prune", "--unsubscribed").code == 0
    synced.given("sync")
    assert synced.titles("retired") == ["shaky-1"]
    assert synced.titles() == ["shaky-2", "steady-1", "steady-2"]

    synced.given("resume", "--all")
    synced.given("prune")
    assert synced.titles("retired") == []


def test_a_paused_target_may_be_away(synced):
    (synced.root / "site").rename(synced.root / "away")
    (synced.root / "site").write_text("no directory")
    assert synced.given("sync").code == 5
    pause(synced, "--target", "site")
    result = synced.given("sync", "--json")

    assert (result.code, result.target()["error"]) == (0, None)
    assert any("could not be looked at" in text for text in result.target()["notices"])
    assert synced.given("revoke", "--identifier", "x", "--reason", "bad", "--now").code != 0


def test_status_plan_and_probe_show_it(synced):
    pause(synced, "--list", "shaky", reason="they moved")
    assert "list shaky: paused until imagesync resume by ops@host" in synced.given("status").out
    assert "they moved" in synced.given("plan").out
    remembered = synced.given("status", "--from-state", "--json").json
    assert [(one["matter"], one["subject"], one["level"]) for one in remembered["findings"]] == [
        ("list", "shaky", "warning")
    ]
    probe = synced.given("probe")
    assert (probe.code, "list shaky is paused until imagesync resume" in probe.out) == (1, True)

    pause(synced, "--list", "shaky", "--until", "3d")
    probe = synced.given("probe")
    assert (probe.code, "list shaky is paused until 2" in probe.out) == (0, True)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("pause", "--list", "shaky"), "does not say why"),
        (("pause", "--reason", "x"), "does not say what"),
        (("pause", "--all", "--list", "shaky", "--reason", "x"), "does not say what"),
        (("pause", "--list", "none", "--reason", "x"), "there is no 'none'"),
        (("pause", "--all", "--reason", "x", "--until", "2020-01-01"), "is over"),
        (("pause", "--all", "--reason", "x", "--until", "soon"), "no ISO 8601 time"),
        (("resume", "--list", "shaky"), "list shaky is not paused"),
        (("resume",), "does not say what"),
    ],
)
def test_a_pause_that_makes_no_sense_is_exit_2(provider, words, text):
    said = provider.given(*words)

    assert said.code == 2
    assert text in said.err


def test_pausing_again_changes_reason_and_end(provider):
    pause(provider, "--all", "--until", "3d")
    again = pause(provider, "--all", reason="longer")

    assert again["paused"] == [
        {
            "scope": "all",
            "name": "",
            "reason": "longer",
            "by": "ops@host",
            "since": again["paused"][0]["since"],
            "until": None,
        }
    ]
    assert provider.given("resume", "--all").code == 0
    assert provider.given("resume", "--all").out == "nothing is paused\n"
