"""Changed messages, and what must hold for each: no other content and no other signer than those that were signed.

A source of chance decides what is changed: a seed in the tests, Hypothesis in ``fuzz.py``.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fixtures" / "lists"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fixtures" / "corpus"))

import forge
import tree

from imagesync.errors import TrustError
from imagesync.lists.anchors import load_anchors
from imagesync.lists.envelope import split
from imagesync.lists.hepix import parse
from imagesync.lists.smime import SignaturePolicy, verify
from imagesync.model import SignedPayload, Signer

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LONGEST = 2.0
SEEDS = (
    *("plain", "all-crlf", "mime-headers-signed", "unusual-headers", "epilogue", "host-certificate", "ed25519"),
    *("pss", "named-by-key-identifier", "under-subordinate", "under-old", "no-purpose", "named-allowed"),
)


@dataclass(frozen=True)
class Seed:
    """An honest message, its signed part with LF and its signature, and what its verification gives."""

    message: bytes
    part: bytes
    signature: bytes
    payload: SignedPayload

    def envelope(self, signature: bytes) -> bytes:
        """Return the message with another signature."""
        return bytes(forge.envelope(self.part, signature))


class Trial:
    """Changes messages and judges them; ``accepted`` counts those that still verify."""

    def __init__(self) -> None:
        self.anchors = load_anchors(FIXTURES / "trust" / "anchors")
        self.seeds = [self._seed(label) for label in SEEDS]
        self.signed = [_said(seed.payload) for seed in self.seeds]
        self.accepted = 0

    def _seed(self, label: str) -> Seed:
        message = (FIXTURES / "lists" / "good" / f"{label}.list").read_bytes()
        parts = split(message)
        part = parts.content.replace(b"\r\n", b"\n")
        return Seed(message, part, parts.signature, self._verify(message))

    def _verify(self, message: bytes) -> SignedPayload:
        return verify(message, self.anchors, SignaturePolicy(pinned=True), NOW)

    def check(self, kind: str, dice: Random) -> bytes:
        """Change a message and judge it; returns what was judged.

        Raises:
            AssertionError: It is accepted with other content or another signer, or takes too long.
        """
        seed = dice.choice(self.seeds)
        message = MUTATIONS[kind](seed, self.seeds, dice)
        if kind == "json":
            self._parse(SignedPayload(message, message, seed.payload.signer, None))
            message = forge.envelope(message, seed.signature)
        self.judge(message)
        return message

    def judge(self, message: bytes) -> None:
        """Judge a changed message.

        Raises:
            AssertionError: It is accepted with other content or another signer, or takes too long.
        """
        begin = time.process_time()
        try:
            found = self._verify(message)
        except TrustError:
            pass
        else:
            self.accepted += 1
            # Lines of another honest message can be the whole of it, with the changed one as its preamble.
            assert _said(found) in self.signed, message
            self._parse(found)
        assert time.process_time() - begin < LONGEST, message

    @staticmethod
    def _parse(payload: SignedPayload) -> None:
        try:
            parse(payload)
        except TrustError as error:
            if "\n" in str(error):
                raise AssertionError(payload.json) from error


def _said(payload: SignedPayload) -> tuple[bytes, bytes, Signer]:
    return payload.content, payload.json, payload.signer


# --- bytes -----------------------------------------------------------------------------------------------------------
_ODD = (b"\x00", b"\r", b"\n", b"\r\n", b"--", b" ", b"\t", b'"', b"=", b";", b":", b"{", b"\xff", b"\xc3\xa9", b"\x0b")


def changed_bytes(data: bytes, dice: Random) -> bytes:
    """Return the bytes after one to three small accidents."""
    found = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        at = dice.randrange(len(found) + 1)
        length = dice.choice((1, 1, 2, 8, 64, 500))
        match dice.randrange(7):
            case 0:
                found[at:at] = dice.choice(_ODD)
            case 1:
                del found[at : at + length]
            case 2:
                found[at:at] = found[at : at + length]
            case 3:
                other = dice.randrange(len(found) + 1)
                found[at:at] = found[other : other + length]
            case 4:
                found[at : at + 1] = bytes([dice.randrange(256)])
            case 5:
                del found[max(at, 1) :]
            case _ if at < len(found):
                found[at] ^= 1 << dice.randrange(8)
    return bytes(found)


def _bytes(seed: Seed, _: Sequence[Seed], dice: Random) -> bytes:
    if dice.randrange(2):
        return changed_bytes(seed.message, dice)
    return forge.envelope(seed.part, changed_bytes(seed.signature, dice))


# --- lines: headers, parts, delimiters -------------------------------------------------------------------------------
def _lines(seed: Seed, seeds: Sequence[Seed], dice: Random) -> bytes:
    lines = seed.message.splitlines(keepends=True)
    # What decides stands at the front and around the delimiters.
    marks = [n for n, line in enumerate(lines) if line.startswith(b"--") or (b":" in line[:40] and line[:1].isalpha())]
    for _ in range(dice.choice((1, 1, 2, 3))):
        at = dice.choice(marks) if dice.randrange(4) else dice.randrange(len(lines))
        at = min(at, len(lines) - 1)
        other = dice.choice(seeds).message.splitlines(keepends=True)
        lines[at : at + 1] = _another(lines[at], lines, other, dice)
    return b"".join(lines)


def _another(line: bytes, lines: Sequence[bytes], other: Sequence[bytes], dice: Random) -> list[bytes]:
    """Return what stands in place of a line."""
    bare = line.rstrip(b"\r\n")
    half = dice.randrange(len(bare) + 1)
    choices: Mapping[int, Callable[[], list[bytes]]] = {
        0: list,
        1: lambda: [line, line],
        2: lambda: [dice.choice(lines), line],
        3: lambda: [line, dice.choice(other)],
        4: lambda: [bare[:half] + b"\n " + bare[half:] + b"\n"],
        5: lambda: [bare[:half] + b"\n" + bare[half:] + b"\n"],
        6: lambda: [bare + dice.choice((b"\r", b"\r\n", b"\n\n", b" \n", b"\t\r\n", b"\x0b\n", b"--\n", b""))],
        7: lambda: [line.swapcase()],
        8: lambda: [b"\n", line],
        9: lambda: [line.replace(b'"', b"")],
        10: lambda: [line.replace(dice.choice((b"signed", b"base64", b"pkcs7", b"--")), dice.choice(_ODD))],
        11: lambda: [b"Content-Type: multipart/mixed; boundary=x\n\n--x\n", line],
        12: lambda: list(other),
        13: lambda: [line, b"Content-Transfer-Encoding: base64\n"],
        14: lambda: [changed_bytes(bare, dice) + b"\n"],
    }
    return choices[dice.randrange(len(choices))]()


# --- DER nodes -------------------------------------------------------------------------------------------------------
def _nodes(seed: Seed, seeds: Sequence[Seed], dice: Random) -> bytes:
    top = tree.parse(seed.signature)
    for _ in range(dice.choice((1, 1, 1, 2))):
        _change_node(top, tree.parse(dice.choice(seeds).signature), dice)
    return forge.envelope(seed.part, top.encode())


def _change_node(top: tree.Node, donor: tree.Node, dice: Random) -> None:
    parents = [node for node in top.walk() if node.children]
    parent = dice.choice(parents) if dice.randrange(3) else dice.choice(_outer(parents))
    at = dice.randrange(len(parent.children))
    node = parent.children[at]
    match dice.randrange(6):
        case 0:
            del parent.children[at]
        case 1:
            parent.children.insert(dice.randrange(len(parent.children)), parent.children.pop(at))
        case 2:
            node.tag = dice.choice((2, 3, 4, 5, 6, 0x0C, 0x17, 0x30, 0x31, 0xA0, 0xA1, 0x80, dice.randrange(31)))
        case 3:
            node.value = changed_bytes(node.value, dice) if node.value else b"\x01"
        case 4:
            parent.children[at] = _transplant(node, top, donor, dice)
        case _:
            parent.children.insert(at, _transplant(node, top, donor, dice))


def _transplant(node: tree.Node, top: tree.Node, donor: tree.Node, dice: Random) -> tree.Node:
    """Return a copy of a node of this or another message, or the node itself once more, or wrapped."""
    same = [other for other in donor.walk() if other.tag == node.tag]
    wrapped = tree.Node(dice.choice((0x30, 0x31, 0xA0)), children=[node])
    anywhere, elsewhere = dice.choice(list(top.walk())), dice.choice(list(donor.walk()))
    return deepcopy(dice.choice((node, wrapped, anywhere, elsewhere, dice.choice(same or [node]))))


def _outer(parents: Sequence[tree.Node]) -> Sequence[tree.Node]:
    """Return the nodes of the message itself rather than those of its certificates: the first ones, and the last."""
    return [*parents[:8], *parents[-24:]]


# --- JSON ------------------------------------------------------------------------------------------------------------
_VALUES = (
    *(b"null", b"true", b"[]", b"{}", b'""', b"-1", b"0", b"1e999", b"NaN", b"9" * 30, b'"\\u0000"', b'"\\ud800"'),
    *(b"[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]", b'{"a": 1, "a": 2}', b'"' + b"x" * 3000 + b'"', b"1.5", b"9" * 400),
    *(
        b'"9999-12-31T23:59:59-23:59"',
        b'"../../etc"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"hv:imagelist"',
        b"1" + b"0" * 25,
    ),
)


def _json(seed: Seed, _: Sequence[Seed], dice: Random) -> bytes:
    text = seed.payload.json
    if not dice.randrange(3):
        return changed_bytes(text, dice)
    pieces = text.split(b"\n")
    for _ in range(dice.choice((1, 1, 2))):
        at = dice.randrange(len(pieces))
        key, colon, value = pieces[at].partition(b": ")
        tail = b"," if value.rstrip().endswith(b",") else b""
        pieces[at] = key + colon + dice.choice(_VALUES) + tail if colon else dice.choice(pieces)
    return b"\n".join(pieces)


MUTATIONS: Mapping[str, Callable[[Seed, Sequence[Seed], Random], bytes]] = {
    "bytes": _bytes,
    "lines": _lines,
    "nodes": _nodes,
    "json": _json,
}
