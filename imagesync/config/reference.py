"""What can be configured, for people (RST), for editors (JSON Schema), and to begin with (YAML)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from imagesync.config.schema import Config
from imagesync.config.values import format_duration, format_size

INITIAL = """\
# imagesync: keeps image catalogues equal to what signed image lists say.
# Every option: imagesync config schema, or the documentation. conf.d/*.yaml beside this file is read too.

# Where CA certificates and revocation lists are (Debian: igtf-policy-classic and fetch-crl).
trust:
  anchors: /etc/grid-security/certificates
  crl: require                      # require | if-present | "off"

# The lists to follow. "imagesync list verify URL --anchors DIR" shows who signed a list.
subscriptions:
  - name: example
    vo: vo.example.org
    url: https://lists.example.org/vo.example.org/image.list
    # token: {file: /etc/imagesync/example.token}
    endorsers:                      # who may sign it; DN and CA, both as "list verify" shows them
      - dn: "/DC=org/DC=example/CN=Jane Doe"
        ca: "/DC=org/DC=example/CN=Example CA"
    # select: {exclude: [{title: "*test*"}]}
    # every: 6h

# The catalogues to keep.
targets:
  - name: local
    backend: directory
    path: /var/lib/imagesync/images
    formats: [qcow2, raw]           # an image in one of these is passed on, others become the first

# state: sqlite:////var/lib/imagesync/state.db
# cache: /var/cache/imagesync
# guard: {share: 0.5, min_images: 4}
"""
"""A configuration to begin with. It is valid as it stands; names and addresses are examples."""


def json_schema() -> dict[str, Any]:
    """Return the configuration's JSON Schema (draft 2020-12)."""
    schema = Config.model_json_schema(schema_generator=_Generator)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "imagesync configuration"
    # What may be left out because it has a default that depends on the machine, and what may be a single word.
    schema.pop("required", None)
    options = schema["properties"]
    options["state"] = _or_word(options["state"])
    options["proxies"]["additionalProperties"] = _or_word(options["proxies"]["additionalProperties"])
    return schema


class _Generator(GenerateJsonSchema):
    """Writes defaults as a configuration would, and says in each place what a section is for."""

    def encode_default(self, dft: Any) -> Any:  # noqa: ANN401 - as in pydantic
        """Return a default as JSON; durations in our own form, not ISO 8601."""
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def _or_word(option: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in option.items() if key != "$ref"}
    return {"anyOf": [{"$ref": option["$ref"]}, {"type": "string"}], **rest}


# --- the reference ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Option:
    """One key, in words: what it may be, what it is when left out (``required`` if it may not be), what it means."""

    key: str
    value: str
    default: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Part:
    """The keys of one section, and the places where it may stand; none for the whole configuration."""

    places: tuple[str, ...]
    about: str
    options: tuple[Option, ...]


def parts(schema: Mapping[str, Any]) -> Iterator[Part]:
    """Yield the sections of a JSON schema in the order in which one meets them, the whole first."""
    yield _part((), schema, schema)
    for name, places in _places(schema).items():
        yield _part(tuple(places), schema["$defs"][name], schema)


def option_tables() -> str:
    """Return the reference of all options as reStructuredText: one table per section."""
    return tables(json_schema(), "Top level")


def tables(schema: Mapping[str, Any], title: str) -> str:
    """Return the reference of the options in a JSON schema, one table per section; the first has ``title``."""
    return "\n".join(_table(part, title) for part in parts(schema))


def _places(schema: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return where each section may stand, sections in the order in which they are met."""
    found: dict[str, list[str]] = {}
    waiting = [("", schema)]
    while waiting:
        prefix, section = waiting.pop(0)
        for key, option in section["properties"].items():
            for name, suffix in _references(option):
                place = f"{prefix}{key}{suffix}"
                if name not in found:
                    waiting.append((f"{place}.", schema["$defs"][name]))
                found.setdefault(name, []).append(place)
    return found


def _references(option: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "$ref" in option:
        yield option["$ref"].rpartition("/")[2], ""
    for choice in option.get("anyOf", ()):
        yield from _references(choice)
    for key, suffix in (("items", "[]"), ("additionalProperties", ".NAME")):
        if isinstance(option.get(key), dict):
            yield from ((name, f"{suffix}{rest}") for name, rest in _references(option[key]))


def _part(places: tuple[str, ...], section: Mapping[str, Any], schema: Mapping[str, Any]) -> Part:
    required = section.get("required", ())
    options = []
    for key, option in section["properties"].items():
        default = "required" if key in required else _default(option)
        # Pydantic leaves out a description that equals the section's own.
        meaning = option.get("description") or next(
            schema["$defs"][name]["description"] for name, _ in _references(option)
        )
        options.append(Option(key, _kind(option), default, str(meaning).partition("\n")[0]))
    return Part(places, section.get("description", ""), tuple(options))


def _table(part: Part, whole: str) -> str:
    title = ", ".join(f"``{place}``" for place in part.places) or whole
    lines = [title, "-" * len(title), "", *part.about.splitlines(), "", ".. list-table::", "   :header-rows: 1"]
    lines += ["   :widths: 20 20 20 40", "", *_row("Option", "Value", "Default", "Meaning")]
    for option in part.options:
        lines += _row(f"``{option.key}``", option.value, option.default, option.meaning)
    return "\n".join([*lines, ""])


def _row(*cells: str) -> list[str]:
    return [f"   {'*' if number == 0 else ' '} - {cell}" for number, cell in enumerate(cells)]


def _default(option: Mapping[str, Any]) -> str:
    if "default_text" in option:
        return str(option["default_text"])
    if "$ref" in option:
        return "see there"
    default = option.get("default")
    if default in (None, [], {}, ""):
        return "none"
    return f"``{_written(default, option)}``"


def _written(value: object, option: Mapping[str, Any]) -> str:
    match value:
        case int() if option.get("x-kind") == "size":
            return format_size(value)
        case list():
            return f"[{', '.join(map(str, value))}]"
        case str():
            return value
        case _:
            return json.dumps(value)


_KINDS = {
    "object": "named sections",
    "boolean": "``true`` or ``false``",
    "integer": "whole number",
    "number": "number",
}


def _kind(option: Mapping[str, Any]) -> str:
    """Return in words what an option may be."""
    match option:
        case {"x-kind": kind}:
            text = str(kind)
        case {"enum": words}:
            text = ", ".join(f"``{word}``" for word in words)
        case {"anyOf": choices}:
            text = " or ".join(dict.fromkeys(_kind(choice) for choice in choices if choice.get("type") != "null"))
        case {"$ref": name}:
            text = "secret reference" if name.endswith("/SecretRef") else "section"
        case {"type": "array", "items": item}:
            text = f"list of {_kind(item)}".replace("list of section", "list of sections")
        case {"type": "string"}:
            text = "name" if "pattern" in option else "text"
        case _:
            text = _KINDS[option["type"]]
    return text
