"""How images look on a target: their names, and properties beyond those that every target gets."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from imagesync.backend import RESERVED_PROPERTIES
from imagesync.config.selection import Rule
from imagesync.config.values import Section
from imagesync.plan import nova
from imagesync.plan.spec import NAME_FIELDS

_OWN = ("imagesync_", "APPLIANCE_", "vmcatcher_event_")
_RESERVED = ("os_glance_", "owner_specified.")
_SNAPSHOT = frozenset(("base_image_ref", "image_type", "instance_uuid"))
"""What tells a snapshot: with these, an image would not be taken for ours."""


def check_template(value: object) -> object:
    """Return a template of names.

    Raises:
        ValueError: not text, or with a field that images do not have.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError("is no template of names: write text with fields in braces, like {title}")
    try:
        parts = list(Formatter().parse(value))
    except ValueError as error:
        raise ValueError(f"is no template of names: {error}") from error
    for _, name, form, conversion in parts:
        if name is not None and (name not in NAME_FIELDS or form or conversion):
            raise ValueError(f"has a field {{{name}}}: write one of {', '.join(f'{{{one}}}' for one in NAME_FIELDS)}")
    return value


def _as_text(value: object) -> object:
    """Return numbers as text. Booleans are not guessed: YAML reads yes, no, on and off as those."""
    if isinstance(value, bool):
        raise ValueError("is read by YAML as a boolean: quote the word that is meant")  # noqa: TRY004
    return str(value) if isinstance(value, int | float) else value


def check_properties(value: Mapping[str, str]) -> Mapping[str, str]:
    """Return properties that may be added.

    Raises:
        ValueError: a name that is not free, or a value with which Nova would not boot the image.
    """
    problems = [f"{name}: {why}" for name, text in value.items() if (why := _objection(name, text))]
    if problems:
        raise ValueError("; ".join(problems))
    return value


def _objection(name: str, value: str) -> str:
    if name in RESERVED_PROPERTIES or name.startswith(_RESERVED):
        return "is an attribute of images or reserved by Glance, not a property"
    if name in _SNAPSHOT:
        return "marks snapshots of servers: the image would not be taken for ours"
    if name.startswith(_OWN):
        return "is written by imagesync itself"
    return nova.objection(name, value)


PropertyText = Annotated[str, BeforeValidator(_as_text), Field(strict=True)]
NameTemplate = Annotated[str, BeforeValidator(check_template), WithJsonSchema({"type": "string"})]
Properties = Annotated[Mapping[str, PropertyText], Field(min_length=1), AfterValidator(check_properties)]


class PropertyRule(Section):
    """Properties for the images that ``match`` fits."""

    match: Rule | None = Field(
        default=None, description="Which images.", json_schema_extra={"default_text": "all images"}
    )
    set: Properties = Field(
        description="Names and values. Taking a property out of here takes it off the images again."
    )
