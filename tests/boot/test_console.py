"""What a guest writes, bounded and made harmless."""

from __future__ import annotations

import pytest

from imagesync.boot.console import Capture, plain, screen_text

ESC = "\x1b"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("plain\r\ntext\n", "plain\ntext\n"),
        (f"{ESC}[31mred{ESC}[0m", "red"),
        (f"{ESC}]0;a title\x07after", "after"),
        (f"{ESC}]0;a title{ESC}\\after", "after"),
        (f"{ESC}P$q{ESC}\\after", "after"),
        (f"{ESC}]never ends", ""),
        (f"{ESC}[", ""),
        (f"{ESC}c{ESC}(Bafter", "after"),
        ("\x9b31mred", "red"),
        ("\x9d0;title\x9cafter", "after"),
        (f"one{ESC}[2;1Htwo{ESC}[2Jthree", "one\ntwo\nthree"),
        ("over\rwritten", "over\nwritten"),
        ("ab\bc", "ac"),
        ("a\tb", "a b"),
        ("bell\x07null\0", "bell?null?"),
        ("right\u202eto left\u2066", "right?to left?"),
        ("zero\u200bwidth\ufeff", "zero?width?"),
        ("a\n\n\n\n\nb", "a\n\nb"),
    ],
)
def test_only_printable_text_is_left(written: str, shown: str) -> None:
    assert plain(written.encode()) == shown


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert plain(b"\xff\xfe ok") == "\ufffd\ufffd ok"


def test_every_byte_alone_comes_out_printable() -> None:
    shown = [plain(bytes([ESC_OR_BYTE])) for ESC_OR_BYTE in range(256)]

    assert all(text == "\n" or text.isprintable() for text in shown)


def test_all_is_kept_while_it_is_short() -> None:
    capture = Capture(head=8, tail=8)
    capture.feed(b"0123456789")

    assert (capture.text(), capture.count) == ("0123456789", 10)


def test_of_a_flood_the_beginning_and_the_end_are_kept() -> None:
    capture = Capture(head=5, tail=3)
    for _ in range(1000):
        capture.feed(b"abcdefg")

    assert capture.text() == "abcde\n[6992 bytes are left out]\nefg"
    assert len(capture._head) + len(capture._tail) < 20


def test_a_text_screen_is_read_from_its_memory() -> None:
    memory = bytearray(b" \x07" * 80 * 25)
    for number, letter in enumerate(b"login: \xc9"):
        memory[2 * (80 + number)] = letter

    assert screen_text(bytes(memory)) == "login: ╔"


def test_a_screen_in_graphics_is_no_text_but_does_no_harm() -> None:
    assert screen_text(bytes(4000)) == ""
