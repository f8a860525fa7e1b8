"""The machine that an image gets, and QEMU's command line for it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from imagesync.boot.machine import (
    _BUSES,
    _CONTROLLERS,
    Accelerator,
    Architecture,
    Disks,
    Firmware,
    Machine,
    Wires,
    arguments,
    choose,
    firmware_files,
    settings,
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
    machine = choose({}, (), ram)
    assert machine.memory == memory
    assert f" -m {memory}M " in line(machine)


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


@pytest.mark.parametrize(("bus", "device"), [("scsi", "scsi-hd"), ("sata", "ide-hd,bus=sata.0"), ("ide", "ide-hd")])
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


@pytest.mark.parametrize(
    ("properties", "board", "bus"),
    [
        ({"hw_machine_type": "pc-q35-7.2"}, "q35", "virtio"),
        ({"hw_machine_type": "pc-q35-rhel9.2.0"}, "q35", "virtio"),
        ({"hw_machine_type": "pc-i440fx-2.11"}, "pc", "virtio"),
        ({"hw_machine_type": "virt"}, "", "virtio"),
        ({"hw_machine_type": "q35", "architecture": "aarch64"}, "", "virtio"),
        ({"hw_disk_bus": "ide", "architecture": "aarch64"}, "", "sata"),
        ({"hw_disk_bus": "usb"}, "", "usb"),
    ],
)
def test_a_board_or_bus_that_the_architecture_has_not_is_replaced(
    properties: dict[str, str], board: str, bus: str
) -> None:
    machine = choose(properties, ())
    assert (machine.board, machine.bus) == (board, bus)


@pytest.mark.parametrize(
    ("model", "device"),
    [
        ("", "virtio-scsi-pci"),
        ("virtio-scsi", "virtio-scsi-pci"),
        ("lsilogic", "lsi53c895a"),
        ("lsisas1068", "mptsas1068"),
        ("lsisas1078", "megasas"),
    ],
)
def test_a_scsi_disk_hangs_on_the_controller_that_the_image_wants(model: str, device: str) -> None:
    machine = choose({"hw_disk_bus": "scsi", "hw_scsi_model": model}, ())
    assert f"-device {device} " in line(machine)
    assert "-device scsi-hd,drive=image,bootindex=1" in line(machine)


@pytest.mark.parametrize("model", ["buslogic", "ibmvscsi", "vmpvscsi", "virtio-scsi-pci,id=x"])
def test_a_scsi_controller_that_is_not_to_be_had_is_named(model: str) -> None:
    with pytest.raises(ValueError, match="no machine with the SCSI controller"):
        choose({"hw_disk_bus": "scsi", "hw_scsi_model": model}, ())

    assert "scsi" not in line(choose({"hw_scsi_model": model}, ()))


def test_what_is_asked_of_a_machine_is_one_short_line() -> None:
    properties = {"hw_scsi_model": "virtio-scsi", "title": "x", "architecture": "x86_64", "hw_disk_bus": ""}

    assert settings(properties, 512, Format.RAW) == "architecture=x86_64 hw_scsi_model=virtio-scsi ram=512 format=raw"
    long = [settings({"hw_machine_type": letter * 100}, 0, Format.RAW) for letter in "ab"]
    assert len(set(long)) == 2
    assert max(map(len, long)) == 64


def test_no_value_looks_like_two_properties() -> None:
    one = {"architecture": "x86_64", "hw_machine_type": "q35 hw_disk_bus=sata"}
    two = {"architecture": "x86_64", "hw_machine_type": "q35", "hw_disk_bus": "sata"}

    assert settings(one, 0, Format.RAW) != settings(two, 0, Format.RAW)


@pytest.mark.parametrize(
    "properties",
    [
        *({"hw_machine_type": board, "hw_disk_bus": bus} for board in ("pc", "q35") for bus in _BUSES),
        *({"hw_disk_bus": "scsi", "hw_scsi_model": model} for model in _CONTROLLERS),
        *({"architecture": "aarch64", "hw_machine_type": "pc", "hw_disk_bus": bus} for bus in _BUSES),
    ],
)
def test_qemu_refuses_none_of_the_machines(properties: dict[str, str], tmp_path: Path) -> None:
    image, seed = tmp_path / "image", tmp_path / "seed"
    for file in (image, seed):
        file.write_bytes(bytes(1 << 16))
    machine = choose(properties, ())
    program = f"qemu-system-{machine.architecture}"
    if machine.architecture is Architecture.AARCH64 and shutil.which(program) is None:
        return  # `make test-boot` installs it
    words = list(arguments(machine, Accelerator.TCG, Disks(image, Format.RAW, seed), WIRES))
    for wire in ("control", "console", "firmware"):
        at = next(number for number, word in enumerate(words) if word.startswith(f"socket,id={wire}"))
        words[at] = f"null,id={wire}"
    words = [word for word in words if word not in {"-mon", "chardev=control,mode=control"}]

    command = [program, *words, "-S", "-monitor", "stdio"]
    done = subprocess.run(command, input="quit\n", capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
