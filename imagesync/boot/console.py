"""Text that a guest or QEMU writes, bounded and made harmless. Pure."""

from __future__ import annotations

import re

HEAD = 32 << 10
TAIL = 64 << 10

# ECMA-48: what moves the cursor to another line ends this one; every other sequence, known or not, is left out.
_MOVES = re.compile(r"(?:\x1b\[|\x9b)[0-9;]*[HfJEF]")
_STRINGS = re.compile(r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]{0,4096}(?:\x07|\x1b\\|\x9c)?")
_CONTROLS = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b[ -/]*[0-~]?")
_OVERWRITTEN = re.compile(r"\r\n?")
_BACKSPACE = re.compile(r"[^\n\x08]\x08")
_EMPTY_LINES = re.compile(r"\n{3,}")


def plain(data: bytes) -> str:
    """Return ``data`` as lines of printable characters: escape sequences are gone, and what is left over is ``?``."""
    text = data.decode("utf-8", "replace")
    text = _MOVES.sub("\n", text)
    text = _CONTROLS.sub("", _STRINGS.sub("", text))
    text = _BACKSPACE.sub("", _OVERWRITTEN.sub("\n", text))
    text = "".join(c if c.isprintable() or c == "\n" else " " if c == "\t" else "?" for c in text)
    return _EMPTY_LINES.sub("\n\n", "\n".join(line.rstrip(" ") if line.strip() else "" for line in text.split("\n")))


def line(text: str, most: int = 500) -> str:
    """Return the beginning of ``text`` as one plain line."""
    return "; ".join(filter(None, plain(text[:most].encode("utf-8", "replace")).split("\n")))


class Capture:
    """The beginning and the end of what a guest writes, however much that is."""

    def __init__(self, head: int = HEAD, tail: int = TAIL) -> None:
        """Keep so many bytes of the beginning and of the end."""
        self._most = (head, tail)
        self._head = bytearray()
        self._tail = bytearray()
        self.count = 0

    def feed(self, data: bytes) -> None:
        """Take more."""
        self.count += len(data)
        room = self._most[0] - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._most[1]:
            del self._tail[: -self._most[1]]

    def text(self) -> str:
        """Return what is kept, plain; a line says how much is missing in between."""
        tail = bytes(self._tail[-self._most[1] :])
        missing = self.count - len(self._head) - len(tail)
        if not missing:
            return plain(bytes(self._head) + tail)
        return f"{plain(bytes(self._head))}\n[{missing} bytes are left out]\n{plain(tail)}"


def screen_text(memory: bytes, columns: int = 80) -> str:
    """Return the characters of a text screen from its memory, where an attribute follows each character."""
    characters = memory[::2].decode("cp437")
    shown = "".join(c if c.isprintable() else " " for c in characters)
    lines = "\n".join(shown[at : at + columns].rstrip() for at in range(0, len(shown), columns))
    return _EMPTY_LINES.sub("\n\n", lines).strip("\n")
