"""Debian archives: the same package in another version."""

import io
import re
import subprocess
import tarfile
from pathlib import Path


def with_version(archive: Path, version: str, into: Path) -> Path:
    """Return a copy of a package, in the directory ``into``, that differs from it in nothing but its version."""
    control = io.BytesIO()
    unpack = ["dpkg-deb", "--ctrl-tarfile", str(archive)]
    taken = subprocess.run(unpack, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(taken)) as old, tarfile.open(fileobj=control, mode="w") as new:
        for member in old:
            stream = old.extractfile(member)
            content = stream.read() if stream else b""
            if member.name == "./control":
                content = re.sub(rb"(?m)^Version: .*", f"Version: {version}".encode(), content)
                member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    copy = into / f"imagesync_{version}.deb"
    data = next((name, content) for name, content in _members(archive.read_bytes()) if name.startswith("data.tar"))
    members = (("debian-binary", b"2.0\n"), ("control.tar", control.getvalue()), data)
    copy.write_bytes(b"!<arch>\n" + b"".join(_member(*member) for member in members))
    return copy


def _members(content: bytes) -> list[tuple[str, bytes]]:
    found, at = [], 8
    while at < len(content):
        size = int(content[at + 48 : at + 58])
        found.append((content[at : at + 16].decode().rstrip(" /"), content[at + 60 : at + 60 + size]))
        at += 60 + size + size % 2
    return found


def _member(name: str, content: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
    return header + content + b"\n" * (len(content) % 2)
