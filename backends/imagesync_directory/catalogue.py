"""The catalogue as a value: its records, who may have which link, and its JSON form. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from imagesync.backend import ImageKey, Metadata, State
from imagesync_directory.entry import Entry, from_json, to_json
from imagesync_directory.names import link_names

FILE = "catalogue.json"
"""The catalogue's name in the directory."""

INTERNAL = ".imagesync"
"""The directory for locks and for what is being written. Its leading dot keeps it out of a libvirt pool."""

_LISTED = frozenset({State.PUBLISHED, State.RETIRED})


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All records of a directory, of every instance.

    ``removing`` maps names that have to go to the target of the link, or to an empty text for a file: written before
    the first of them is removed, so that whoever comes next can finish. ``extra`` are keys of somebody else.
    """

    entries: tuple[Entry, ...] = ()
    removing: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    by_ref: Mapping[str, Entry] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Make the index."""
        object.__setattr__(self, "by_ref", {entry.ref: entry for entry in self.entries})

    def find(self, instance: str, ref: str) -> Entry | None:
        """Return the record of ``instance`` with that reference."""
        entry = self.by_ref.get(ref)
        return entry if entry is not None and entry.instance == instance else None

    def put(self, entry: Entry) -> Catalogue:
        """Return the catalogue with ``entry`` in place of the record with its reference, or as a new one."""
        if entry.ref in self.by_ref:
            return replace(self, entries=tuple(entry if other.ref == entry.ref else other for other in self.entries))
        return replace(self, entries=(*self.entries, entry))

    def append(self, entry: Entry) -> Catalogue:
        """Return the catalogue with ``entry`` as its last record: of one image, the last published has the link."""
        return self.drop(entry.ref).put(entry)

    def drop(self, ref: str) -> Catalogue:
        """Return the catalogue without a record."""
        return replace(self, entries=tuple(entry for entry in self.entries if entry.ref != ref))

    def described(self, instance: str, metadata: Mapping[str, Metadata]) -> Catalogue:
        """Return the catalogue with other metadata, given by reference, on those records of ``instance`` that exist."""
        if not metadata:
            return self
        entries = (
            entry.described(metadata[entry.ref]) if entry.ref in metadata and entry.instance == instance else entry
            for entry in self.entries
        )
        return replace(self, entries=tuple(entries))

    def unchanged(self, since: Catalogue) -> frozenset[str]:
        """Return the references of the records that are as they were in ``since``."""
        return frozenset(ref for ref, entry in self.by_ref.items() if _same(since.by_ref.get(ref), entry))

    def files(self) -> frozenset[str]:
        """Return the names of all files that belong to a record."""
        return frozenset(entry.file for entry in self.entries)

    def names(self, but: frozenset[str] = frozenset()) -> dict[str, str]:
        """Return every name that the records account for; a link with its target, a file with an empty text.

        ``but`` are references of records that do not matter.
        """
        entries = [entry for entry in self.entries if entry.ref not in but]
        names = {partial_name(entry): "" for entry in entries if not entry.complete}
        names.update({entry.file: "" for entry in entries})
        names.update({entry.link: entry.file for entry in entries if entry.link})
        return names


def _same(one: Entry | None, other: Entry) -> bool:
    return one is other or one == other  # mostly it is the same object, and comparing all fields takes longer


def partial_name(entry: Entry) -> str:
    """Return where the bytes of a partial record are collected, relative to the directory."""
    return f"{INTERNAL}/partial/{entry.ref}"


# --- links ------------------------------------------------------------------------------------------------------------
def with_links(
    catalogue: Catalogue, is_free: Callable[[str], bool], settled: frozenset[str] = frozenset()
) -> Catalogue:
    """Return the catalogue with a link for each published image, and none for anything else.

    An image keeps its link over its versions as long as its title allows it. Of two images with one title, the one
    that came first has the plain name and the other one a name with a hash of its key. ``is_free`` says whether a
    name on the disk is absent or ours. ``settled`` are references of records that need no other link than they have.
    """
    holders = {(entry.instance, entry.key): entry for entry in catalogue.entries if entry.state is State.PUBLISHED}
    held = {(entry.instance, entry.key): entry.link for entry in catalogue.entries if entry.link}
    taken = set(catalogue.files())
    links: dict[str, str] = {}
    for entry in holders.values():
        if entry.link and entry.ref in settled and entry.link not in taken:
            links[entry.ref] = entry.link
            taken.add(entry.link)
    others = ((whose, entry) for whose, entry in holders.items() if entry.ref not in links)
    for whose, entry in sorted(others, key=lambda item: item[0] not in held):
        wanted = link_names(entry.metadata.name, entry.format, _mark(*whose))
        kept = held.get(whose, "")
        choices = [kept, *wanted] if kept in wanted else wanted
        links[entry.ref] = next((name for name in choices if name not in taken and is_free(name)), "")
        taken.add(links[entry.ref])
    return replace(catalogue, entries=tuple(_linked(entry, links.get(entry.ref, "")) for entry in catalogue.entries))


def _linked(entry: Entry, link: str) -> Entry:
    return entry if entry.link == link else replace(entry, link=link)


@lru_cache(maxsize=1 << 14)
def _mark(instance: str, key: ImageKey) -> str:
    return json.dumps([instance, key.owner, key.list, key.image])


# --- JSON -------------------------------------------------------------------------------------------------------------
class Encoder:
    """Makes the file's content, one record a line; remembers the lines of the records of the last time."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._known: dict[str, tuple[Entry, bytes]] = {}

    def encode(self, catalogue: Catalogue) -> bytes:
        """Return the file's content."""
        self._known = {entry.ref: (entry, self._line(entry)) for entry in catalogue.entries}
        listed = [line for entry, line in self._known.values() if entry.state in _LISTED]
        pending = [line for entry, line in self._known.values() if entry.state not in _LISTED]
        parts = [*_array_of("images", listed), *(_array_of("pending", pending) if pending else ())]
        rest = {"removing": dict(catalogue.removing)} if catalogue.removing else {}
        for name, value in {**rest, **catalogue.extra}.items():
            parts += [b",\n", _json(name), b": ", _json(value)]
        parts[0] = b"{"
        return b"".join([*parts, b"}\n"])

    def _line(self, entry: Entry) -> bytes:
        known = self._known.get(entry.ref)
        return known[1] if known is not None and known[0] is entry else _json(to_json(entry))


def _array_of(name: str, lines: list[bytes]) -> list[bytes]:
    """Return the parts of an array, and in front the comma that separates it."""
    parts = [part for line in lines for part in (line, b",\n")][:-1]
    return [b",\n", _json(name), b": ", *((b"[\n", *parts, b"\n]") if parts else (b"[]",))]


def _json(value: object) -> bytes:
    return json.dumps(value).encode("ascii")


def decode(content: bytes) -> Catalogue:
    """Return the catalogue that a file holds.

    Raises:
        ValueError: it is not a catalogue.
    """
    try:
        form = json.loads(content)
        entries = tuple(from_json(entry) for name in ("images", "pending") for entry in _array(form, name))
        removing = {str(name): str(target) for name, target in form.get("removing", {}).items()}
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    extra = {name: value for name, value in form.items() if name not in ("images", "pending", "removing")}
    catalogue = Catalogue(entries, removing, extra)
    if len(catalogue.by_ref) != len(entries):
        raise ValueError("two records for the same image and file")
    return catalogue


def _array(form: Mapping[str, Any], name: str) -> list[Any]:
    array = form["images"] if name == "images" else form.get(name, [])
    if not isinstance(array, list):
        raise TypeError(f"{name} is not an array")
    return array
