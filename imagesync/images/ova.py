"""Finding the one disk of an OVA (DMTF DSP0243, Open Virtualization Format) without extracting anything.

The tar is walked header by header here, because ``tarfile`` reads extension headers of any size into memory. A member's
name is compared with the descriptor and otherwise never used: not as a path, not as an argument (an OVA with a member
``--checkpoint-action=exec=...`` runs that command where ``tar`` is given the name).
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from xml.parsers import expat

from imagesync.images.faults import Fault
from imagesync.images.file import ImageFile, check

_BLOCK = 512
_MAX_MEMBERS = 100
_MAX_TEXT = 1 << 20
_MAX_EXTENSION = 64 << 10
_OVF = "ovf"
_SIZE = re.compile(r"[0-9]{1,20}")
_MANIFEST_LINE = re.compile(r"(SHA1|SHA256|SHA512)\s*\((.+)\)\s*=\s*([0-9a-fA-F]+)")


@dataclass(frozen=True, slots=True)
class Member:
    """A plain file inside the archive: ``size`` bytes from ``offset``."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of an OVA, and the (algorithm, digest) that the manifest gives for it, or ``None``."""

    member: Member
    digest: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class _Reference:
    identifier: str
    href: str
    size: str
    plain: bool


def find_disk(file: ImageFile) -> Disk:
    """Return where the disk is.

    Raises:
        HostileImageError: a link, device, directory, sparse or repeated member; no or several descriptors or disks;
            sizes that contradict each other; a wrong digest of the descriptor.
    """
    members = {member.name: member for member in _members(file)}
    descriptor = _one(file, members, f".{_OVF}")
    text = file.need(descriptor.offset, descriptor.size)
    disk = _disk(file, text, members)
    digests = _manifest(file, members)
    expected = digests.get(descriptor.name)
    if expected:
        _compare(file, descriptor.name, expected, _digest(expected[0], text))
    return Disk(disk, digests.get(disk.name))


def verify(file: ImageFile, disk: Disk, digest: str) -> None:
    """Compare ``digest`` (hexadecimal, by the manifest's algorithm) with the manifest.

    Raises:
        HostileImageError: they differ.
    """
    if disk.digest:
        _compare(file, disk.member.name, disk.digest, digest)


# --- tar (POSIX.1-2017, pax: ustar Interchange Format) -----------------------------------------------------------
def _members(file: ImageFile) -> Iterator[Member]:
    names: set[str] = set()
    for member in _walk(file):
        check(
            file,
            (
                (len(names) >= _MAX_MEMBERS, Fault.ARCHIVE_MEMBERS, f"more than {_MAX_MEMBERS} members"),
                (not _is_plain_name(member.name) or member.name in names, Fault.OVA_MEMBER_NAME, _shown(member.name)),
            ),
        )
        names.add(member.name)
        yield member


def _walk(file: ImageFile) -> Iterator[Member]:
    position, headers, pending = 0, 0, dict[str, str]()
    while any(block := file.at(position, _BLOCK)):
        headers += 1
        check(file, ((headers > 4 * _MAX_MEMBERS, Fault.ARCHIVE_MEMBERS, "too many headers"),))
        info = _header(file, block)
        extension = info.type in {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME}
        size = info.size if extension else int(pending.get("size", info.size))
        check(file, ((position + _BLOCK + size > file.size or size < 0, Fault.OVA_MEMBER_SIZE, _shown(info.name)),))
        if extension:
            found = _extension(file, info, position + _BLOCK)
            pending = pending if info.type == tarfile.XGLTYPE else {**pending, **found}
        else:
            plain = info.type in {tarfile.REGTYPE, tarfile.AREGTYPE}
            check(file, ((not plain, Fault.OVA_MEMBER_TYPE, _shown(info.name)),))
            yield Member(pending.get("path", info.name), position + _BLOCK, size)
            pending = {}
        position += _BLOCK + (size + _BLOCK - 1) // _BLOCK * _BLOCK


def _header(file: ImageFile, block: bytes) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        raise Fault.ARCHIVE_DAMAGED.error(file.subject, "a member's header is not readable") from error
    check(file, ((info.type == tarfile.GNUTYPE_SPARSE, Fault.OVA_MEMBER_TYPE, "sparse"),))
    return info


def _extension(file: ImageFile, info: tarfile.TarInfo, offset: int) -> dict[str, str]:
    """Return ``path`` and ``size`` from an extension header, if it has them; refuse sparse files."""
    check(file, ((info.size > _MAX_EXTENSION, Fault.OVA_MEMBER_NAME, "an extension header is too long"),))
    data = file.need(offset, info.size)
    if info.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": data.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    found = dict(_pax_records(file, data))
    check(file, ((any(key.startswith("GNU.sparse") for key in found), Fault.OVA_MEMBER_TYPE, "sparse"),))
    check(file, ((not _SIZE.fullmatch(found.get("size", "0")), Fault.OVA_MEMBER_SIZE, "in an extension header"),))
    return {key: value for key, value in found.items() if key in {"path", "size"}}


def _pax_records(file: ImageFile, data: bytes) -> Iterator[tuple[str, str]]:
    while data.strip(b"\0"):
        length = data.split(b" ", 1)[0]
        record = data[: int(length)] if length.isdigit() and len(length) < 8 else b""
        key, equals, value = record[len(length) + 1 : -1].partition(b"=")
        check(file, ((not equals or record[-1:] != b"\n", Fault.ARCHIVE_DAMAGED, "in an extension header"),))
        yield key.decode("utf-8", "replace"), value.decode("utf-8", "surrogateescape")
        data = data[len(record) :]


def _is_plain_name(name: str) -> bool:
    parts = name.split("/")
    return name.isprintable() and "\\" not in name and ".." not in parts and "" not in parts


def _shown(name: str) -> str:
    return ascii(name[:60])


# --- descriptor and manifest -------------------------------------------------------------------------------------
def _one(file: ImageFile, members: dict[str, Member], suffix: str) -> Member:
    found = [member for name, member in members.items() if name.lower().endswith(suffix)]
    check(
        file,
        (
            (len(found) != 1, Fault.OVA_DESCRIPTOR, f"{len(found)} of them"),
            (bool(found) and found[0].size > _MAX_TEXT, Fault.OVA_DESCRIPTOR, "too long"),
        ),
    )
    return found[0]


def _disk(file: ImageFile, text: bytes, members: dict[str, Member]) -> Member:
    references, disks = _envelope(file, text)
    check(file, ((len(disks) != 1, Fault.OVA_DISKS, f"it describes {len(disks)}"),))
    file_ref, parent = disks[0]
    named = [reference for reference in references if reference.identifier == file_ref]
    check(
        file,
        (
            (bool(parent), Fault.OVA_DISKS, "the disk has a parent"),
            (len(named) != 1 or not file_ref, Fault.OVA_DISKS, "the disk's file is not among the references"),
            (any(not reference.plain for reference in named), Fault.OVA_DISKS, "it is compressed or in pieces"),
        ),
    )
    member = members.get(named[0].href) or members.get(f"./{named[0].href}")
    if member is None:
        raise Fault.OVA_DISKS.error(file.subject, f"{_shown(named[0].href)} is not in the archive")
    check(file, ((named[0].size not in {"", str(member.size)}, Fault.OVA_MEMBER_SIZE, _shown(member.name)),))
    return member


def _envelope(file: ImageFile, text: bytes) -> tuple[list[_Reference], list[tuple[str, str]]]:
    """Return the file references, and (file reference, parent) of each disk."""
    references: list[_Reference] = []
    disks: list[tuple[str, str]] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        local = {name.rpartition(" ")[2]: value for name, value in attributes.items()}
        match tag.rpartition(" ")[2]:
            case "File":
                plain = local.get("compression", "") in {"", "identity"} and "chunkSize" not in local
                references.append(_Reference(local.get("id", ""), local.get("href", ""), local.get("size", ""), plain))
            case "Disk":
                disks.append((local.get("fileRef", ""), local.get("parentRef", "")))

    def refuse(*_arguments: object) -> None:
        # Entities exist only where a document type is declared: without one there is nothing to expand or to fetch.
        raise Fault.OVA_XML.error(file.subject, "it declares a document type")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text, True)  # noqa: FBT003 - expat takes no keywords
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise Fault.OVA_XML.error(file.subject, str(error)) from error
    return references, disks


def _manifest(file: ImageFile, members: dict[str, Member]) -> dict[str, tuple[str, str]]:
    """Return (algorithm, digest) by member name; empty without a manifest (DSP0243, 5.1)."""
    if not any(name.lower().endswith(".mf") for name in members):
        return {}
    found = [member for name, member in members.items() if name.lower().endswith(".mf")]
    check(file, ((len(found) != 1 or found[0].size > _MAX_TEXT, Fault.OVA_MANIFEST, "several, or too long"),))
    text = file.need(found[0].offset, found[0].size).decode("utf-8", "replace")
    digests = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        match = _MANIFEST_LINE.fullmatch(line)
        if match is None:
            raise Fault.OVA_MANIFEST.error(file.subject, f"line {_shown(line)}")
        digests[match[2]] = (match[1].lower(), match[3].lower())
    return digests


def _digest(algorithm: str, data: bytes) -> str:
    return hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()


def _compare(file: ImageFile, name: str, expected: tuple[str, str], digest: str) -> None:
    check(file, ((digest != expected[1], Fault.OVA_MANIFEST, f"{expected[0]} of {_shown(name)}"),))
