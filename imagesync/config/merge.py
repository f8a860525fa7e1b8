"""One mapping out of several files, and the way back: which file says what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Location = tuple[str | int, ...]
"""Keys and indices that lead to a value."""

CONCATENATED = frozenset({"subscriptions", "targets", "deny"})
"""Lists that continue from file to file. Everything else may be given once."""


@dataclass(frozen=True, slots=True)
class Place:
    """A value's file and its location there."""

    file: Path
    location: Location

    def __str__(self) -> str:
        """Return ``file: subscriptions[0].url``."""
        return f"{self.file}: {dotted(self.location)}" if self.location else str(self.file)


@dataclass(frozen=True, slots=True)
class Merged:
    """The merged mapping, where its parts come from, and what could not be merged."""

    main: Path
    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[Location, Place] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def place(self, location: Location) -> Place:
        """Return where the value at ``location`` of the merged mapping is written, or would belong."""
        for length in range(len(location), 0, -1):
            origin = self.origins.get(location[:length])
            if origin is not None:
                return Place(origin.file, origin.location + location[length:])
        return Place(self.main, location)


def merge(files: Iterable[tuple[Path, Mapping[str, Any]]], main: Path) -> Merged:
    """Return ``files`` as one: mappings by key, some lists one after the other, and nothing said twice."""
    merged = Merged(main)
    for file, content in files:
        _merge_mapping(merged, merged.data, content, Place(file, ()))
    return merged


def _merge_mapping(merged: Merged, into: dict[str, Any], content: Mapping[str, Any], place: Place) -> None:
    for key, value in content.items():
        here = Place(place.file, (*place.location, key))
        old = into.get(key)
        if value is None:
            continue  # a heading whose lines are all comments
        if len(here.location) == 1 and key in CONCATENATED and isinstance(value, list):
            _append(merged, into.setdefault(key, []), value, here)
        elif isinstance(value, Mapping) and isinstance(old, dict):
            _merge_mapping(merged, old, value, here)
        elif key in into:
            first = merged.origins.get(here.location, here).file
            merged.problems.append(f"{here}: is given in {first} too: keep one")
        else:
            _set(merged, into, value, here)


def _set(merged: Merged, into: dict[str, Any], value: object, here: Place) -> None:
    merged.origins[here.location] = here
    if isinstance(value, Mapping):
        into[str(here.location[-1])] = fresh = dict[str, Any]()
        _merge_mapping(merged, fresh, value, here)
    else:
        into[str(here.location[-1])] = value


def _append(merged: Merged, into: object, value: list[Any], here: Place) -> None:
    if not isinstance(into, list):
        return  # the other file's value is no list, and is reported as that
    for index, item in enumerate(value):
        merged.origins[*here.location, len(into)] = Place(here.file, (*here.location, index))
        into.append(item)


def dotted(location: Location) -> str:
    """Return ``subscriptions[0].endorsers[1].dn``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")
