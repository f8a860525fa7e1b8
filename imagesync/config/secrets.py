"""Secrets by reference. A configuration holds where a secret is, never the secret."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo, model_validator

from imagesync.config.values import AbsolutePath, Name
from imagesync.errors import ConfigError


class SecretRef(BaseModel):
    """Where a secret is: exactly one of a file, an environment variable, or a systemd credential."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    file: AbsolutePath | None = Field(
        default=None, description="A file that holds nothing else; others must not read it."
    )
    env: str | None = Field(default=None, description="The name of an environment variable.")
    credential: Name | None = Field(default=None, description="The name of a systemd credential (``LoadCredential=``).")

    _environment: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _refuse_plain_text(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError("holds the secret itself: write {file: PATH}, {env: NAME} or {credential: NAME}")  # noqa: TRY004
        return value

    @model_validator(mode="after")
    def _refer_once(self, info: ValidationInfo) -> Self:
        if len(self.model_fields_set) != 1 or None in (getattr(self, name) for name in self.model_fields_set):
            raise ValueError("needs exactly one of file, env, credential")
        self._environment = (info.context or {}).get("environment", {})
        return self

    def __str__(self) -> str:
        """Return the reference, not the secret."""
        return ", ".join(f"{name} {getattr(self, name)}" for name in sorted(self.model_fields_set))

    def value(self) -> str:
        """Return the secret as it is now, without the line end of its file.

        Raises:
            ConfigError: it is not there, is empty, or is a file that everybody may read.
        """
        if self.env is not None:
            text = self._environment.get(self.env)
            if text is None:
                raise ConfigError(f"environment variable {self.env}", "is not set", "it should hold a secret")
            return self._checked(text)
        return self._checked(self._read(self._path()))

    def _path(self) -> Path:
        if self.file is not None:
            return self.file
        directory = self._environment.get("CREDENTIALS_DIRECTORY")
        if not directory:
            hint = "start imagesync by a systemd unit with LoadCredential="
            raise ConfigError(f"credential {self.credential}", "there are no systemd credentials", hint)
        return Path(directory, str(self.credential))

    def _read(self, path: Path) -> str:
        try:
            if path.stat().st_mode & stat.S_IROTH:
                raise ConfigError(str(path), "holds a secret and everybody may read it", f"chmod o-r {path}")
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(str(path), f"cannot be read: {error.strerror}", "it should hold a secret") from error
        except UnicodeDecodeError as error:
            raise ConfigError(str(path), "is not UTF-8 text", "it should hold a secret") from error

    def _checked(self, text: str) -> str:
        secret = text.removesuffix("\n").removesuffix("\r")
        if not secret.strip():
            raise ConfigError(str(self), "is empty", "it should hold a secret")
        return secret


def read_references(value: object, context: Mapping[str, object] | None) -> object:
    """Return ``value`` with every mapping of the form of a reference, at any depth, as a ``SecretRef``.

    Raises:
        ValueError: such a reference is not well formed.
    """
    match value:
        case dict() if len(value) == 1 and value.keys() <= SecretRef.model_fields.keys():
            return SecretRef.model_validate(value, context=context)
        case dict():
            return {key: read_references(item, context) for key, item in value.items()}
        case list():
            return [read_references(item, context) for item in value]
        case _:
            return value
