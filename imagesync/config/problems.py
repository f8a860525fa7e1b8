"""From what pydantic finds to what a person should do."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from imagesync.config.merge import Location, Merged
from imagesync.config.schema import Config

_TEXTS = {
    "missing": "is missing: add it",
    "model_type": "must have options of its own: write KEY: VALUE lines below it",
    "mapping_type": "must have options of its own: write KEY: VALUE lines below it",
    "dict_type": "must have options of its own: write KEY: VALUE lines below it",
    "tuple_type": "must be a list: write [ONE, TWO], or lines that begin with -",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_pattern_mismatch": "is no name: write letters, digits and . _ - in between, at most 64",
    "too_short": "is empty: write at least one",
    "string_too_short": "is empty: write something",
    "greater_than_equal": "is too small: write at least {ge}",
    "less_than_equal": "is too large: write at most {le}",
}


def describe(error: ValidationError, merged: Merged) -> Iterator[str]:
    """Yield one line per finding: ``file: path.to[0].key: what is wrong, what to do``."""
    findings = error.errors(include_url=False)
    places = [finding["loc"] for finding in findings]
    for finding in findings:
        location = finding["loc"]
        if finding["type"] == "too_short" and any(place[:-1][: len(location)] == location for place in places):
            continue  # the items that are wrong do not count for pydantic; they are reported already
        yield f"{merged.place(location)}: {_text(finding, location)}"


def _text(finding: ErrorDetails, location: Location) -> str:
    kind, context = finding["type"], finding.get("ctx", {})
    match kind:
        case "extra_forbidden":
            text = unknown_key(str(location[-1]), known_keys(location[:-1]))
        case "value_error":
            text = str(context["error"])
        case "string_type":
            text = _not_text(finding["input"])
        case "literal_error":
            text = _not_a_word(finding["input"], str(context["expected"]).replace("'", ""))
        case _:
            text = _TEXTS.get(kind, finding["msg"]).format_map(context)
    return text


def _not_text(value: object) -> str:
    if isinstance(value, bool):
        return f"is read by YAML as {str(value).lower()}: put the word in quotes"
    return "is read as a number: put it in quotes" if isinstance(value, int | float) else "must be text"


def _not_a_word(value: object, expected: str) -> str:
    if isinstance(value, bool):
        return f"{_not_text(value)}; it must be {expected}"
    return f"{value!s:.60} is not known: write {expected}"


def unknown_key(key: str, known: tuple[str, ...]) -> str:
    """Return what to say of ``key``, which is none of ``known``."""
    # One wrong letter of two leaves a likeness of one half.
    near = get_close_matches(key, known, n=1, cutoff=0.5 if len(key) <= 3 else 0.6)
    if near:
        return f"is no option: did you mean {near[0]}?"
    return f"is no option: known here are {', '.join(known)}" if known else "is no option: remove it"


def known_keys(location: Location) -> tuple[str, ...]:
    """Return the options that may stand in the section at ``location``."""
    kind: object = Config
    for part in location:
        kind = _inside(kind, part)
    model = _model(kind)
    return tuple(sorted(model.model_fields)) if model else ()


def _inside(kind: object, part: str | int) -> object:
    model = _model(kind)
    if model is not None:
        field = model.model_fields.get(str(part))
        return field.annotation if field else None
    bare = _bare(kind)
    arguments = get_args(bare)
    if isinstance(part, int) and arguments:
        return arguments[0]
    return arguments[1] if get_origin(bare) is not None and len(arguments) > 1 else None


def _model(kind: object) -> type[BaseModel] | None:
    bare = _bare(kind)
    return bare if isinstance(bare, type) and issubclass(bare, BaseModel) else None


def _bare(kind: object) -> object:
    """Return ``kind`` without ``Annotated`` and ``None``."""
    while get_origin(kind) is Annotated or get_origin(kind) in {Union, types.UnionType}:
        kind = next(part for part in get_args(kind) if part is not type(None))
    return kind


def consistency(data: Mapping[str, Any], merged: Merged) -> Iterator[str]:
    """Yield what is wrong between parts of the configuration: names and identifiers twice, names of nothing."""
    yield from _twice(data, merged, ("subscriptions", "name"), "use another name")
    yield from _twice(data, merged, ("subscriptions", "identifier"), "a list can be followed once")
    yield from _twice(data, merged, ("targets", "name"), "use another name")
    yield from _shared_directories(data, merged)
    names = [str(item.get("name")) for _, item in _items(data, "subscriptions")]
    for index, target in _items(data, "targets"):
        wanted = target.get("subscriptions")
        for position, name in enumerate(wanted if isinstance(wanted, list) else ()):
            if name not in names:
                place = merged.place(("targets", index, "subscriptions", position))
                near = get_close_matches(str(name), names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names) or 'none'}"
                yield f"{place}: there is no subscription {name}: {hint}"


def _twice(data: Mapping[str, Any], merged: Merged, what: tuple[str, str], hint: str) -> Iterator[str]:
    section, key = what
    first: dict[str, int] = {}
    for index, item in _items(data, section):
        value = item.get(key)
        if isinstance(value, str) and value in first:
            other = merged.place((section, first[value], key))
            yield f"{merged.place((section, index, key))}: {value} is given in {other} too: {hint}"
        elif isinstance(value, str):
            first[value] = index


def _shared_directories(data: Mapping[str, Any], merged: Merged) -> Iterator[str]:
    """Two targets on one directory have one ownership mark and undo each other's work on every pass."""
    first: dict[tuple[str, Path], int] = {}
    for index, item in _items(data, "targets"):
        backend, path = item.get("backend"), item.get("path")
        if not isinstance(backend, str) or not isinstance(path, str) or "\0" in path:
            continue  # reported as what it is
        directory = (merged.main.parent / path).resolve()
        other = first.setdefault((backend, directory), index)
        if other != index:
            names = f"targets {_name(data, other)} and {_name(data, index)}"
            places = merged.place(("targets", index, "path")), merged.place(("targets", other, "path"))
            yield f"{places[0]}: {names} share the directory {directory}, see {places[1]}: give each its own"


def _name(data: Mapping[str, Any], index: int) -> str:
    return str(data["targets"][index].get("name", f"number {index + 1}"))


def _items(data: Mapping[str, Any], section: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    value = data.get(section)
    for index, item in enumerate(value if isinstance(value, list) else ()):
        if isinstance(item, Mapping):
            yield index, item
