"""What files and links are called. Pure.

A name is one component of at most 255 bytes, does not begin with a dot or a dash, and holds no colon: qemu takes what
stands before one for a protocol.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache

from imagesync.backend import Fingerprint, Format

EXTENSIONS = {
    Format.RAW: ".raw",
    Format.QCOW2: ".qcow2",
    Format.VMDK: ".vmdk",
    Format.VDI: ".vdi",
    Format.VHD: ".vhd",
    Format.VHDX: ".vhdx",
    Format.ISO: ".iso",
}
"""What a file of each format ends in."""

_MAX_BYTES = 255
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


def file_name(fingerprint: Fingerprint, form: Format, attempt: int = 0) -> str:
    """Return the name of the file for ``fingerprint``; with ``attempt``, a further one if earlier ones are taken."""
    safe = _UNSAFE.sub("-", fingerprint).lstrip(".-")
    if safe != fingerprint or not 0 < len(safe) <= 150:
        safe = f"{safe[:100] or 'file'}-{_hash(fingerprint)[:16]}"
    return f"{safe}{f'-{attempt + 1}' if attempt else ''}{EXTENSIONS[form]}"


@lru_cache(maxsize=1 << 14)
def link_names(title: str, form: Format, mark: str) -> tuple[str, ...]:
    """Return the names under which an image may be offered, best first.

    The first is the title; the others have a part of the hash of ``mark``, which tells equal titles apart.
    """
    extension = EXTENSIONS[form]
    text = _readable(title)
    if text.lower().endswith(extension) and len(text) > len(extension):
        text = text[: -len(extension)]
    endings = [extension, *(f"-{_hash(mark)[:digits]}{extension}" for digits in (8, 16, 64))]
    return tuple(_cut(text, _MAX_BYTES - len(ending)) + ending for ending in endings)


def _readable(title: str) -> str:
    text = "".join(map(_safe_character, unicodedata.normalize("NFC", title)))
    return " ".join(text.split()).lstrip(".- ") or "image"


def _safe_character(character: str) -> str:
    if character.isspace():
        return " "
    # Categories C*: controls, formatting (an RTL override hides what a name ends in), surrogates, unassigned.
    return "_" if character in "/\\:" or unicodedata.category(character).startswith("C") else character


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode("utf-8", "ignore")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
