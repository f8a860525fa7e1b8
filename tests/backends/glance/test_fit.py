import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imagesync_glance.fit import ATTRIBUTES, MPURI, RECORD, fit_metadata, fit_name

from imagesync.backend import Metadata

DESCRIPTION = "vmcatcher_event_dc_description"


def fitted(name, value):
    return dict(fit_metadata(Metadata("title", {name: value})).properties).get(name)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Ubuntu «22.04»", "Ubuntu «22.04»"),
        ("two\nlines\tand  blanks ", "two lines and blanks"),
        ("penguin 🐧", "penguin \ufffd"),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        ("", "image"),
        ("\x00\x1b\n", "image"),
        ("x" * 300, "x" * 255),
        ("x" * 254 + " y", "x" * 254),
    ],
)
def test_a_name_is_one_line_that_glance_takes(given, kept):
    assert fit_name(given) == kept


@pytest.mark.parametrize(
    "name", ["name", "status", "os_hidden", "tags", RECORD, "os_glance_x", "", "k" * 256, "🐧", "\n"]
)
def test_a_property_that_would_be_something_else_is_left_out(name):
    assert fitted(name, "value") is None


@pytest.mark.parametrize("name", ["ad:appid", "a/b~c", "k" * 255, "imagesync_state", "hw_firmware_type"])
def test_a_property_of_any_other_name_is_kept(name):
    assert fitted(name, "value") == "value"


def test_lines_and_blanks_of_a_value_are_kept():
    assert fitted(DESCRIPTION, " first\nsecond\tthird  ") == " first\nsecond\tthird  "


def test_what_glance_refuses_in_a_value_is_replaced():
    assert fitted(DESCRIPTION, "a\x00b🐧c\ud800") == "a b\ufffdc\ufffd"


@pytest.mark.parametrize("letter", ["x", "é", "日"])
def test_a_value_that_is_too_long_is_cut_between_characters(letter):
    value = fitted(DESCRIPTION, letter * 70_000)

    assert len(value.encode()) <= 65_535 < len(value.encode()) + 4
    assert value == letter * (len(value) - 1) + "…"


def test_a_value_at_the_limit_is_kept():
    assert fitted(DESCRIPTION, "x" * 65_535) == "x" * 65_535


def test_the_marketplace_uri_is_never_changed():
    assert fitted(MPURI, "https://x/\x07🐧" + "y" * 70_000) == "https://x/\x07🐧" + "y" * 70_000


@pytest.mark.parametrize("text", ['{"a": "b"}', '{ "a" :"\\u00e9é"}', "{}"])
def test_attributes_that_can_be_held_are_kept_as_they_are(text):
    assert fitted(ATTRIBUTES, text) == text


@pytest.mark.parametrize("text", ["", "{not json", "[1]", "5", "null", '"x"', '[["a", 1]]'])
def test_attributes_that_are_no_object_become_an_empty_one(text):
    assert fitted(ATTRIBUTES, text) == "{}"


def test_attributes_lose_nothing_to_characters_that_glance_refuses():
    text = fitted(ATTRIBUTES, '{"dc:title": "penguin 🐧\x07"}')

    assert text.isascii()
    assert json.loads(text) == {"dc:title": "penguin 🐧\x07"}


def test_attributes_that_are_too_long_lose_their_longest_values_first():
    text = fitted(ATTRIBUTES, json.dumps({"short": "kept", "long": "x" * 40_000, "longer": "y" * 40_001}))

    assert json.loads(text) == {"short": "kept", "long": "x" * 40_000}


def test_memory_that_no_database_column_holds_is_cut():
    assert fit_metadata(Metadata("x", {}, min_ram=2**40)).min_ram == 2**31 - 1


texts = st.text(st.characters(codec=None), max_size=40) | st.text(max_size=20).map(lambda text: text * 4000)


@given(name=texts, properties=st.dictionaries(st.text(max_size=5) | st.just(ATTRIBUTES), texts, max_size=3))
def test_fitting_twice_changes_nothing_more(name, properties):
    once = fit_metadata(Metadata(name, properties))

    assert fit_metadata(once) == once
    assert once.name
