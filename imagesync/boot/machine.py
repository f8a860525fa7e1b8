"""The machine that an image is started in, and QEMU's command line for it. Pure.

No network, no shared folder, no device that reaches this machine; the image is never written (``snapshot=on``). QEMU
opens nothing by itself but the files named here: its control socket, the console and the firmware's messages come as
descriptors of sockets without a name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from imagesync.model import Format

MIB = 1 << 20
OVERHEAD = 1536 * MIB
"""What QEMU's address space is larger than the guest's memory: libraries, stacks, the screen, translated code."""

_LEAST, _USUAL, _MOST = 512, 1024, 4096


class Architecture(StrEnum):
    """What QEMU calls processors that are emulated here."""

    X86_64 = "x86_64"
    AARCH64 = "aarch64"


class Firmware(StrEnum):
    """What starts the boot loader."""

    BIOS = "bios"
    UEFI = "uefi"


class Accelerator(StrEnum):
    """Whether the processor runs the guest itself, or QEMU translates it."""

    KVM = "kvm"
    TCG = "tcg"


_ARCHITECTURES = {
    **dict.fromkeys(("x86_64", "amd64", "x64", "i686", "i386"), Architecture.X86_64),
    **dict.fromkeys(("aarch64", "arm64"), Architecture.AARCH64),
}

_FIRMWARE_FILES: Mapping[Architecture, tuple[tuple[str, str], ...]] = {
    Architecture.X86_64: (
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
        ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ),
    Architecture.AARCH64: (
        ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
        ("/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"),
    ),
}

PROPERTIES = ("architecture", "hw_firmware_type", "hw_machine_type", "hw_disk_bus", "hw_scsi_model")
"""What an image can ask of its machine."""

_LONGEST = 95

_CONTROLLERS = {
    "virtio-scsi": "virtio-scsi-pci",
    "lsilogic": "lsi53c895a",
    "lsisas1068": "mptsas1068",
    "lsisas1078": "megasas",
}
"""What libvirt makes of Nova's hw_scsi_model for QEMU, but for what only POWER has; it knows no others."""

_BUSES = {
    "virtio": ("virtio-blk-pci", ()),
    "scsi": ("scsi-hd", ()),
    "sata": ("ide-hd,bus=sata.0", ("-device", "ich9-ahci,id=sata")),
    "ide": ("ide-hd", ()),
    "usb": ("usb-storage", ("-device", "qemu-xhci")),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine. ``memory`` is in MiB.

    ``board``, ``bus`` and ``scsi`` are as Nova's properties hw_machine_type, hw_disk_bus and hw_scsi_model say; the
    last one counts with the bus ``scsi``.
    """

    architecture: Architecture = Architecture.X86_64
    firmware: Firmware = Firmware.BIOS
    memory: int = _USUAL
    bus: str = "virtio"
    board: str = ""
    scsi: str = "virtio-scsi"


@dataclass(frozen=True, slots=True)
class Wires:
    """Descriptors of sockets that QEMU inherits."""

    control: int
    console: int
    firmware: int


@dataclass(frozen=True, slots=True)
class Disks:
    """What QEMU opens. ``firmware`` are code and variables, for UEFI."""

    image: Path
    format: Format
    seed: Path
    firmware: tuple[Path, Path] | None = None


def asked(properties: Mapping[str, str]) -> Mapping[str, str]:
    """Return those of an image's properties that its machine is chosen by."""
    return {key: properties[key] for key in PROPERTIES if properties.get(key)}


def settings(properties: Mapping[str, str], ram: int, form: str) -> str:
    """Return, as one line of at most 95 characters, what an image asks of its machine.

    ``ram`` is in MiB, 0 for unknown; ``form`` is the format of the file. A long line is given by its SHA-256.
    """
    # Quoted, so that no value looks like two.
    words = [f"{key}={quote(value, errors='replace')}" for key, value in asked(properties).items()]
    line = " ".join((*words, f"ram={ram}", f"format={form}"))
    return line if len(line) <= _LONGEST else hashlib.sha256(line.encode()).hexdigest()


def choose(properties: Mapping[str, str], starts_from: tuple[str, ...], ram: int = 0) -> Machine:
    """Return the machine for an image.

    Its own properties, named as Nova names them, come first; then what is on the disk, where boot code goes before an
    EFI system partition, as in a cloud whose machines have a BIOS unless told otherwise. ``ram`` is in MiB, 0 for
    unknown.

    Raises:
        ValueError: nobody here emulates its architecture, or the controller of its disk.
    """
    name = properties.get("architecture", "x86_64").lower()
    if name not in _ARCHITECTURES:
        raise ValueError(f"there is no machine for the architecture {name!r}")
    architecture, bus = _ARCHITECTURES[name], properties.get("hw_disk_bus", "virtio")
    if architecture is Architecture.AARCH64 and bus == "ide":
        bus = "sata"  # such machines have no other of that family
    return Machine(
        architecture,
        _firmware(architecture, properties, starts_from),
        min(max(ram or _USUAL, _LEAST), _MOST),
        bus if bus in _BUSES else "virtio",
        _family(architecture, properties.get("hw_machine_type", "")),
        _controller(properties) if bus == "scsi" else "virtio-scsi",
    )


def _controller(properties: Mapping[str, str]) -> str:
    """Return the controller of SCSI disks: virtio-scsi where none is asked for, as libvirt's choice differs.

    Raises:
        ValueError: QEMU has it not.
    """
    name = properties.get("hw_scsi_model") or "virtio-scsi"
    if name not in _CONTROLLERS:
        raise ValueError(f"there is no machine with the SCSI controller {name!r}")
    return name


def _family(architecture: Architecture, board: str) -> str:
    """Return the kind of board that ``pc-q35-7.2`` and the like are of, of those that the architecture has."""
    if architecture is Architecture.AARCH64:
        return ""
    found = re.match(r"(?:pc-)?(q35|i440fx|pc)(?:-|$)", board)
    return {"q35": "q35", "i440fx": "pc", "pc": "pc"}[found[1]] if found else ""


def _firmware(architecture: Architecture, properties: Mapping[str, str], starts_from: tuple[str, ...]) -> Firmware:
    wanted = properties.get("hw_firmware_type", "")
    if architecture is Architecture.AARCH64 or wanted == "uefi":
        return Firmware.UEFI
    if wanted == "bios" or "MBR" in starts_from or "ESP" not in starts_from:
        return Firmware.BIOS
    return Firmware.UEFI


def firmware_files(machine: Machine) -> tuple[tuple[Path, Path], ...]:
    """Return the places where distributions have UEFI for ``machine``, code and variables; none for BIOS."""
    if machine.firmware is Firmware.BIOS:
        return ()
    return tuple((Path(code), Path(variables)) for code, variables in _FIRMWARE_FILES[machine.architecture])


def arguments(machine: Machine, accelerator: Accelerator, disks: Disks, wires: Wires) -> tuple[str, ...]:
    """Return what follows the program's name."""
    return (
        *("-nodefaults", "-no-user-config", "-name", "imagesync-boot-check", "-display", "none", "-nic", "none"),
        *_board(machine, accelerator),
        *("-m", f"{machine.memory}M", "-smp", "1", "-rtc", "base=utc", "-boot", "strict=on,menu=off"),
        *("-action", "shutdown=pause,panic=pause,watchdog=none"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *_wires(machine, wires),
        *_firmware_drives(disks),
        *_image(machine, disks),
        *("-blockdev", f"driver=raw,node-name=seed,read-only=on,file.driver=file,file.filename={_name(disks.seed)}"),
        *("-device", "virtio-blk-pci,drive=seed,serial=seed"),
        *("-device", "virtio-rng-pci"),
    )


def _board(machine: Machine, accelerator: Accelerator) -> Iterator[str]:
    own = accelerator is Accelerator.KVM
    usual = {Architecture.X86_64: "pc", Architecture.AARCH64: "virt"}[machine.architecture]
    board = machine.board or ("q35" if machine.bus == "sata" and usual == "pc" else usual)
    yield from ("-machine", f"{board},graphics=on" if usual == "pc" else f"{board},gic-version=max")
    # Translated code gets a bounded buffer: the default would take half of all that the limits leave.
    yield from ("-accel", "kvm" if own else "tcg,tb-size=256")
    # A processor that is itself virtual often cannot be given the register in which it lists its bugs.
    guest = "host,arch-capabilities=off" if usual == "pc" else "host"
    yield from ("-cpu", guest if own else "max")
    if usual == "pc":
        yield from ("-vga", "std", "-device", "pvpanic")
    else:
        yield from ("-device", "virtio-gpu-pci", "-device", "pvpanic-pci")


def _wires(machine: Machine, wires: Wires) -> Iterator[str]:
    for name in ("control", "console", "firmware"):
        yield from ("-chardev", f"socket,id={name},fd={getattr(wires, name)}")
    yield from ("-mon", "chardev=control,mode=control", "-serial", "chardev:console")
    if machine.architecture is Architecture.X86_64:
        yield from ("-device", "isa-debugcon,iobase=0x402,chardev=firmware")


def _firmware_drives(disks: Disks) -> Iterator[str]:
    if disks.firmware is not None:
        code, variables = disks.firmware
        yield from ("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={_name(code)}")
        yield from ("-drive", f"if=pflash,unit=1,format=raw,snapshot=on,file={_name(variables)}")


def _image(machine: Machine, disks: Disks) -> Iterator[str]:
    if disks.format is Format.ISO:
        disc = f"if=none,id=image,media=cdrom,readonly=on,format=raw,file={_name(disks.image)}"
        arm = machine.architecture is Architecture.AARCH64
        drive = ("-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=image,bootindex=1")
        yield from ("-drive", disc, *(drive if arm else ("-device", "ide-cd,drive=image,bootindex=1")))
        return
    device, extra = _BUSES[machine.bus]
    extra = ("-device", _CONTROLLERS[machine.scsi]) if machine.bus == "scsi" else extra
    backing = ",backing=" if disks.format is Format.QCOW2 else ""
    yield from extra
    yield from ("-drive", f"if=none,id=image,snapshot=on,format={disks.format},file={_name(disks.image)}{backing}")
    yield from ("-device", f"{device},drive=image,bootindex=1")


def _name(path: Path) -> str:
    return str(path.absolute()).replace(",", ",,")
