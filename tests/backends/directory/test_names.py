from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imagesync_directory.names import EXTENSIONS, file_name, link_names

from imagesync.backend import Fingerprint, Format

HEX = "ab" * 32


def link(title: str, form: Format = Format.QCOW2) -> str:
    return link_names(title, form, "mark")[0]


def test_every_format_has_its_own_extension() -> None:
    assert set(EXTENSIONS) == set(Format)
    assert len(set(EXTENSIONS.values())) == len(Format)


def test_a_file_is_named_by_its_fingerprint() -> None:
    assert file_name(Fingerprint(HEX), Format.QCOW2) == f"{HEX}.qcow2"
    assert file_name(Fingerprint(HEX), Format.VHD, 2) == f"{HEX}-3.vhd"


@pytest.mark.parametrize("fingerprint", ["../../etc/passwd", "a:b", ".hidden", "-rf", "x" * 300, "é", ""])
def test_an_odd_fingerprint_gives_a_plain_name_of_its_own(fingerprint: str) -> None:
    name = file_name(Fingerprint(fingerprint), Format.RAW)

    assert name.isascii()
    assert not set(name) & set("/:\0")
    assert name[0] not in ".-"
    assert len(name) <= 255


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Ubuntu 22.04", "Ubuntu 22.04.qcow2"),
        ("disk.QCOW2", "disk.qcow2"),
        ("../../etc/passwd", "_.._etc_passwd.qcow2"),
        ("nbd://host/x", "nbd___host_x.qcow2"),
        ("a\nb\tc  d", "a b c d.qcow2"),
        ("a\0b\x7fc", "a_b_c.qcow2"),
        ("-rf .", "rf ..qcow2"),
        ("gpj\u202e.exe", "gpj_.exe.qcow2"),
        ("", "image.qcow2"),
        ("...", "image.qcow2"),
        (".qcow2", "qcow2.qcow2"),
        ("Gro\u0308ße", "Größe.qcow2"),
        ("x\ud800y", "x_y.qcow2"),
    ],
)
def test_a_link_is_named_by_the_title(title: str, expected: str) -> None:
    assert link(title) == expected


@given(st.text(st.characters(codec=None, categories=None), max_size=400), st.sampled_from(Format))
def test_any_title_gives_names_that_are_one_component(title: str, form: Format) -> None:
    for name in link_names(title, form, "mark"):
        assert PurePosixPath(name).name == name
        assert 0 < len(name.encode()) <= 255
        assert name[0] not in ".- "
        assert name.endswith(EXTENSIONS[form])
        assert not any(ord(character) < 32 for character in name)


def test_equal_titles_differ_by_the_hash_of_the_mark() -> None:
    first, second = link_names("Title", Format.RAW, "one"), link_names("Title", Format.RAW, "two")

    assert first[0] == second[0]
    assert not set(first[1:]) & set(second[1:])


def test_a_long_title_is_cut_at_a_character() -> None:
    assert link("ß" * 300) == "ß" * 124 + ".qcow2"
