"""Starting an image for a moment: from a file to a verdict."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from imagesync.boot import layout
from imagesync.boot.evidence import Evidence
from imagesync.boot.fat import file_system
from imagesync.boot.machine import (
    MIB,
    OVERHEAD,
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
from imagesync.boot.picture import Picture
from imagesync.boot.session import Launch, Patience, Seen, watch
from imagesync.boot.verdict import Finding, Verdict
from imagesync.errors import ConversionError, ToolMissingError, UnsupportedFormatError
from imagesync.images.confine import STANDARD_PATH, Limits, confine, environment, find
from imagesync.images.process import Watch, run
from imagesync.model import Format

log = logging.getLogger(__name__)

_KVM = Path("/dev/kvm")
_KVM_CREATE_VM = 0xAE01
_GIB = 1 << 30
_PACKAGES = {
    Architecture.X86_64: ("qemu-system-x86", "ovmf"),
    Architecture.AARCH64: ("qemu-system-arm", "qemu-efi-aarch64"),
}
_UNCERTAIN = frozenset({Verdict.INCONCLUSIVE, Verdict.BLANK, Verdict.BOOTLOADER_STUCK})
_SEED = {
    "meta-data": b"instance-id: imagesync-boot-check\nlocal-hostname: boot-check\n",
    "user-data": b"#cloud-config\nssh_pwauth: false\npackage_update: false\n",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """An inspected image to start. ``properties`` as Nova names them; ``ram`` in MiB, 0 for unknown.

    ``patience`` is for an idle machine with KVM and scaled for others; ``path`` is where programs are looked for.
    ``accelerators`` are tried in turn until one gives a certain verdict, without any those that work here; ``kvm`` says
    that KVM may be among these. ``timeout`` is in seconds of this machine for all attempts together, in place of the
    scaled ones.
    """

    image: Path
    format: Format
    subject: str
    properties: Mapping[str, str] = field(default_factory=dict)
    ram: int = 0
    patience: Patience = field(default_factory=Patience)
    accelerators: tuple[Accelerator, ...] = ()
    kvm: bool = True
    timeout: float | None = None
    path: str = STANDARD_PATH


@dataclass(frozen=True, slots=True)
class Result:
    """What became of it. ``seconds`` are those of all attempts.

    ``sandbox`` is the confinement in force; ``kvm_failed`` says why KVM is not worth another attempt on this machine.
    """

    finding: Finding
    machine: Machine
    evidence: Evidence
    seconds: float
    screen: Picture | None
    sandbox: str
    kvm_failed: str = ""


def settle(wish: Wish, work: Path) -> tuple[Machine, tuple[str, ...]]:
    """Return the machine for an image, and what its disk has to start from. ``work`` is a directory to write to.

    Raises:
        UnsupportedFormatError: nobody here emulates its architecture, or the controller of its disk.
        ToolMissingError: a program is missing.
        ConversionError: its first sectors cannot be read.
    """
    begins = layout.starts_from(_head(wish, work)) if wish.format is not Format.ISO else ("CD",)
    try:
        return choose(wish.properties, begins, wish.ram), begins
    except ValueError as error:
        raise UnsupportedFormatError(wish.subject, str(error), "set boot_check: off for it") from error


def check(wish: Wish, work: Path, tick: Callable[[float], None] = lambda _seconds: None) -> Result:
    """Start the image and return what became of it. The file is not written.

    ``work`` is an empty directory on a file system with room for what the guest writes, up to 2 GiB. ``tick`` is
    called about once a second with the seconds so far; what it raises ends the run.

    Raises:
        UnsupportedFormatError: nobody here emulates its architecture, or the controller of its disk.
        ToolMissingError: QEMU, or the firmware that it needs, is not installed.
        ConversionError: the first sectors of the image cannot be read.
    """
    machine, begins = settle(wish, work)
    seen: list[Seen] = []
    left, sandbox = wish.timeout, ""
    for accelerator in wish.accelerators or _accelerators(wish, machine):
        last, sandbox = _attempt(replace(wish, timeout=left), (machine, accelerator, begins), work, tick)
        seen.append(last)
        left = None if left is None else left - last.evidence.seconds
        if last.finding.verdict not in _UNCERTAIN or (left is not None and left < 1.0):
            break
        # KVM inside of another virtual machine may fail, or crawl: that is not the image's fault.
        log.info("%s under %s: %s", wish.subject, accelerator, last.finding.why)
    last = seen[-1]
    spent = round(sum(one.evidence.seconds for one in seen), 1)
    return Result(last.finding, machine, last.evidence, spent, last.picture, sandbox, _failed(seen))


def _failed(seen: list[Seen]) -> str:
    """Return why KVM is of no use, if it failed before any guest ran and translation said what KVM could not.

    What happens once the disk was read is the guest's doing, and no guest is to decide how the others are started.
    """
    first, last = seen[0], seen[-1]
    ran = first.finding.verdict is not Verdict.INCONCLUSIVE or first.evidence.last.reads > 0
    return "" if len(seen) < 2 or ran or last.finding.verdict in _UNCERTAIN else first.finding.why


def _accelerators(wish: Wish, machine: Machine) -> tuple[Accelerator, ...]:
    native = os.uname().machine == machine.architecture
    return (Accelerator.KVM, Accelerator.TCG) if native and wish.kvm and kvm_works() else (Accelerator.TCG,)


def missing(path: str) -> Iterator[str]:
    """Yield what boot checks of this machine's own architecture would miss here, each with what to do."""
    try:
        native = Architecture(os.uname().machine)
    except ValueError:
        native = Architecture.X86_64
    program, firmware = _PACKAGES[native]
    if shutil.which(f"qemu-system-{native}", path=path) is None:
        yield f"qemu-system-{native} is not installed: apt install {program}"
    files = firmware_files(Machine(native, Firmware.UEFI))
    if not any(code.is_file() and variables.is_file() for code, variables in files):
        yield f"there is no firmware for images with UEFI: apt install {firmware}"
    if not kvm_works():
        yield f"{_KVM} cannot be used, and each start takes minutes: put the user into the group kvm"
    try:
        sandbox = confine(Limits(_GIB, 1, _GIB), Path("/"), Path("/"), path).name
    except ToolMissingError as error:
        yield str(error)
        return
    if sandbox != "bubblewrap":
        yield "there is no sandbox around QEMU, whose guests are strangers' systems: apt install bubblewrap"


def surroundings(properties: Mapping[str, str], path: str = STANDARD_PATH) -> str:
    """Return what an image's verdict depends on beside the image and its machine, in a few words.

    That is how the guest would run here and which QEMU there is, ``none`` without one.
    """
    try:
        architecture = choose(properties, ()).architecture
    except ValueError:
        return "none"
    program = shutil.which(f"qemu-system-{architecture}", path=path)
    native = os.uname().machine == architecture
    accelerator = Accelerator.KVM if native and kvm_works() else Accelerator.TCG
    return f"{accelerator} qemu={_version(program) if program else 'none'}"


@cache
def _version(program: str) -> str:
    """Return the version that a QEMU gives itself, at most a few words; ``unknown`` if it gives none."""
    try:
        said = subprocess.run((program, "--version"), env=environment(), capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    match = re.match(r"QEMU emulator version (.{1,60})", said.stdout.decode("utf-8", "replace"))
    return match[1] if match else "unknown"


@cache
def kvm_works() -> bool:
    """Return whether this process can make a virtual machine with KVM."""
    try:
        device = os.open(_KVM, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.close(fcntl.ioctl(device, _KVM_CREATE_VM, 0))
    except OSError:
        return False
    finally:
        os.close(device)
    return True


def _attempt(
    wish: Wish, how: tuple[Machine, Accelerator, tuple[str, ...]], work: Path, tick: Callable[[float], None]
) -> tuple[Seen, str]:
    """Return what was seen, and the name of the confinement."""
    machine, accelerator, begins = how
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    patience = wish.patience.scaled(translated=accelerator is Accelerator.TCG, load=load)
    patience = patience if wish.timeout is None else replace(patience, total=wish.timeout)
    seed = work / "seed"
    seed.write_bytes(file_system(_SEED, 1 << 18, "cidata"))
    disks = Disks(wish.image.absolute(), wish.format, seed, _firmware(machine))
    program = find(f"qemu-system-{machine.architecture}", wish.path, _PACKAGES[machine.architecture][0])
    sandbox = confine(_limits(machine, accelerator, patience), disks.image, work.absolute(), wish.path)

    def command(wires: Wires) -> tuple[str, ...]:
        return (*sandbox.prefix, program, *arguments(machine, accelerator, disks, wires))

    variables = environment(wish.path) | {"TMPDIR": str(work.absolute())}  # where QEMU puts what the guest writes
    return watch(Launch(command, variables, work, str(accelerator), begins, tick), patience), sandbox.name


def _limits(machine: Machine, accelerator: Accelerator, patience: Patience) -> Limits:
    return Limits(
        memory=machine.memory * MIB + OVERHEAD,
        cpu=int(patience.total * 2) + 60,
        file_size=2 * _GIB,
        files=128,
        niceness=10,
        devices=(_KVM,) if accelerator is Accelerator.KVM else (),
    )


def _firmware(machine: Machine) -> tuple[Path, Path] | None:
    if machine.firmware is Firmware.BIOS:
        return None
    for code, variables in firmware_files(machine):
        if code.is_file() and variables.is_file():
            return code, variables
    package = _PACKAGES[machine.architecture][1]
    raise ToolMissingError("UEFI firmware", "is not installed", f"apt install {package}")


def _head(wish: Wish, work: Path) -> bytes:
    """Return the first sectors of the disk, which ``qemu-img dd`` takes out of formats other than raw."""
    if wish.format is Format.RAW:
        with wish.image.open("rb") as file:
            return file.read(layout.HEAD)
    into = work / "head"
    prefix = confine(Limits(_GIB, 60, _GIB), wish.image.absolute(), work.absolute(), wish.path).prefix
    name = str(wish.image.absolute()).replace(",", ",,")
    source = f"if=driver={wish.format},file.driver=file,file.filename={name}"
    words = ("dd", "--image-opts", "-O", "raw", f"bs={layout.HEAD}", "count=1", source, f"of={into.absolute()}")
    watched = Watch(into, 60.0, 60.0, lambda _share: None)
    outcome = run((*prefix, find("qemu-img", wish.path, "qemu-utils"), *words), environment(wish.path), watched)
    if outcome.status or outcome.gave_up:
        raise ConversionError(wish.subject, f"qemu-img cannot read its beginning: {outcome.stderr or outcome.gave_up}")
    try:
        return into.read_bytes()
    finally:
        into.unlink()
