"""What a boot check says of an image. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What became of the machine."""

    LOGIN = "login"
    KERNEL = "kernel"
    READING = "reading"
    NO_BOOTABLE_DEVICE = "no-bootable-device"
    BOOTLOADER_STUCK = "bootloader-stuck"
    PANIC = "panic"
    RESET_LOOP = "reset-loop"
    POWERED_OFF = "powered-off"
    BLANK = "blank"
    INCONCLUSIVE = "inconclusive"

    @property
    def passed(self) -> bool:
        """Return whether the image is taken to start."""
        return self in _PASSED

    @property
    def failed(self) -> bool:
        """Return whether the image is taken not to start; with an inconclusive check neither is known."""
        return not self.passed and self is not Verdict.INCONCLUSIVE


_PASSED = frozenset({Verdict.LOGIN, Verdict.KERNEL, Verdict.READING})


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict, the name of the rule that it comes from, and the evidence in one line."""

    verdict: Verdict
    rule: str
    why: str
