"""Real guests under real QEMU. ``make test`` starts three of them, ``make test-boot`` all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import psutil
import pytest

from imagesync.boot.check import Result, Wish, check, kvm_works
from imagesync.boot.machine import _CONTROLLERS, Accelerator, Firmware
from imagesync.boot.session import Patience
from imagesync.boot.verdict import Verdict
from imagesync.images.confine import STANDARD_PATH
from imagesync.model import Format
from imagesync.testing.disks import Disk, Kind, write_disk
from imagesync.testing.guests import BOUNDED, ENDINGS, Guest, Story, write_guest

ROOT = Path(__file__).parents[2]
FULL = bool(os.environ.get("IMAGESYNC_FULL"))
QUICK = Patience(quiet=5.0)
# What the story is like depends on neither format nor, mostly, firmware; UEFI itself speaks on the serial console.
MATRIX = [
    *((story, Format.RAW, "bios") for story in Story),
    *((story, Format.RAW, "uefi") for story in Story if story is not Story.BLANK),
    *((story, Format.QCOW2, machine) for story in (Story.LOGIN, Story.WRITES) for machine in ("bios", "uefi")),
    *((story, Format.RAW, "arm") for story in (Story.LOGIN, Story.PANIC, Story.WIPED)),
    (Story.LOGIN, Format.QCOW2, "arm"),
    (Story.PROMPT, Format.ISO, "bios"),  # Debian's rescue disc
]
# What shows most in the least time: a whole start, a disk that does not, a boot loader alone.
SLICE = [(Story.LOGIN, Format.QCOW2, "bios"), (Story.WIPED, Format.RAW, "bios"), (Story.RESETS, Format.RAW, "bios")]

pytestmark = pytest.mark.timeout(2400)


@cache
def parts(architecture: str = "amd64") -> Path:
    """Return the directory with what guests are made of."""
    command = [ROOT / ".ci" / "guest-parts", architecture]
    return Path(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


@pytest.fixture
def guest(tmp_path: Path) -> Callable[..., Path]:
    def make(story: Story, kind: Format = Format.RAW, machine: str = "bios") -> Path:
        if kind is Format.ISO:
            return parts() / "usr/lib/grub-rescue/grub-rescue-cdrom.iso"
        arm = machine == "arm"
        made = Guest(story, uefi=machine == "uefi", arm=arm)
        raw = write_guest(tmp_path / "guest.img", made, parts("arm64" if arm else "amd64"))
        if kind is Format.RAW:
            return raw
        other = tmp_path / f"guest.{kind}"
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", kind, raw, other], check=True)
        return other

    return make


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Result]:
    def run(image: Path, kind: Format = Format.RAW, **wish: object) -> Result:
        work = tmp_path / "machine"
        work.mkdir()
        before = hashlib.sha512(image.read_bytes()).digest()
        options: dict[str, object] = {"accelerators": (Accelerator.TCG,), "patience": QUICK} | wish
        result = check(Wish(image, kind, image.name, **options), work)  # type: ignore[arg-type]  # of several kinds
        assert hashlib.sha512(image.read_bytes()).digest() == before
        assert sorted(path.name for path in work.iterdir()) == ["seed"]
        assert psutil.Process().children() == []
        return result

    return run


@pytest.mark.parametrize(("story", "kind", "machine"), MATRIX if FULL else SLICE)
def test_a_guest_gets_its_verdict(
    story: Story, kind: Format, machine: str, guest: Callable[..., Path], start: Callable[..., Result]
) -> None:
    properties = {"architecture": "aarch64" if machine == "arm" else "x86_64"}

    result = start(guest(story, kind, machine), kind, timeout=BOUNDED.get(story), properties=properties)

    print(f"{machine} {kind} {story}: {result.finding} {result.seconds} s")  # noqa: T201 - for whoever asks with -rP
    assert result.finding.verdict == ENDINGS[story], (result.finding, result.evidence.words)
    assert result.sandbox == "bubblewrap"
    assert result.screen is not None
    console = result.evidence.console
    match story:
        case Story.LOGIN:
            assert "guest: seed instance-id: imagesync-boot-check" in console
            assert "guest: network\n" in console
            assert result.machine.firmware is (Firmware.BIOS if machine == "bios" else Firmware.UEFI)
            assert machine == "arm" or result.screen.ink > 0.01  # there the kernel has only the serial console
            assert machine != "bios" or "] virtio_blk virtio" in _on_screen(result)
        case Story.WRITES:
            assert "guest: overwrote the disk" in console
            assert "guest: tried the network" in console
            assert "bytes from" not in console
        case Story.HOSTILE:
            assert result.evidence.last.said > 1 << 20
            assert "<script>alert(1)</script>\nguest: a flood of words" in console
            assert "bytes are left out]\n" in console
            assert len(console) < 200_000
            assert all(c.isprintable() or c == "\n" for c in console)


def _on_screen(result: Result) -> str:
    return result.evidence.screen.text if result.evidence.screen else ""


FORMATS = {
    Kind.VMDK_STREAM: Format.VMDK,
    Kind.VHD: Format.VHD,
    Kind.VMDK_SPARSE: Format.VMDK,
    Kind.VDI: Format.VDI,
    Kind.VHD_FIXED: Format.VHD,
    Kind.VHDX: Format.VHDX,
}
# The boot sector of a disk says so itself; a guest with a prompt would be given time to switch itself off.
SAYS = "small\r\nMissing operating system"
STARTED = "imagesync: small\nMissing operating system"


@pytest.mark.parametrize(("kind", "form"), FORMATS.items() if FULL else [*FORMATS.items()][:2])
def test_a_disk_in_any_format_is_started_from(
    kind: Kind, form: Format, tmp_path: Path, start: Callable[..., Result]
) -> None:
    result = start(write_disk(tmp_path / f"disk{kind.suffix}", kind, Disk(SAYS)), form)

    assert (result.finding.verdict, result.evidence.console.strip()) == (Verdict.NO_BOOTABLE_DEVICE, STARTED)


def test_a_guest_s_word_to_pvpanic_is_a_panic(tmp_path: Path, start: Callable[..., Result]) -> None:
    sector = bytes.fromhex("b001 ba0505 ee f4 ebfd")  # mov al, 1; mov dx, 505h; out dx, al; halt: hlt; jmp halt
    disk = tmp_path / "disk.img"
    disk.write_bytes(sector.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))

    finding = start(disk).finding

    assert (finding.verdict, finding.rule) == (Verdict.PANIC, "panic-event")


def test_where_kvm_does_not_work_an_image_is_started_without_it(tmp_path: Path) -> None:
    disk = write_disk(tmp_path / "disk.img", Kind.RAW, Disk(SAYS))
    work = tmp_path / "machine"
    work.mkdir()
    emulator = work / "qemu-system-x86_64"  # the one directory of ours that the sandbox has
    real = shutil.which(emulator.name)
    emulator.write_text(f'#!/bin/sh\ncase "$*" in *"-accel kvm"*) echo no KVM >&2; exit 1 ;; esac\nexec {real} "$@"\n')
    emulator.chmod(0o755)
    both = (Accelerator.KVM, Accelerator.TCG)

    result = check(Wish(disk, Format.RAW, "x", accelerators=both, path=f"{work}:{STANDARD_PATH}"), work)

    assert (result.evidence.console.strip(), result.evidence.accelerator) == (STARTED, "tcg")
    assert result.kvm_failed.startswith("QEMU ended with status 1: ")
    assert result.seconds >= result.evidence.seconds


def test_a_timeout_is_for_all_attempts_together(tmp_path: Path, start: Callable[..., Result]) -> None:
    disk = write_disk(tmp_path / "disk.img", Kind.RAW, Disk("no more than this"))

    result = start(disk, accelerators=(Accelerator.TCG, Accelerator.TCG), timeout=4.0)

    assert result.finding.rule == "time-over"
    assert result.seconds == result.evidence.seconds  # the one attempt took all of it


@pytest.mark.parametrize("model", _CONTROLLERS if FULL else ["virtio-scsi"])
def test_a_disk_on_any_scsi_controller_is_started_from(
    model: str, tmp_path: Path, start: Callable[..., Result]
) -> None:
    disk = write_disk(tmp_path / "disk.img", Kind.RAW, Disk(SAYS))

    result = start(disk, properties={"hw_disk_bus": "scsi", "hw_scsi_model": model})

    assert (result.evidence.console.strip(), result.machine.scsi) == (STARTED, model)


def test_without_a_choice_the_best_accelerator_that_works_gives_the_verdict(
    guest: Callable[..., Path], start: Callable[..., Result]
) -> None:
    result = start(guest(Story.WIPED), accelerators=(), patience=Patience(quiet=2.0, step=10.0))

    assert kvm_works() or result.evidence.accelerator == "tcg"
    assert result.finding.verdict is Verdict.NO_BOOTABLE_DEVICE


def test_the_command_says_what_became_of_an_image(guest: Callable[..., Path], tmp_path: Path) -> None:
    image, png = guest(Story.WIPED, Format.QCOW2), tmp_path / "screen.png"
    words = ["image", "boot", image, "--json", "--screenshot", png, "--accelerator", "tcg", "--timeout", "60"]
    config = tmp_path / "none.yaml"

    done = subprocess.run(
        [sys.executable, "-m", "imagesync", "-c", config, *words], stdout=subprocess.PIPE, check=False
    )

    report = json.loads(done.stdout)
    assert (done.returncode, report["exit"], report["verdict"]) == (3, 3, "no-bootable-device")
    assert report["machine"]["accelerator"] == "tcg"
    assert png.read_bytes().startswith(b"\x89PNG")
