"""Files as ``oslo.config`` reads them."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path
from string import Template

from imagesync.config.reading import UnreadableError, text_of
from imagesync.errors import ConfigError

Sections = Mapping[str, Mapping[str, str]]
"""Values by section and option; dashes in names of options are underscores."""


class _Parser(configparser.RawConfigParser):
    def optionxform(self, optionstr: str) -> str:
        return optionstr.lower().replace("-", "_")


def read_sections(path: Path) -> Sections:
    """Return what ``path`` says, with ``$NAME`` replaced where an option of that name is in the file.

    Raises:
        ConfigError: it cannot be read, or is no such file.
    """
    parser = _Parser(strict=False, default_section="", delimiters=("=", ":"))
    try:
        parser.read_string(text_of(path).decode("utf-8"), str(path))
    except (configparser.Error, UnreadableError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), " ".join(str(error).split()), "it should be as oslo.config reads it") from error
    raw = {name: {key: _unquoted(value) for key, value in parser.items(name)} for name in parser.sections()}
    common = raw.get("DEFAULT", {})
    return {name: {key: _filled(text, common | own) for key, text in own.items()} for name, own in raw.items()}


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _filled(text: str, values: Mapping[str, str]) -> str:
    return Template(text).safe_substitute(values) if "$" in text else text


def is_true(value: object) -> bool:
    """Return whether a value is one of the words that ``oslo.config`` takes for true."""
    return str(value).lower() in {"true", "1", "yes", "on"}
