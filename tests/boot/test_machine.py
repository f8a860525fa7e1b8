"""The machine that an image gets, and QEMU's command line for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagesync.boot.machine import (
    Accelerator,
    Architecture,
    Disks,
    Firmware,
    Machine,
    Wires,
    arguments,
    choose,
    firmware_files,
)
from imagesync.model import Format

DISKS = Disks(Path("/cache/a,b"), Format.QCOW2, Path("/scratch/seed"))
UEFI = (Path("/fw/code"), Path("/fw/vars"))
WIRES = Wires(5, 6, 7)


def line(machine: Machine | None = None, accelerator: Accelerator = Accelerator.TCG, disks: Disks = DISKS) -> str:
    return " ".join(arguments(machine or Machine(), accelerator, disks, WIRES))


@pytest.mark.parametrize(
    ("properties", "begins", "firmware"),
    [
        ({}, ("MBR",), Firmware.BIOS),
        ({}, ("MBR", "ESP"), Firmware.BIOS),
        ({}, ("ESP",), Firmware.UEFI),
        ({}, (), Firmware.BIOS),
        ({"hw_firmware_type": "uefi"}, ("MBR",), Firmware.UEFI),
        ({"hw_firmware_type": "bios"}, ("ESP",), Firmware.BIOS),
        ({"architecture": "aarch64"}, ("MBR",), Firmware.UEFI),
    ],
)
def test_firmware_follows_the_image_s_word_and_then_its_disk(
    properties: dict[str, str], begins: tuple[str, ...], firmware: Firmware
) -> None:
    assert choose(properties, begins).firmware is firmware


@pytest.mark.parametrize(("ram", "memory"), [(0, 1024), (1, 512), (2048, 2048), (1 << 20, 4096)])
def test_memory_is_what_the_image_asks_for_within_bounds(ram: int, memory: int) -> None:
    assert choose({}, (), ram).memory == memory


def test_an_architecture_that_nobody_emulates_is_named() -> None:
    with pytest.raises(ValueError, match="'s390x'"):
        choose({"architecture": "s390x"}, ())


@pytest.mark.parametrize(("name", "found"), [("amd64", Architecture.X86_64), ("ARM64", Architecture.AARCH64)])
def test_architectures_go_by_several_names(name: str, found: Architecture) -> None:
    assert choose({"architecture": name}, ()).architecture is found


def test_properties_that_name_nothing_known_are_left_out() -> None:
    odd = choose({"hw_disk_bus": "virtio,file=/etc/passwd", "hw_machine_type": "pc,dumpdtb=/x"}, ())
    assert (odd.bus, odd.board) == ("virtio", "")


def test_the_guest_can_reach_nothing() -> None:
    words = line()
    assert "-nodefaults -no-user-config" in words
    assert "-nic none" in words
    assert "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny" in words
    assert not any(word in words for word in ("virtfs", "fsdev", "netdev", "-usb", "vhost", "vnc", "spice"))


def test_the_image_is_never_written_and_its_name_is_not_interpreted() -> None:
    drive = "if=none,id=image,snapshot=on,format=qcow2,file=/cache/a,,b,backing="
    assert f"-drive {drive} -device virtio-blk-pci,drive=image,bootindex=1" in line()


def test_only_the_image_is_started_from() -> None:
    assert "-boot strict=on,menu=off" in line()
    assert line().count("bootindex") == 1


def test_sockets_without_a_name_are_the_only_way_in_and_out() -> None:
    words = line()
    assert "-chardev socket,id=control,fd=5 -chardev socket,id=console,fd=6 -chardev socket,id=firmware,fd=7" in words
    assert "-mon chardev=control,mode=control -serial chardev:console" in words
    assert "path=" not in words


def test_power_off_and_panic_leave_the_screen_to_look_at() -> None:
    assert "-action shutdown=pause,panic=pause,watchdog=none" in line()
    assert "-device pvpanic" in line()
    assert "-device isa-debugcon,iobase=0x402,chardev=firmware" in line()


def test_kvm_and_translation_differ_in_the_processor() -> None:
    assert "-accel kvm -cpu host,arch-capabilities=off" in line(accelerator=Accelerator.KVM)
    assert "-accel tcg,tb-size=256 -cpu max" in line()


def test_uefi_comes_with_variables_that_are_not_kept() -> None:
    words = line(Machine(firmware=Firmware.UEFI), disks=Disks(DISKS.image, Format.RAW, DISKS.seed, UEFI))
    assert "if=pflash,unit=0,format=raw,readonly=on,file=/fw/code" in words
    assert "if=pflash,unit=1,format=raw,snapshot=on,file=/fw/vars" in words


def test_places_of_uefi_are_known_and_a_bios_needs_none() -> None:
    assert firmware_files(Machine()) == ()
    assert firmware_files(Machine(firmware=Firmware.UEFI))[0][0] == Path("/usr/share/OVMF/OVMF_CODE_4M.fd")


@pytest.mark.parametrize(("bus", "device"), [("scsi", "scsi-hd"), ("sata", "ide-hd"), ("ide", "ide-hd")])
def test_the_disk_is_on_the_bus_that_the_image_wants(bus: str, device: str) -> None:
    words = line(Machine(bus=bus))
    assert f"-device {device},drive=image,bootindex=1" in words
    assert ("q35" in words) == (bus == "sata")


def test_an_iso_is_a_disc_in_a_drive() -> None:
    words = line(disks=Disks(DISKS.image, Format.ISO, DISKS.seed))
    assert "media=cdrom,readonly=on,format=raw" in words
    assert "-device ide-cd,drive=image,bootindex=1" in words


def test_a_machine_of_another_kind_has_no_parts_of_a_pc() -> None:
    machine = Machine(Architecture.AARCH64, Firmware.UEFI)
    words = line(machine, disks=Disks(DISKS.image, Format.RAW, DISKS.seed, UEFI))
    assert "-machine virt" in words
    assert not any(word in words for word in ("isa-", "-vga", "pvpanic ", "arch-capabilities"))


def test_a_machine_is_described_in_one_word() -> None:
    assert Machine().described() == "x86_64-bios-1024MiB-virtio-usual"
