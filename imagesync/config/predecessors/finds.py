"""What is found in another program's configuration: options of ours, secrets, and what could not be carried over."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

UNCONFIRMED = "/CN=to be confirmed"
"""Stands for an endorser whom nobody has pinned yet; no list can have it."""

USUAL_ANCHORS = "/etc/grid-security/certificates"

_VO_OF_APPDB = re.compile(r"/store/vo/([^/]+)/image\.list$")
_PROJECT_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that gets a file of its own. ``place`` is where it stood."""

    file: Path
    value: str = field(repr=False)
    place: str


@dataclass(frozen=True, slots=True)
class Found:
    """What another program's configuration says in our words."""

    program: str
    content: Mapping[str, Any]
    secrets: tuple[Secret, ...]
    remarks: tuple[str, ...]
    """One line each: where it stands there, what was not carried over, what to do."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is collected on the way, beside the options. Secrets go into files in ``directory``."""

    directory: Path
    secrets: list[Secret] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def remark(self, place: str, text: str) -> None:
        """Note that what stands at ``place`` was not carried over as it is."""
        self.remarks.append(f"{place}: {text}")

    def keep(self, name: str, value: str, place: str) -> dict[str, str]:
        """Keep a secret for a file of its own, and return the reference to it."""
        secret = Secret(self.directory / unique(name, {secret.file.name for secret in self.secrets}), value, place)
        self.secrets.append(secret)
        return {"file": str(secret.file)}

    def found(self, program: str, content: Mapping[str, Any]) -> Found:
        """Return everything that was collected; sections without anything in them are left out."""
        return Found(
            program,
            {key: value for key, value in content.items() if value},
            tuple(self.secrets),
            tuple(self.remarks),
        )


def unique(text: str, taken: Iterable[str]) -> str:
    """Return ``text`` as a name for a section or file, with a number where the name is taken."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("._-")[:60] or "unnamed"
    names = (name, *(f"{name}-{number}" for number in range(2, 1000)))
    return next(one for one in names if one not in set(taken))


def vo_of(url: str) -> str | None:
    """Return the VO that a URL of AppDB is about, if it is one."""
    found = _VO_OF_APPDB.search(urlsplit(url).path)
    return found[1] if found else None


def project(name: str, domain: str | None = None) -> str | dict[str, str]:
    """Return a project by id, or by name and domain."""
    if _PROJECT_ID.fullmatch(name):
        return name
    return {"name": name, "domain": domain or "Default"}


def without_token(url: str) -> tuple[str, str | None, str | None]:
    """Return a URL without user and password, the token that it held, and why what it held was none."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    token, _, password = user.partition(":")
    plain = urlunsplit(parts._replace(netloc=host))
    if not user:
        return plain, None, None
    if parts.scheme != "https":
        return plain, None, "its token is not carried over, because tokens are sent over https only: write https"
    if unquote(password) not in {"", "x-oauth-basic"}:
        return plain, None, "its user and password are not carried over: only a token can be given"
    return plain, unquote(token), None


def anchors(directory: str) -> dict[str, Any]:
    """Return the section ``trust`` for trust anchors that are not in the usual place."""
    return {} if Path(directory) == Path(USUAL_ANCHORS) else {"anchors": directory}


def tls(url: str, directory: str) -> dict[str, Any]:
    """Return what keeps servers trusted whose certificates are from the CAs in ``directory``, as theirs are."""
    return {"ca_bundle": directory, "system_store": True} if url.startswith("https://") else {}
