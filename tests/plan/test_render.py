import json

from imagesync.plan.render import action_as_json, as_json, as_text, printable


def test_text_names_each_change_with_its_reason(world):
    world.offer("new", "kept").hold("kept").hold("old")

    text = as_text(world.plan())

    assert text.splitlines() == [
        "site: 1 to register, 1 to retire, 1 kept",
        "  + register  Image new  (endorsed by version 1)",
        "  - retire    Image old  (not in version 1 of the list)",
    ]


def test_text_shows_what_is_kept_when_asked(world):
    assert "as endorsed" in as_text(world.offer("a").hold("a").plan(), quiet=False)


def test_text_of_nothing_says_so(world):
    assert as_text(world.plan()) == "site: nothing is there and nothing is wanted"


def test_json_has_every_action_with_key_kind_and_reason(world):
    world.offer("a").hold("b")

    found = json.loads(json.dumps(as_json(world.plan())))

    assert [(a["kind"], a["cause"], a["bytes"]) for a in found["actions"]] == [
        ("register", "new", 1000),
        ("retire", "withdrawn", 0),
    ]
    assert found["actions"][0]["key"].endswith("/a")


def test_key_of_an_owner_names_the_project(world):
    action = world.offer("a").plan().actions[0]
    owned = type(action)(action.kind, type(action.key)("p1", "l", "i"), "", action.cause, "")

    assert action_as_json(owned)["key"] == "p1:l/i"


def test_control_characters_and_direction_marks_do_not_reach_a_terminal():
    assert printable("a\x1b[31m\u202eb\nc") == "a\ufffd[31m\ufffdb\ufffdc"
    assert printable("Université 日本 🐧") == "Université 日本 🐧"
