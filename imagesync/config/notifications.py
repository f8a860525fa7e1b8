"""Who is told what."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from imagesync.config.secrets import SecretRef
from imagesync.config.values import Duration, Flag, Name, Section, Text
from imagesync.errors import ConfigError

Kind = Literal["failure", "refused", "held", "attention", "recovery", "published", "withdrawn"]
KINDS: tuple[Kind, ...] = ("failure", "refused", "held", "attention", "recovery", "published", "withdrawn")


class Webhook(Section):
    """An HTTP server that takes JSON by POST."""

    url: Annotated[str, Field(strict=True)] | None = Field(
        default=None, description="Where to: https or http, without user and password."
    )
    url_from: SecretRef | None = Field(
        default=None, description="Where the URL is, in place of ``url``: that of many chat services is a secret."
    )
    secret: SecretRef | None = Field(
        default=None, description="Signs each message: HMAC-SHA256 in the header ``X-Imagesync-Signature``."
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is not None and not _can_be_posted_to(value):
            raise ValueError(f"{_NO_URL}: {_URL_HINT}")
        return value

    @model_validator(mode="after")
    def _be_somewhere(self) -> Self:
        if (self.url is None) == (self.url_from is None):
            raise ValueError("needs exactly one of url, url_from")
        return self

    def address(self) -> str:
        """Return the URL as it is now.

        Raises:
            ConfigError: what ``url_from`` refers to cannot be read, or is no URL.
        """
        if self.url_from is None:
            return self.url or ""
        if not _can_be_posted_to(url := self.url_from.value()):
            raise ConfigError(str(self.url_from), _NO_URL, _URL_HINT)
        return url


_NO_URL, _URL_HINT = "is no URL to post to", "write https://HOST/PATH, without user and password"


def _can_be_posted_to(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"https", "http"} and bool(parts.hostname) and "@" not in parts.netloc


class Email(Section):
    """A mail server, and who gets mail."""

    to: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(description="The addresses of those who get it.")
    sender: Text = Field(description="The address that it comes from.")
    host: Text = Field(default="localhost", description="The mail server.")
    port: Annotated[int, Field(strict=True, ge=1, le=65_535)] = Field(default=25, description="Its port.")
    starttls: Flag = Field(default=False, description="Whether the connection is encrypted, and the server checked.")
    user: Text | None = Field(default=None, description="The user name at the mail server.")
    password: SecretRef | None = Field(default=None, description="The password at the mail server.")

    @field_validator("to", "sender")
    @classmethod
    def _check_addresses(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for address in (value,) if isinstance(value, str) else value:
            if not re.fullmatch(r"[^@\s,;<>]+@[^@\s,;<>]+", address):
                raise ValueError(f"{address} is no address: write USER@HOST alone")
        return value

    @model_validator(mode="after")
    def _encrypt_passwords(self) -> Self:
        if self.password and not self.starttls and self.host not in {"localhost", "127.0.0.1", "::1"}:
            raise ValueError("has a password and no starttls: set starttls: true")
        return self


Command = Annotated[tuple[Text, ...], Field(min_length=1)]


class Receiver(Section):
    """Somebody who is told: exactly one of webhook, email, command, vmcatcher."""

    name: Name = Field(description="What the receiver is called in logs.")
    events: Annotated[tuple[Kind, ...], Field(min_length=1)] = Field(
        default=KINDS, description=f"What is told: {', '.join(KINDS)}."
    )
    webhook: Webhook | None = Field(default=None, description="Tell an HTTP server.")
    email: Email | None = Field(default=None, description="Tell people.")
    command: Command | None = Field(
        default=None, description="Run a program, as a list of words, with the message as JSON on standard input."
    )
    vmcatcher: Command | None = Field(
        default=None,
        description="Run a handler that was written for vmcatcher, with ``VMCATCHER_EVENT_*`` in its environment.",
    )
    timeout: Duration = Field(default=timedelta(seconds=30), description="How long one delivery may take.")

    @model_validator(mode="after")
    def _be_one(self) -> Self:
        given = [name for name in ("webhook", "email", "command", "vmcatcher") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("needs exactly one of webhook, email, command, vmcatcher")
        return self

    @property
    def seconds(self) -> float:
        """Return how long one delivery may take."""
        return self.timeout.total_seconds()
