"""Small honest disk images in every format that lists hold, made with qemu-img. PUBLIC.

Each has a partition table, content that is not just zeros, and a boot sector that says its title on the screen and
on the first serial port::

    write_disk(tmp_path / "alma.qcow2", Kind.QCOW2, Disk("AlmaLinux 9", virtual_size=256 << 20, data=8 << 20))

The same disk under the same file name gives the same bytes again (a VMDK holds its own name), but for VHDX, whose
header has random identifiers under checksums.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from imagesync.errors import ConversionError, ToolMissingError

_SECTOR = 512
_MIB = 1 << 20
_PARTITION = 2048  # its first sector
_EXTENTS = 4
_HANG = 300.0


class Kind(StrEnum):
    """Forms in which images are published."""

    RAW = "raw"
    QCOW2 = "qcow2"
    QCOW2_V2 = "qcow2-v2"
    VMDK_SPARSE = "vmdk-sparse"
    VMDK_STREAM = "vmdk-stream"
    VDI = "vdi"
    VHD = "vhd"
    VHD_FIXED = "vhd-fixed"
    VHDX = "vhdx"
    OVA = "ova"

    @property
    def suffix(self) -> str:
        """Return the usual end of a file name, with the dot."""
        return f".{'img' if self is Kind.RAW else self.value.partition('-')[0]}"


# Kind to qemu-img's format and options.
_QEMU = {
    Kind.QCOW2: ("qcow2", "compat=1.1"),
    Kind.QCOW2_V2: ("qcow2", "compat=0.10"),
    Kind.VMDK_SPARSE: ("vmdk", "subformat=monolithicSparse"),
    Kind.VMDK_STREAM: ("vmdk", "subformat=streamOptimized"),
    Kind.VDI: ("vdi", ""),
    Kind.VHD: ("vpc", "subformat=dynamic,force_size=on"),
    Kind.VHD_FIXED: ("vpc", "subformat=fixed,force_size=on"),
    Kind.VHDX: ("vhdx", "block_size=1048576"),
}


@dataclass(frozen=True, slots=True)
class Disk:
    """What a guest would see. Sizes are in bytes; ``data`` of them are not zero. ``title`` also makes it different."""

    title: str
    virtual_size: int = 4 * _MIB
    data: int = 8192


def write_disk(path: Path, kind: Kind, disk: Disk) -> Path:
    """Write ``disk`` to ``path`` as ``kind`` and return the path. A raw file is sparse.

    Raises:
        ToolMissingError: qemu-img is not installed.
        ConversionError: it failed.
    """
    if kind is Kind.RAW:
        _write_raw(path, disk)
        return path
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        raw = Path(scratch) / "raw"
        _write_raw(raw, disk)
        if kind is Kind.OVA:
            _write_ova(path, raw, disk)
        else:
            _convert(raw, path, kind)
            _reproducible(path, kind, disk)
    return path


def _write_raw(path: Path, disk: Disk) -> None:
    with path.open("wb") as stream:
        stream.truncate(disk.virtual_size)
        stream.write(_boot_record(disk))
        room = disk.virtual_size - _PARTITION * _SECTOR
        content = _content(disk)
        part = -(-len(content) // _EXTENTS)
        for number in range(_EXTENTS):
            stream.seek(_PARTITION * _SECTOR + room // _EXTENTS * number)
            stream.write(content[number * part : (number + 1) * part])


def _content(disk: Disk) -> bytes:
    """Return bytes that compress by about half, different for every title."""
    noise = hashlib.shake_256(disk.title.encode()).digest(disk.data // 2)
    line = f"{disk.title}\n".encode()
    text = (line * (disk.data // 2 // len(line) + 1))[: disk.data // 2]
    step = 4096
    pieces = [noise[at : at + step] + text[at : at + step] for at in range(0, len(noise), step)]
    return b"".join(pieces)


def _boot_record(disk: Disk) -> bytes:
    """Return an MBR (UEFI specification, section 5.2.1): code, disk signature, one bootable Linux partition."""
    signature = hashlib.sha256(disk.title.encode()).digest()[:4]
    sectors = disk.virtual_size // _SECTOR - _PARTITION
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", _PARTITION, sectors)
    code = _boot_code(f"imagesync: {disk.title}\r\n")
    return code.ljust(440, b"\0") + signature + b"\0\0" + entry.ljust(64, b"\0") + b"\x55\xaa"


def _boot_code(message: str) -> bytes:
    """Return 16-bit code, run at 0x7C00, that writes ``message`` to screen (INT 10h) and serial port, and halts."""
    code = bytes.fromhex(
        "fc 31c0 8ed8"  # cld; xor ax, ax; mov ds, ax
        "be 1f7c"  # mov si, message
        "ac 84c0 74 0f"  # next: lodsb; test al, al; jz halt
        "50 b40e bb0700 cd10 58"  # push ax; mov ah, 0Eh; mov bx, 7; int 10h; pop ax
        "baf803 ee"  # mov dx, 3F8h; out dx, al
        "eb ec"  # jmp next
        "f4 ebfd"  # halt: hlt; jmp halt
    )
    return code + message.encode("ascii", "replace")[:390] + b"\0"


def _convert(raw: Path, path: Path, kind: Kind) -> None:
    name, options = _QEMU[kind]
    extra = ["-o", options] if options else []
    _qemu_img("convert", "-f", "raw", "-O", name, *extra, str(raw.absolute()), str(path.absolute()))


def _qemu_img(*arguments: str) -> None:
    try:
        subprocess.run(["qemu-img", *arguments], check=True, capture_output=True, text=True, timeout=_HANG)
    except FileNotFoundError as error:
        raise ToolMissingError("qemu-img", "is not installed", "apt-get install qemu-utils") from error
    except subprocess.CalledProcessError as error:
        raise ConversionError(arguments[-1], f"qemu-img: {error.stderr.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise ConversionError(arguments[-1], f"qemu-img did not finish in {_HANG:.0f} s") from error


# --- OVA ---------------------------------------------------------------------------------------------------------
def _write_ova(path: Path, raw: Path, disk: Disk) -> None:
    """Write a tar of descriptor, manifest and disk, in the order of DMTF DSP0243, section 7."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", disk.title).strip("-").lower()
    vmdk = raw.with_name(f"{name}-disk1.vmdk")
    _convert(raw, vmdk, Kind.VMDK_STREAM)
    _reproducible(vmdk, Kind.VMDK_STREAM, disk)
    descriptor = _descriptor(name, disk, vmdk.stat().st_size).encode()
    manifest = (
        f"SHA256({name}.ovf)= {hashlib.sha256(descriptor).hexdigest()}\n"
        f"SHA256({vmdk.name})= {hashlib.sha256(vmdk.read_bytes()).hexdigest()}\n"
    ).encode()
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive, vmdk.open("rb") as stream:
        archive.addfile(_member(f"{name}.ovf", len(descriptor)), io.BytesIO(descriptor))
        archive.addfile(_member(f"{name}.mf", len(manifest)), io.BytesIO(manifest))
        archive.addfile(_member(vmdk.name, vmdk.stat().st_size), stream)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def _descriptor(name: str, disk: Disk, size: int) -> str:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
  <References>
    <File ovf:id="file1" ovf:href="{name}-disk1.vmdk" ovf:size="{size}"/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:capacity="{disk.virtual_size}"
      ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <VirtualSystem ovf:id="{name}">
    <Info>A virtual machine</Info>
    <Name>{name}</Name>
  </VirtualSystem>
</Envelope>
"""


# --- the same bytes every time -----------------------------------------------------------------------------------
def _reproducible(path: Path, kind: Kind, disk: Disk) -> None:
    """Put identifiers made from the title where qemu-img puts random ones or the time."""
    seed = hashlib.sha256(disk.title.encode()).digest()
    edits: dict[Kind, Callable[[bytearray, bytes], None]] = {
        Kind.VMDK_SPARSE: _fix_vmdk,
        Kind.VMDK_STREAM: _fix_vmdk,
        Kind.VDI: _fix_vdi,
        Kind.VHD: _fix_vhd,
        Kind.VHD_FIXED: _fix_vhd,
    }
    if kind not in edits:
        return
    with path.open("r+b") as stream:
        head = bytearray(stream.read(1 << 16))
        edits[kind](head, seed)
        stream.seek(0)
        stream.write(head)
        if kind in (Kind.VHD, Kind.VHD_FIXED):
            stream.seek(-_SECTOR, io.SEEK_END)
            footer = bytearray(stream.read(_SECTOR))
            _fix_vhd(footer, seed)
            stream.seek(-_SECTOR, io.SEEK_END)
            stream.write(footer)


def _fix_vmdk(head: bytearray, seed: bytes) -> None:
    offset, size = (_SECTOR * sectors for sectors in struct.unpack_from("<QQ", head, 28))
    # qemu-img writes the number without leading zeros, and twice: of a longer text before, the end is left behind it.
    text = bytes(head[offset : offset + size]).partition(b"\0")[0]
    fixed = re.sub(rb"\nCID=[0-9a-f]+", b"\nCID=" + seed[:4].hex().encode(), text)
    head[offset : offset + size] = fixed.ljust(size, b"\0")


def _fix_vdi(head: bytearray, seed: bytes) -> None:
    head[0x188:0x1A8] = seed[:32]  # the image's and the snapshot's UUID


def _fix_vhd(footer: bytearray, seed: bytes) -> None:
    if footer[:8] != b"conectix":  # the beginning of a fixed one is the disk itself
        return
    footer[24:28] = bytes(4)  # seconds since 2000
    footer[68:84] = seed[:16]
    footer[64:68] = bytes(4)
    footer[64:68] = struct.pack(">I", ~sum(footer[:_SECTOR]) & 0xFFFFFFFF)
