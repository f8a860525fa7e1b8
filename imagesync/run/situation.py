"""How things stand, by what the state says: every list, every target, every image, and what is not as endorsed. Pure.

The daemon's page, its API and metrics, ``imagesync status --from-state`` and ``imagesync probe`` all show this.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from imagesync.model import Accepted, ImageKey, ListId, Unknown, Verdict
from imagesync.run.history import ListWord, RunDigest, TargetWord
from imagesync.run.notice import End, Notice, NoticeRules, notices
from imagesync.run.pausing import Pauses, in_force
from imagesync.state import ImageRecord, ListStandingRecord, PassRecord, PauseRecord


@dataclass(frozen=True, slots=True)
class Followed:
    """A subscription, as far as it is shown. ``url`` is redacted."""

    name: str
    vo: str
    url: str
    every: timedelta
    enabled: bool = True
    rules: NoticeRules = field(default_factory=NoticeRules)


@dataclass(frozen=True, slots=True)
class Kept:
    """A target, as far as it is shown."""

    name: str
    backend: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the state says. By subscription: what was accepted, the SHA-256 of that message, ends, and passes.

    ``ends`` stand in where no run that is looked back on tells of them. ``failing`` is since when a target fails, and
    ``standings`` where lists stand, both for longer than that; ``boots`` are verdicts of boot checks, by target and
    image.
    """

    accepted: Mapping[str, Accepted] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)
    ends: Mapping[str, tuple[End, ...]] = field(default_factory=dict)
    passes: Mapping[str, PassRecord] = field(default_factory=dict)
    images: Mapping[str, tuple[ImageRecord, ...]] = field(default_factory=dict)
    runs: tuple[RunDigest, ...] = ()
    pauses: tuple[PauseRecord, ...] = ()
    failing: Mapping[str, datetime] = field(default_factory=dict)
    standings: Mapping[str, ListStandingRecord] = field(default_factory=dict)
    boots: Mapping[str, Mapping[ImageKey, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What only the daemon knows: the next passes by name, and what is wrong with passes, configuration and state.

    ``crashed`` counts passes by name that ended without a report. ``since`` is when the troubles of passes began, by
    name; ``complaint_since`` and ``state_since`` are when those of configuration and state did.
    """

    next: Mapping[str, datetime] = field(default_factory=dict)
    troubles: Mapping[str, str] = field(default_factory=dict)
    complaint: str = ""
    state: str = ""
    crashed: Mapping[str, int] = field(default_factory=dict)
    since: Mapping[str, datetime] = field(default_factory=dict)
    complaint_since: datetime | None = None
    state_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class ListStanding:
    """Where a list stands. ``word`` is what the last pass said of it, ``since`` when its verdict began.

    ``good`` is when the last pass over it ended that did what it could.
    """

    followed: Followed
    accepted: Accepted | None
    message: str
    word: ListWord | None
    since: datetime | None
    good: datetime | None
    ends: tuple[End, ...]
    notices: tuple[Notice, ...]
    last: PassRecord | None
    next: datetime | None
    pause: PauseRecord | None = None

    @property
    def name(self) -> str:
        """Return what the list is called."""
        return self.followed.name

    @property
    def verdict(self) -> str:
        """Return the verdict of the last pass, or in one word why there is none."""
        if not self.followed.enabled:
            return "switched off"
        if self.pause is not None:
            return "paused"
        return self.word.verdict if self.word else "not looked at yet"


@dataclass(frozen=True, slots=True)
class ImageStanding:
    """Where an image stands on a target, and by whose word. ``subscription`` is empty where none follows its list.

    ``paused`` says that its list or the target is: then it is not late, nor held for another reason. ``boot`` is the
    verdict of the boot check of the file that is there, or empty.
    """

    target: str
    record: ImageRecord
    subscription: str
    vo: str
    signer: str
    paused: bool = False
    boot: str = ""

    @property
    def ref(self) -> str:
        """Return a short name that is safe in a path, whatever the identifiers are."""
        return hashlib.sha256(str(self.record.key).encode("utf-8", "replace")).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class TargetStanding:
    """Where a target stands. ``word`` is what the last pass said of it, ``since`` when its trouble began."""

    kept: Kept
    word: TargetWord | None
    since: datetime | None
    images: tuple[ImageStanding, ...]
    pause: PauseRecord | None = None

    @property
    def name(self) -> str:
        """Return what the target is called."""
        return self.kept.name

    @property
    def error(self) -> str:
        """Return what kept the last pass from working on it, or nothing; what is paused may be away."""
        return self.word.error if self.word and self.pause is None else ""

    @property
    def counts(self) -> Mapping[str, int]:
        """Return how many images are in each state; those that only a pause holds are apart."""
        return Counter(
            "paused" if image.paused and image.record.state == "held" else image.record.state for image in self.images
        )


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything at one time."""

    at: datetime
    lists: tuple[ListStanding, ...]
    targets: tuple[TargetStanding, ...]
    runs: tuple[RunDigest, ...]
    outlook: Outlook

    @property
    def pauses(self) -> tuple[PauseRecord, ...]:
        """Return what is paused, each once, in a stable order."""
        found = [one.pause for one in self.lists] + [one.pause for one in self.targets]
        return tuple(sorted({one for one in found if one is not None}, key=lambda one: (one.scope, one.name)))

    def list(self, name: str) -> ListStanding | None:
        """Return the list of that name."""
        return next((one for one in self.lists if one.name == name), None)

    def target(self, name: str) -> TargetStanding | None:
        """Return the target of that name."""
        return next((one for one in self.targets if one.name == name), None)


def situation(
    followed: Iterable[Followed], kept: Iterable[Kept], facts: Facts, outlook: Outlook, now: datetime
) -> Situation:
    """Return how things stand at ``now``."""
    pauses = in_force(facts.pauses, now)
    lists = tuple(replace(_list(one, facts, outlook, now), pause=pauses.of_list(one.name)) for one in followed)
    known = {one.accepted.list: one for one in lists if one.accepted}
    return Situation(now, lists, tuple(_target(one, facts, known, pauses) for one in kept), facts.runs, outlook)


def _list(one: Followed, facts: Facts, outlook: Outlook, now: datetime) -> ListStanding:
    accepted = facts.accepted.get(one.name)
    words = [(run, word) for run in facts.runs for word in run.lists if word.name == one.name]
    word = words[0][1] if words else None
    ends = next((said.ends for _, said in words if said.ends), facts.ends.get(one.name, ()))
    standing = facts.standings.get(one.name)
    unknown = Unknown(one.name, one.vo, None, Verdict.UNAVAILABLE, "")
    return ListStanding(
        followed=one,
        accepted=accepted,
        message=facts.messages.get(one.name, ""),
        word=word,
        since=_lasting(standing, words),
        good=standing.good if standing else None,
        ends=ends,
        notices=notices(unknown, accepted, _of_chain(ends), one.rules, now) if one.enabled else (),
        last=facts.passes.get(one.name),
        next=outlook.next.get(one.name),
    )


def _of_chain(ends: Sequence[End]) -> Sequence[End]:
    """Return the ends without the signer's own certificate, the first, of which what was accepted tells."""
    return ends[1:]


def _lasting(standing: ListStandingRecord | None, words: Sequence[tuple[RunDigest, ListWord]]) -> datetime | None:
    """Return since when a list has the verdict of the last pass: what is noted of it reaches further back than runs."""
    seen = _since([(run.started, said.verdict) for run, said in words])
    if seen is None or standing is None or standing.verdict != words[0][1].verdict:
        return seen
    return min(seen, standing.since)


def _since(told: Sequence[tuple[datetime, str | bool]]) -> datetime | None:
    """Return when the newest word began, as far back as runs are known."""
    began = None
    for at, word in told:
        if word != told[0][1]:
            break
        began = at
    return began


def _target(one: Kept, facts: Facts, known: Mapping[ListId, ListStanding], pauses: Pauses) -> TargetStanding:
    words = [(run, word) for run in facts.runs for word in run.targets if word.name == one.name]
    images = (_image(one.name, record, known.get(record.key.list)) for record in facts.images.get(one.name, ()))
    pause, boots = pauses.of_target(one.name), facts.boots.get(one.name, {})
    return TargetStanding(
        kept=one,
        word=words[0][1] if words else None,
        since=facts.failing.get(one.name) or _since([(run.started, bool(said.error)) for run, said in words]),
        images=tuple(
            replace(image, paused=image.paused or pause is not None, boot=boots.get(image.record.key, ""))
            for image in images
        ),
        pause=pause,
    )


def _image(target: str, record: ImageRecord, listed: ListStanding | None) -> ImageStanding:
    if listed is None or listed.accepted is None:
        return ImageStanding(target, record, "", "", "")
    signer = listed.accepted.signer.identity.dn
    return ImageStanding(target, record, listed.name, listed.followed.vo, signer, listed.pause is not None)
