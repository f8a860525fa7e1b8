"""What is kept in mind of a run of which only a summary is shown. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from imagesync import errors
from imagesync.plan.render import short
from imagesync.plan.spec import moment
from imagesync.run.notice import End, Matter
from imagesync.state import RunRecord

REASONS = frozenset(
    cls.__new__(cls).reason
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, errors.ImagesyncError)
)
"""Every name that the runbook has; what is counted by reason has no other, so that nobody outside adds to them."""

OTHER = "other"

LOCKED = "locked"
"""Somebody else was at work on a target: nothing is wrong with it."""


@dataclass(frozen=True, slots=True)
class ListWord:
    """What a run said of a list. ``ends`` are by the certificates and revocation lists that it had."""

    name: str
    verdict: str
    reason: str = ""
    hint: str = ""
    version: str = ""
    warnings: tuple[str, ...] = ()
    ends: tuple[End, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetWord:
    """What a run said of a target."""

    name: str
    error: str = ""
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunDigest:
    """A run and what it came to. Sizes are in bytes.

    ``failures`` counts what failed, by what it was (``image``, ``list``, ``target``) and the reason. ``number`` grows
    from run to run.
    """

    id: str
    kind: str
    started: datetime
    finished: datetime | None
    exit: int | None
    clock: str = ""
    lists: tuple[ListWord, ...] = ()
    targets: tuple[TargetWord, ...] = ()
    done: int = 0
    held: int = 0
    failures: Mapping[tuple[str, str], int] = field(default_factory=dict)
    downloaded: int = 0
    uploaded: int = 0
    number: int = 0

    @property
    def seconds(self) -> float | None:
        """Return how long it took, ``None`` if it did not end."""
        return (self.finished - self.started).total_seconds() if self.finished else None

    @property
    def failed(self) -> int:
        """Return how many images failed."""
        return sum(count for (what, _), count in self.failures.items() if what == "image")


def digest(head: RunRecord, report: Mapping[str, Any] | None) -> RunDigest:
    """Return the summary of a run from its head and its report."""
    report = report or {}
    actions = [action for target in report.get("targets", ()) for action in target.get("actions", ())]
    outcomes = Counter(action.get("outcome") for action in actions if action.get("kind") != "keep")
    return RunDigest(
        id=head.id,
        kind=head.kind,
        started=head.started,
        finished=head.finished,
        exit=head.exit,
        number=head.number,
        clock=str(report.get("clock") or ""),
        lists=tuple(_list(item) for item in report.get("lists", ()) if is_followed(item)),
        targets=tuple(_target(item) for item in report.get("targets", ())),
        done=outcomes["done"],
        held=outcomes["held"],
        failures=Counter(_failures(report, actions)),
        downloaded=sum(action.get("bytes_downloaded") or 0 for action in actions),
        uploaded=sum(action.get("bytes_uploaded") or 0 for action in actions),
    )


def known_reason(text: object) -> str:
    """Return ``text`` if it is the name of a kind of error, ``other`` if not."""
    return text if isinstance(text, str) and text in REASONS else OTHER


def _failures(report: Mapping[str, Any], actions: list[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for action in actions:
        if action.get("outcome") == "failed":
            yield "image", known_reason(action.get("error_reason"))
    for target in report.get("targets", ()):
        if target.get("error") and target.get("error_reason") != LOCKED:
            yield "target", known_reason(target.get("error_reason"))
    for item in report.get("lists", ()):
        if item.get("verdict") != "trusted" and is_followed(item):
            yield "list", known_reason(str(item.get("reason")).partition(":")[0])


def is_followed(item: Mapping[str, Any]) -> bool:
    """Return whether a pass looked at a list: one that is paused or switched off has no verdict."""
    return bool(item.get("followed", True))


def _list(item: Mapping[str, Any]) -> ListWord:
    texts = {key: short(str(item.get(key) or "")) for key in ("verdict", "reason", "hint", "version")}
    warnings = tuple(short(str(text)) for text in item.get("warnings") or ())
    ends = tuple(filter(None, (_end(one) for one in item.get("ends") or ())))
    return ListWord(name=str(item.get("name")), warnings=warnings, ends=ends, **texts)


def _end(item: Mapping[str, str]) -> End | None:
    at = moment(item["at"])
    return End(Matter(item["matter"]), short(item["subject"]), at) if at else None


def _target(item: Mapping[str, Any]) -> TargetWord:
    notes = tuple(short(str(text)) for text in item.get("notices") or ())
    error = "" if item.get("error_reason") == LOCKED else str(item.get("error") or "")
    return TargetWord(str(item.get("name")), short(error, 1000), notes)
