"""What was seen of a machine while it ran: values, which recordings of real runs hold as well. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class Happening:
    """An event of QMP, ``at`` so many seconds after the start, with the reason that QEMU gives."""

    at: float
    name: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """How far the machine was ``at`` so many seconds: reads of its disk, and bytes read.

    ``said`` counts the bytes on the console and the changes of a text screen.
    """

    at: float
    reads: int
    read_bytes: int
    said: int


@dataclass(frozen=True, slots=True)
class Screen:
    """The last screen that had something on it.

    ``ink`` is the share of points that have not the commonest colour. ``text`` is what stood in the memory of a text
    screen, what has scrolled out of sight included, and empty for graphics.
    """

    width: int
    height: int
    ink: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a verdict is drawn from. Times are in seconds.

    ``starts_from`` says what the disk has to start from: ``MBR``, ``ESP``, both, or nothing. ``console`` and
    ``firmware`` are text without control characters; of a long one the beginning and the end. ``dark`` says that there
    is nothing on the screen now, whatever was there before. ``quiet`` is how long
    nothing may happen before that counts, on this machine at this time. ``trouble`` is what went wrong with QEMU
    itself. ``over`` says that the time is up.
    """

    accelerator: str
    starts_from: tuple[str, ...]
    quiet: float
    seconds: float = 0.0
    over: bool = False
    trouble: str = ""
    console: str = ""
    firmware: str = ""
    screen: Screen | None = None
    dark: bool = False
    events: tuple[Happening, ...] = ()
    samples: tuple[Sample, ...] = ()
    status: str = ""

    @property
    def words(self) -> str:
        """Return all text that the guest itself wrote: console and text screen."""
        return f"{self.console}\n{self.screen.text if self.screen else ''}"

    @property
    def last(self) -> Sample:
        """Return the last sample, or one of nothing."""
        return self.samples[-1] if self.samples else Sample(0.0, 0, 0, 0)

    @property
    def still_for(self) -> float:
        """Return for how long neither the disk was read nor anything came on the console."""
        since = next((one.at for one in self.samples if _progress(one) == _progress(self.last)), 0.0)
        return self.seconds - since

    def as_json(self) -> dict[str, Any]:
        """Return it as values that ``json`` can write."""
        return asdict(self)


def _progress(sample: Sample) -> tuple[int, int]:
    return sample.read_bytes, sample.said


def from_json(values: Mapping[str, Any]) -> Evidence:
    """Return the evidence that ``as_json`` gave."""
    parts: dict[str, Any] = dict(values)
    screen = cast("dict[str, Any] | None", parts["screen"])
    return Evidence(
        **parts
        | {
            "starts_from": tuple(parts["starts_from"]),
            "screen": Screen(**screen) if screen else None,
            "events": tuple(Happening(**event) for event in parts["events"]),
            "samples": tuple(Sample(**sample) for sample in parts["samples"]),
        }
    )
