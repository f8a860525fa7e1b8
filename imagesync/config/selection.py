"""Which images: rules that choose, and entries that recall."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from typing import Self

from pydantic import Field, model_validator

from imagesync.config.values import Globs, Section, Text

SELECTORS = ("title", "identifier", "version", "arch", "os", "osversion", "mpuri", "sha512")
"""What images are selected by; ``imagesync.lists.select`` knows the same names."""

Rules = tuple[tuple[tuple[str, str], ...], ...]
"""Rules of which any may match; a rule is (field, glob) pairs that must all match."""


class Rule(Section):
    """Patterns that must all match an image. Each is a glob or a list of globs of which one must match."""

    title: Globs | None = Field(default=None, description="Title of the image.")
    identifier: Globs | None = Field(default=None, description="Identifier of the image within its list.")
    version: Globs | None = Field(default=None, description="Version of the image.")
    arch: Globs | None = Field(default=None, description="Architecture, as the list spells it.")
    os: Globs | None = Field(default=None, description="Name of the operating system.")
    osversion: Globs | None = Field(default=None, description="Version of the operating system.")
    mpuri: Globs | None = Field(default=None, description="Marketplace URI (``ad:mpuri``).")
    sha512: Globs | None = Field(default=None, description="SHA-512 of the file as published.")

    @model_validator(mode="after")
    def _match_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError(f"is empty and would match every image: name one of {', '.join(SELECTORS)}")
        return self

    def matchers(self) -> Rules:
        """Return the rule as rules with one glob per field."""
        given = [(name, globs) for name in SELECTORS if (globs := getattr(self, name)) is not None]
        return tuple(product(*(tuple((name, glob) for glob in globs) for name, globs in given)))


class Select(Rule):
    """Which images: those that any rule of ``include`` matches (all without one), but none that ``exclude`` matches.

    The fields of a rule may stand here directly; they are then the only rule of ``include``.
    """

    include: tuple[Rule, ...] = Field(default=(), description="Rules; an image that no rule matches is left out.")
    exclude: tuple[Rule, ...] = Field(default=(), description="Rules; an image that a rule matches is left out.")

    @model_validator(mode="after")
    def _match_something(self) -> Self:
        if self.include and self._short:
            raise ValueError("has fields beside include: write them as a rule inside include")
        return self

    @property
    def _short(self) -> bool:
        return any(getattr(self, name) is not None for name in SELECTORS)

    def include_rules(self) -> Rules:
        """Return the rules of which one must match, none of them if every image may pass."""
        if self._short:
            return self.matchers()
        return tuple(matchers for rule in self.include for matchers in rule.matchers())

    def exclude_rules(self) -> Rules:
        """Return the rules of which none may match."""
        return tuple(matchers for rule in self.exclude for matchers in rule.matchers())


DENY_FIELDS = ("identifier", "list", "list_version", "mpuri", "sha512", "signer")
"""What is recalled by; ``imagesync.run.denial`` knows the same names."""


class DenyEntry(Section):
    """What is recalled, whatever a list says. The patterns are globs that must all match, whatever their case."""

    identifier: Text | None = Field(default=None, description="Identifier of the image within its list.")
    list: Text | None = Field(default=None, description="Identifier of the list.")
    list_version: Text | None = Field(default=None, description="Version of the list.")
    mpuri: Text | None = Field(default=None, description="Marketplace URI (``ad:mpuri``).")
    sha512: Text | None = Field(default=None, description="SHA-512 of the file as published.")
    signer: Text | None = Field(default=None, description="Distinguished name of who signed the list, in slash form.")
    reason: str = Field(default="", description="Why; shown wherever the image is.")
    at: Text | None = Field(default=None, description="When it was recalled, for people; ``imagesync revoke`` says it.")
    by: Text | None = Field(default=None, description="Who recalled it, for people; ``imagesync revoke`` says it.")

    @model_validator(mode="after")
    def _match_some_not_all(self) -> Self:
        if not any(re.sub(r"[*?]", "", pattern) for pattern in self.patterns().values()):
            raise ValueError("would recall every image: name identifier, list, list_version, mpuri, sha512 or signer")
        return self

    def patterns(self) -> Mapping[str, str]:
        """Return the globs by field."""
        return {name: value for name in DENY_FIELDS if (value := getattr(self, name)) is not None}
