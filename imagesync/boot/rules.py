"""What the evidence says: a table of small rules, of which the first that applies decides. Pure.

A rule that is ``early`` ends the run; the others are asked when the time is over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from imagesync.boot.evidence import Evidence
from imagesync.boot.verdict import Finding, Verdict

_MIB = 1 << 20
EDITION = 6
"""Raise it with every change of what the rules say, or see: what was said of an image before counts no more then."""
_ONE_RESET = 1.0  # seconds
RESETS = 3
"""So many resets are a loop: one is normal, when the first start relabels files or grows the disk."""
A_LITTLE = 16 * _MIB
"""Firmware and boot loader together read less than this; a kernel with its first file system is about as large."""
BLANK = 0.0002
"""A screen of which a smaller share is drawn on shows a cursor at most."""


@dataclass(frozen=True, slots=True)
class Rule:
    """``sees`` returns the evidence in one line if the rule applies, else nothing."""

    verdict: Verdict
    name: str
    sees: Callable[[Evidence], str]
    early: bool = False


def judge(evidence: Evidence) -> Finding | None:
    """Return what the evidence says, or nothing as long as more is to be waited for."""
    for rule in RULES:
        if (rule.early or evidence.over) and (why := rule.sees(evidence)):
            return Finding(rule.verdict, rule.name, why)
    return None


# --- what the rules look for -----------------------------------------------------------------------------------------
# A free run of characters with something after it is tried at every length from every beginning: it has to be bounded.
_PANIC = re.compile(
    r"(?m)(?<![A-Za-z,] )\bKernel panic - not syncing.*|\bpanic: .{0,200}\n.{0,200}(?:cpuid|KDB)"
    r"|You are in emergency mode.*"
)
# An initial file system that does not find the real one: Debian's, dracut's, Alpine's, Arch's; and FreeBSD's kernel.
_NO_ROOT = re.compile(
    r"^\(initramfs\) *$|Gave up waiting for (?:the )?root.*|ALERT! .{0,200}does not exist.*"
    r"|^dracut:/# *$|Warning: /dev/\S{1,200} does not exist.*|Entering emergency mode.*"
    r"|Cannot open access to console, the root account is locked.*|^mountroot> *$"
    r"|initramfs emergency recovery shell launched.*|ERROR: Unable to find root device.*"
    r"|You are (?:now )?being dropped (?:in)?to an? (?:emergency|recovery) shell.*",
    re.MULTILINE,
)
_LOGIN = re.compile(r"(?m)^(?:\S{1,80} ){0,2}login: *$|^SAC> *$")
_KERNEL = re.compile(
    r"(?m)(?:^|\] )Linux version \d+\.\d.*|^\[ *\d+\.\d{6}\] .*|Booting Linux on physical CPU.*|^Run /init.*"
    r"|^\[  OK  \] .*|^Copyright \(c\) 1992-\d{4} The FreeBSD Project.*|^OpenBSD \d.*|^NetBSD \d.*"
)
_NOTHING_TO_START = re.compile(
    r"No bootable device.*|BdsDxe: No bootable option or device was found.*|No boot option.{0,80}was found"
    r"|This is not a bootable disk.*|Operating system not found.*|Missing operating system.*|^Shell> *$",
    re.MULTILINE,
)
_LOADER = re.compile(
    r"(?P<gave>^ *Booting (?:`|a command list).*|Loading (?:Linux|initial ramdisk|vmlinuz|initrd|/\S).*|^EFI stub: .*)"
    r"|grub> *|grub rescue> *|GRUB loading\..{0,80}error.*|^error: .*|Press any key to continue.*|GNU GRUB .*"
    r"|^GRUB ?$|Loading Operating System.*|^boot: *|SYSLINUX \d.*|ISOLINUX \d.*|No DEFAULT or UI configuration.*"
    r"|systemd-boot.*",
    re.MULTILINE,
)
"""What boot loaders say; ``gave`` is their last word before the kernel has the machine."""


def _event(name: str, *reasons: str) -> Callable[[Evidence], str]:
    def sees(evidence: Evidence) -> str:
        for event in evidence.events:
            if event.name == name and (not reasons or event.reason in reasons):
                return f"{name} {event.reason} after {event.at:.0f} s".replace("  ", " ")
        return ""

    return sees


def _state(status: str) -> Callable[[Evidence], str]:
    return lambda evidence: f"the machine is in the state {status}" if evidence.status == status else ""


def _stopped_by_us(evidence: Evidence) -> str:
    """Return that this machine, not the guest, stopped it: no room for what it wrote, or a processor that gave up."""
    if why := _event("BLOCK_IO_ERROR")(evidence):
        return f"QEMU could not read or write its disk: {why}"
    ours = evidence.status in {"io-error", "internal-error"}
    return f"QEMU stopped the machine by itself, {evidence.status}" if ours else ""


def _said(pattern: re.Pattern[str]) -> Callable[[Evidence], str]:
    def sees(evidence: Evidence) -> str:
        match = pattern.search(evidence.words)
        return match[0].strip()[:200] if match else ""

    return sees


def _resets(evidence: Evidence) -> str:
    # Firmware that resets by more than one way gives several events for one.
    times: list[float] = []
    for at in sorted(event.at for event in evidence.events if event.name == "RESET"):
        if not times or at - times[-1] >= _ONE_RESET:
            times.append(at)
    return f"{len(times)} resets in {times[-1]:.0f} s" if len(times) >= RESETS else ""


def _firmware_gave_up(evidence: Evidence) -> str:
    match = _NOTHING_TO_START.search(f"{evidence.firmware}\n{evidence.words}")
    return match[0].strip()[:200] if match and not _said(_KERNEL)(evidence) else ""


def _nothing_on_disk(evidence: Evidence) -> str:
    idle = evidence.over or evidence.still_for > evidence.quiet
    if evidence.starts_from or not idle or evidence.last.read_bytes > _MIB:
        return ""
    return "the disk has neither boot code nor an EFI system partition, and nothing started"


def _waits(evidence: Evidence) -> str:
    """Return what a boot loader said last, when nothing has happened since and no kernel spoke.

    A kernel may say nothing, so one that was given the machine is waited for. So is one of which nobody knows, where
    much was read: then the loader's words count only if nothing stands after them.
    """
    if evidence.still_for <= evidence.quiet or _said(_KERNEL)(evidence):
        return ""
    texts = (evidence.console, evidence.screen.text if evidence.screen else "")
    said = [(text, found[-1]) for text in texts if (found := [*_LOADER.finditer(text)])]
    if any(match["gave"] for _, match in said):
        return ""
    much = evidence.last.read_bytes > A_LITTLE
    waits = [match[0].strip()[:120] for text, match in said if not (much and text[match.end() :].strip())]
    return f"{waits[-1]!r}, and nothing for {evidence.still_for:.0f} s" if waits else ""


def _never_read(evidence: Evidence) -> str:
    """Return that not one sector was asked for: this machine did not work, which says nothing about the image.

    Translated firmware may take its time until then; with KVM it is a matter of seconds, or KVM crawls.
    """
    late = evidence.over or (evidence.accelerator == "kvm" and evidence.seconds > 2 * evidence.quiet)
    if evidence.last.reads or not late or not evidence.samples:
        return ""
    return f"the firmware did not read the disk once in {evidence.seconds:.0f} s"


def _settled(evidence: Evidence) -> str:
    """Return what the kernel said last, when nothing more is to be expected: it has no console here, or it hangs."""
    lines = [match[0].strip()[:200] for match in _KERNEL.finditer(evidence.words)]
    return lines[-1] if lines and evidence.still_for > 2 * evidence.quiet else ""


def _keeps_reading(evidence: Evidence) -> str:
    half = evidence.seconds / 2
    late = [one.read_bytes for one in evidence.samples if one.at >= half]
    grew = sum(after > before for before, after in pairwise(late))
    if evidence.last.read_bytes <= A_LITTLE or grew < 2 or grew * 4 < len(late):
        return ""
    return f"{evidence.last.read_bytes // _MIB} MiB read, and still more in {grew} of the last {len(late)} looks"


def _stopped_early(evidence: Evidence) -> str:
    read = evidence.last.read_bytes
    if not 0 < read <= A_LITTLE or evidence.still_for <= evidence.quiet:
        return ""
    return f"{read // 1024} KiB read, then nothing for {evidence.still_for:.0f} s"


def _nothing_seen(evidence: Evidence) -> str:
    empty = not evidence.console.strip() and (evidence.screen is None or evidence.dark)
    return "nothing on the console and nothing on the screen" if empty else ""


RULES = (
    Rule(Verdict.PANIC, "panic-event", _event("GUEST_PANICKED"), early=True),
    # An event may come before anybody listens, or after too many others; the state stays.
    Rule(Verdict.PANIC, "panic-state", _state("guest-panicked"), early=True),
    Rule(Verdict.PANIC, "panic-text", _said(_PANIC), early=True),
    Rule(Verdict.LOGIN, "login-prompt", _said(_LOGIN), early=True),
    Rule(Verdict.INCONCLUSIVE, "machine-stopped", _stopped_by_us, early=True),
    Rule(Verdict.PANIC, "no-root", _said(_NO_ROOT), early=True),
    Rule(Verdict.POWERED_OFF, "shutdown-event", _event("SHUTDOWN", "guest-shutdown"), early=True),
    Rule(Verdict.POWERED_OFF, "shutdown-state", _state("shutdown"), early=True),
    Rule(Verdict.RESET_LOOP, "resets", _resets, early=True),
    Rule(Verdict.INCONCLUSIVE, "qemu-trouble", lambda evidence: evidence.trouble, early=True),
    Rule(Verdict.NO_BOOTABLE_DEVICE, "firmware-gave-up", _firmware_gave_up, early=True),
    Rule(Verdict.NO_BOOTABLE_DEVICE, "nothing-on-disk", _nothing_on_disk, early=True),
    Rule(Verdict.INCONCLUSIVE, "never-read", _never_read, early=True),
    Rule(Verdict.BOOTLOADER_STUCK, "loader-waits", _waits, early=True),
    Rule(Verdict.KERNEL, "kernel-settled", _settled, early=True),
    Rule(Verdict.KERNEL, "kernel-text", _said(_KERNEL)),
    Rule(Verdict.READING, "steady-reads", _keeps_reading),
    Rule(Verdict.BOOTLOADER_STUCK, "stopped-early", _stopped_early),
    Rule(Verdict.BLANK, "nothing-seen", _nothing_seen),
    Rule(Verdict.INCONCLUSIVE, "time-over", lambda evidence: f"nothing certain in {evidence.seconds:.0f} s"),
)
