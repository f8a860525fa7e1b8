"""What strangers write cannot steer or flood a terminal."""

import re

NASTY = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe<b>\n" + "long " * 20_000


def test_status_and_why_show_a_hostile_title_cut_and_neutral(provider):
    provider.configure(limits={"max_list_bytes": "4MiB"})
    provider.steady.add(provider.image("hostile"), title=NASTY)
    provider.steady.publish()
    assert provider.given("sync", "--list", "steady").code == 0

    for command in (("status",), ("status", "--from-state"), ("why", "*gnp.exe*"), ("probe",)):
        shown = provider.given(*command).out
        assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", shown), command
        assert len(shown) < 20_000, command
    assert "gnp.exe<b>" in provider.given("why", "*gnp.exe*").out


def test_what_the_state_says_can_be_chosen_from(synced):
    said = synced.given("status", "--from-state", "--json", "--list", "steady", "--image", "*-1").json

    assert [one["name"] for one in said["lists"]] == ["steady"]
    assert [image["title"] for image in said["targets"][0]["images"]] == ["steady-1"]
    assert (said["level"], said["findings"]) == ("ok", [])


def test_a_site_without_configuration_is_unknown_to_the_probe(provider):
    provider.config.write_text("nonsense: true\n")
    said = provider.given("probe")

    assert said.code == 3
    assert said.out.startswith("IMAGESYNC UNKNOWN - ")
    assert said.out.count("\n") == 1


def test_a_probe_that_is_used_wrongly_is_unknown_and_no_alarm(provider):
    said = provider.given("probe", "--warning", "soon")

    assert (said.code, said.out.startswith("IMAGESYNC UNKNOWN - ")) == (3, True)
