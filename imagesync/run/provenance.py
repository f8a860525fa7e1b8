"""Why an image is where it is: who endorsed it, by what that was verified, and what happened since."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from imagesync.boot.machine import settings
from imagesync.model import Digest, ImageId, ImageKey, ListId
from imagesync.run.denial import Denial, ListedEntry, denial_of, listed_entries
from imagesync.state import ActionRecord, BootRecord, ImageRecord, ListVersion
from imagesync.state.repository import Repository


@dataclass(frozen=True, slots=True)
class Endorsement:
    """A version of a list that has the image, and what it says of it."""

    version: ListVersion
    entry: ListedEntry


@dataclass(frozen=True, slots=True)
class Story:
    """All that is known of one image. ``endorsements`` and ``history`` have the newest first.

    ``standings`` are by target. ``denied`` is the reason of a local recall that names it, or empty;
    ``boots`` are the boot checks of what was made of it; ``asks`` is what it asks of its machine, by target and key.
    """

    list: ListId
    image: ImageId
    endorsements: tuple[Endorsement, ...]
    standings: tuple[tuple[str, ImageRecord], ...]
    history: tuple[ActionRecord, ...]
    denied: str = ""
    boots: tuple[BootRecord, ...] = ()
    asks: Mapping[tuple[str, ImageKey], str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Return the title as last known."""
        titles = [one.entry.title for one in self.endorsements] + [record.title for _, record in self.standings]
        return next((title for title in titles if title), "")


def stories(key: str, state: Repository, targets: Sequence[str], denials: Sequence[Denial]) -> tuple[Story, ...]:
    """Return what is known of every image that ``key`` names by identifier, ``list/image``, mpuri, title or SHA-512.

    ``key`` may be a glob, and case does not matter.

    Raises:
        StateError: the state cannot be read.
    """
    endorsed = _endorsements(state)
    by_name: defaultdict[tuple[ListId, ImageId], list[Endorsement]] = defaultdict(list)
    for one in endorsed:
        by_name[one.version.list, ImageId(one.entry.identifier)].append(one)
    records = [(target, record) for target in targets for record in state.images(target)]
    names = {name for name, found in by_name.items() if any(_is_named(key, one) for one in found)}
    names |= {(record.key.list, record.key.image) for _, record in records if _is_meant(key, record)}
    return tuple(_story(name, by_name[name], records, state, denials) for name in sorted(names))


def _endorsements(state: Repository) -> list[Endorsement]:
    found = ((version, state.message(version.message)) for version in state.versions())
    return [Endorsement(version, entry) for version, blob in found if blob for entry in listed_entries(blob)]


def _story(
    name: tuple[ListId, ImageId],
    endorsed: Sequence[Endorsement],
    records: Iterable[tuple[str, ImageRecord]],
    state: Repository,
    denials: Sequence[Denial],
) -> Story:
    here = tuple((target, record) for target, record in records if (record.key.list, record.key.image) == name)
    return Story(
        *name,
        endorsements=tuple(endorsed),
        standings=here,
        history=state.actions_about(f"{name[0]}/{name[1]}"),
        boots=state.boots.of({Digest(one.entry.sha512) for one in endorsed}),
        asks={(target, record.key): asks(state, target, record) for target, record in here},
        denied=next((reason for one in endorsed[:1] if (reason := denial_of(one.entry, one.version, denials))), ""),
    )


def asks(state: Repository, target: str, record: ImageRecord) -> str:
    """Return what an image on a target asks of its machine there, empty where that is not known.

    Raises:
        StateError: the state cannot be read.
    """
    said = state.metadata(target, record.key)
    return settings(said.properties, said.min_ram, record.format) if said else ""


def _is_named(key: str, one: Endorsement) -> bool:
    entry = one.entry
    return _fits(
        key, entry.identifier, f"{one.version.list}/{entry.identifier}", entry.mpuri, entry.title, entry.sha512
    )


def _is_meant(key: str, record: ImageRecord) -> bool:
    return _fits(key, record.key.image, str(record.key), f"{record.key.list}/{record.key.image}", record.title)


def _fits(key: str, *names: str) -> bool:
    wanted = key.casefold()
    return any(name and (name.casefold() == wanted or fnmatchcase(name.casefold(), wanted)) for name in names)
