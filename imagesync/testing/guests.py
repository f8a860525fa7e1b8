"""Small Linux guests that really run, made of Debian's kernel, busybox and GRUB. PUBLIC.

What they are made of is unpacked beside the system by ``.ci/guest-parts``; nothing here needs the network, root, or a
loop device. A guest says on its console what it found, ``guest: …``, and ends as its ``Story`` says::

    write_guest(tmp_path / "alma.img", Guest(Story.LOGIN), parts)

The same guest of the same parts gives the same bytes again. Parts of ``.ci/guest-parts arm64`` give guests for 64-bit
ARM, which have UEFI.
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from imagesync.boot.fat import file_system
from imagesync.errors import ConversionError, ToolMissingError

_SECTOR = 512
_MIB = 1 << 20
_PARTITION = 2048  # its first sector
_SIZE = 40 * _MIB
_HANG = 300.0

_MODULES = (
    *("drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_pci_modern_dev"),
    *("drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci", "drivers/block/virtio_blk"),
    *("net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net"),
    *("fs/nls/nls_cp437", "fs/nls/nls_ascii", "fs/fat/fat", "fs/fat/vfat"),
)
_GRUB = (
    *("part_msdos", "fat", "normal", "configfile", "linux", "serial", "terminal"),
    *("echo", "halt", "reboot", "sleep", "test"),
)
_EFI = ("efi_gop", "all_video")
_PLATFORMS = {"i386-pc": ("biosdisk",), "x86_64-efi": _EFI, "arm64-efi": _EFI}


class Story(StrEnum):
    """What a guest does."""

    LOGIN = "login"
    PANIC = "panic"
    WIPED = "wiped"
    PROMPT = "prompt"
    RESETS = "resets"
    POWER_OFF = "power-off"
    HOSTILE = "hostile"
    WRITES = "writes"
    SILENT = "silent"
    BLANK = "blank"
    UNCLEAR = "unclear"
    DATA = "data"


ENDINGS = {
    Story.LOGIN: "login",
    Story.PANIC: "panic",
    Story.WIPED: "no-bootable-device",
    Story.PROMPT: "bootloader-stuck",
    Story.RESETS: "reset-loop",
    Story.POWER_OFF: "powered-off",
    Story.HOSTILE: "kernel",
    Story.WRITES: "login",
    Story.SILENT: "reading",
    Story.BLANK: "blank",
    Story.UNCLEAR: "inconclusive",
    Story.DATA: "no-bootable-device",
}
"""The verdict that each of them must get."""

BOUNDED = {Story.HOSTILE: 240.0, Story.SILENT: 120.0, Story.BLANK: 150.0, Story.UNCLEAR: 150.0}
"""Seconds after which the check of what says nothing that ends it is to end."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest to make. ``title`` is its host name.

    ``uefi`` puts GRUB on an EFI system partition, else into the MBR; ``arm`` is for a 64-bit ARM, with UEFI.
    """

    story: Story
    title: str = "guest"
    uefi: bool = False
    arm: bool = False

    @property
    def serial(self) -> str:
        """Return what Linux calls the serial console."""
        return "ttyAMA0" if self.arm else "ttyS0"


def write_guest(path: Path, guest: Guest, parts: Path) -> Path:
    """Write a raw, sparse disk with ``guest`` to ``path`` and return that. ``parts`` has the unpacked packages.

    Raises:
        ToolMissingError: the parts are not there.
        ConversionError: GRUB's own tool failed.
    """
    if guest.story is Story.DATA:
        files, boot, core = {"letter.txt": b"Nothing here starts.\n"}, b"", b""
    else:
        files = {"vmlinuz": _found(parts, "boot/vmlinuz-*").read_bytes(), "initrd": _initrd(guest, parts)}
        files |= {} if guest.story is Story.PROMPT else {"grub/grub.cfg": _menu(guest).encode()}
        efi = guest.uefi or guest.arm
        boot = b"" if efi else _found(parts, "usr/lib/grub/i386-pc/boot.img").read_bytes()
        core = b"" if efi else _core(parts, "i386-pc")
        name, platform = ("BOOTAA64", "arm64-efi") if guest.arm else ("BOOTX64", "x86_64-efi")
        files |= {f"EFI/BOOT/{name}.EFI": _core(parts, platform)} if efi else {}
    partition = file_system(files, _SIZE - _PARTITION * _SECTOR, "GUEST")
    with path.open("wb") as stream:
        stream.truncate(_SIZE)
        if guest.story is not Story.WIPED:
            stream.write(_boot_record(boot, guest))
            stream.write(core)
        _write_sparse(stream, partition)
    return path


def _write_sparse(stream: BinaryIO, partition: bytearray) -> None:
    for at in range(0, len(partition), 1 << 16):
        piece = partition[at : at + (1 << 16)]
        if any(piece):
            stream.seek(_PARTITION * _SECTOR + at)
            stream.write(piece)


def _boot_record(boot: bytes, guest: Guest) -> bytes:
    kind = 0xEF if guest.uefi or guest.arm else 0x0E
    far = b"\xfe\xff\xff"
    entry = struct.pack("<B3sB3sII", 0x80, far, kind, far, _PARTITION, _SIZE // _SECTOR - _PARTITION)
    return boot[:440].ljust(440, b"\0") + b"IMSY\0\0" + entry.ljust(64, b"\0") + b"\x55\xaa"


def _core(parts: Path, platform: str) -> bytes:
    """Return GRUB for a platform, with the modules that the menu needs in it."""
    tool = _found(parts, "usr/bin/grub-mkimage")
    folder = _found(parts, f"usr/lib/grub/{platform}")
    device = "(hd0,msdos1)/grub"
    with tempfile.TemporaryDirectory(prefix="imagesync-grub-") as work:
        into = Path(work) / "core"
        words = [str(tool), "-O", platform, "-d", str(folder), "-p", device, "-o", str(into)]
        try:
            modules = (name for name in _GRUB if name != "serial" or platform != "arm64-efi")
            subprocess.run([*words, *modules, *_PLATFORMS[platform]], check=True, capture_output=True, timeout=_HANG)
        except subprocess.CalledProcessError as error:
            raise ConversionError(platform, f"grub-mkimage: {error.stderr.decode().strip()}") from error
        return into.read_bytes()


def _menu(guest: Guest) -> str:
    if guest.story is Story.RESETS:
        return "reboot\n"
    consoles = f"console=tty0 console={guest.serial},115200"
    root = "root=/dev/vda9" if guest.story is Story.PANIC else f"initrd-story={guest.story}"
    mute = guest.story in {Story.SILENT, Story.BLANK, Story.UNCLEAR}
    quiet = "quiet loglevel=0 vt.global_cursor_default=0 console=tty0" if mute else consoles
    initrd = "" if guest.story is Story.PANIC else "initrd /initrd\n"
    # UEFI of ARM has the serial line for a console of its own.
    serial = "" if mute or guest.arm else "serial --unit=0 --speed=115200\nterminal_output serial console\n"
    hello = "" if mute else f"echo Starting {guest.title}\n"
    return f"{serial}{hello}linux /vmlinuz {quiet} {root} net.ifnames=0\n{initrd}boot\n"


def _found(parts: Path, pattern: str) -> Path:
    for path in sorted(parts.glob(pattern)):
        return path
    raise ToolMissingError(str(parts), f"has no {pattern}", "run .ci/guest-parts")


# --- the first root file system --------------------------------------------------------------------------------------
def _initrd(guest: Guest, parts: Path) -> bytes:
    modules = {f"modules/{Path(name).name}.ko": _module(parts, name) for name in _MODULES}
    names = " ".join(Path(name).name for name in _MODULES)
    init = _INIT.replace("@TITLE@", guest.title).replace("@MODULES@", names).replace("@STORY@", _STORIES[guest.story])
    init = init.replace("@SERIAL@", guest.serial)
    files = {"init": init.encode(), "bin/busybox": _found(parts, "bin/busybox").read_bytes()} | modules
    return _archive(files)


def _module(parts: Path, name: str) -> bytes:
    return _found(parts, f"lib/modules/*/kernel/{name}.ko").read_bytes()


def _archive(files: dict[str, bytes]) -> bytes:
    """Return a cpio archive of the kind that the kernel takes (``newc``)."""
    folders = sorted({str(parent) for name in files for parent in Path(name).parents} - {"."})
    members = [(name, 0o040755, b"") for name in folders]
    members += [(name, 0o100755, content) for name, content in files.items()]
    members.append(("TRAILER!!!", 0, b""))
    archive = bytearray()
    for number, (name, mode, content) in enumerate(members, 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        archive += bytes(-len(archive) % 4) + content
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


_INIT = """#!/bin/busybox sh
busybox=/bin/busybox
$busybox mkdir -p /proc /sys /dev /mnt /etc
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sys /sys
$busybox mount -t devtmpfs dev /dev
$busybox --install -s /bin
export PATH=/bin
hostname @TITLE@
echo 'A guest of imagesync \\n \\l' >/etc/issue
for name in @MODULES@; do insmod /modules/$name.ko || echo "guest: no $name"; done
for try in 1 2 3 4 5 6 7 8 9 10; do [ ! -b /dev/vda ] || break; sleep 0.2; done
[ -b /dev/vda ] && echo "guest: disk $(cat /sys/block/vda/size) sectors" || echo "guest: no disk"
for disk in /dev/vd?; do
  case $(dd if=$disk bs=1 skip=43 count=11 2>/dev/null) in CIDATA*)
    mount -t vfat -o ro $disk /mnt && echo "guest: seed $(tr '\\n' ' ' </mnt/meta-data)"; umount /mnt ;;
  esac
done
echo "guest: network$(ls /sys/class/net | grep -v lo | sed 's/^/ /')"
@STORY@
"""

_LOGIN = """setsid getty -L 115200 @SERIAL@ vt100 &
while :; do getty 38400 tty1; done
"""
# Past what a boot loader reads, then a screen that is cleared, once each.
_MUTE = "dd if=/dev/vda of=/dev/null bs=1M 2>/dev/null; printf '\\033c' >/dev/tty0\n"
_STORIES = {
    Story.LOGIN: _LOGIN,
    Story.PANIC: "",
    Story.WIPED: "",
    Story.PROMPT: "",
    Story.RESETS: "",
    Story.POWER_OFF: "sync; poweroff -f\n",
    # A title for the window, other colours, the cursor's place reported as if typed, text that overwrites itself.
    Story.HOSTILE: (
        "printf '\\033]0;owned\\007\\033[31m\\033[6n\\033[?1049h\\033[2J\\033P$q\\033\\\\red\\rblue\\b\\b\\302\\233 31m"
        "\\342\\200\\256<script>alert(1)</script>\\n'\nyes 'guest: a flood of words without an end' \n"
    ),
    Story.WRITES: (
        "dd if=/dev/zero of=/dev/vda bs=1M count=8 2>&1 && sync && echo 'guest: overwrote the disk'\n"
        "ifconfig eth0 10.0.2.15 up 2>&1; ping -c 1 -W 2 10.0.2.2 2>&1\necho 'guest: tried the network'\n" + _LOGIN
    ),
    Story.SILENT: "while :; do dd if=/dev/vda of=/dev/null bs=64k count=200 skip=$RANDOM 2>/dev/null; sleep 1; done\n",
    Story.BLANK: f"{_MUTE}while :; do sleep 60; done\n",
    Story.UNCLEAR: f"{_MUTE}echo 'One moment, please' >/dev/tty0\nwhile :; do sleep 60; done\n",
}
