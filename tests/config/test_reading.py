from __future__ import annotations

from pathlib import Path

import pytest

from imagesync.config.reading import MAX_BYTES, UnreadableError, read


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.yaml"


def problems(file: Path, text: str | bytes) -> tuple[str, ...]:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UnreadableError) as caught:
        read(file)
    return caught.value.problems


def test_an_empty_file_has_no_options(file: Path) -> None:
    file.write_text("# nothing\n")
    assert read(file) == {}


def test_aliases_and_merge_keys_work(file: Path) -> None:
    file.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n")
    assert read(file) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}


@pytest.mark.parametrize("text", ["012", "0x1f", "1_000", "12:30:00", "2026-03-01", "1e3", ".5", "0o17"])
def test_what_looks_like_a_number_or_date_of_yaml_1_1_stays_text(file: Path, text: str) -> None:
    file.write_text(f"project: {text}")
    assert read(file) == {"project": text}


def test_plain_numbers_and_booleans_are_read_as_such(file: Path) -> None:
    file.write_text("a: 10\nb: 0.5\nc: true\nd: off\ne: ~\n")
    assert read(file) == {"a": 10, "b": 0.5, "c": True, "d": False, "e": None}


def test_a_key_given_twice_is_refused_with_both_lines(file: Path) -> None:
    text = "a: {b: 1, b: 2}\nc:\n  - {d: 1}\na: 2\n"
    assert problems(file, text) == (
        "line 4: the key a is given twice, first in line 1: keep one",
        "line 1: the key b is given twice, first in line 1: keep one",
    )


def test_keys_that_are_no_text_are_refused(file: Path) -> None:
    assert problems(file, "on: 1\n2: 3\n[a]: 4\n") == (
        "line 1: the key on is not read as text: put it in quotes",
        "line 2: the key 2 is not read as text: put it in quotes",
        "line 3: a key is not read as text: put it in quotes",
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [1", "line 1: expected ',' or ']'"),
        ("a: b: c", "line 1: mapping values are not allowed here"),
        ("\ta: b", "line 1: found character '\\t' that cannot start any token"),
        ("- a\n- b\n", "holds no options"),
        ("word", "holds no options"),
        ("a: 1\n---\nb: 2\n", "but found another document"),
        ("a: *unknown", "found undefined alias"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        (b"a: \xff", "is no YAML: unacceptable character"),
        (b"a: \x00", "is no YAML: "),
        ("a: &a [*a]", "line 1: an alias refers to what it is in"),
        ("a: " + "[" * 100 + "]" * 100, "line 1: is nested deeper than 40 levels"),
        ("a: " + "[" * 5000, "line 1: is nested deeper than 40 levels"),
        ("- " * 5000, "line 1: is nested deeper than 40 levels"),
        (b"#" * (MAX_BYTES + 1), "is larger than 4 MiB"),
        ("a: 1\nb: !!int x", "line 2: is no int that can be read"),
        ("a: 1\nb: [!!int '']", "line 2: is no int that can be read"),
        ("a: !!float x", "line 1: is no float that can be read"),
        ("a: !!bool x", "line 1: is no bool that can be read"),
        ("a: !!timestamp x", "line 1: is no timestamp that can be read"),
        ("a: !!timestamp 2026-13-45", "line 1: is no timestamp that can be read"),
        ("a: {b: " + "9" * 5000 + "}", "line 1: is no int that can be read"),
    ],
)
def test_what_is_no_configuration_is_refused_with_its_place(file: Path, text: str | bytes, problem: str) -> None:
    (found,) = problems(file, text)
    assert problem in found


@pytest.mark.parametrize("step", ["[*{0},*{0},*{0},*{0},*{0},*{0},*{0},*{0},*{0}]", "{{<<: [*{0}, *{0}, *{0}]}}"])
def test_aliases_that_multiply_are_refused_before_they_are_replaced(file: Path, step: str) -> None:
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {step.format(f'a{n - 1}')}" for n in range(1, 25))]
    (found,) = problems(file, "\n".join(lines))
    assert "values once its aliases are replaced" in found


def test_a_file_that_is_not_there_is_named_so(file: Path) -> None:
    with pytest.raises(UnreadableError, match="cannot be read: No such file or directory"):
        read(file)
