"""The configuration as values. What each option means stands here, and nowhere else: the reference is made from it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from imagesync.config.daemon import Daemon
from imagesync.config.merge import Merged
from imagesync.config.notice import AgeLimits, Notices
from imagesync.config.notifications import Receiver
from imagesync.config.presentation import NameTemplate, PropertyRule
from imagesync.config.secrets import SecretRef, read_references
from imagesync.config.sections import Guard, GuardOverride, Limits, Proxy, State, Trust, UrlRewrite
from imagesync.config.selection import DenyEntry, Select
from imagesync.config.urls import check_source_url
from imagesync.config.values import (
    AbsolutePath,
    BootCheck,
    CronExpression,
    DiskFormat,
    Duration,
    Fingerprint,
    Flag,
    Name,
    Section,
    Size,
    Text,
    short_form,
)
from imagesync.model import Format, Identity
from imagesync.plan.spec import NAME_FIELDS


# --- subscriptions ---------------------------------------------------------------------------------------------------
class Endorser(Section):
    """Who may sign a list, by subject and issuer of the certificate."""

    dn: Text = Field(description="Distinguished name of the certificate: ``/DC=…/CN=…``.")
    ca: Text = Field(description="Distinguished name of the CA that issued it.")

    sha256: Fingerprint | None = Field(
        default=None,
        description="Fingerprint of a certificate that is trusted itself, without CA and CRL: 64 hexadecimal digits.",
    )

    @field_validator("dn", "ca")
    @classmethod
    def _check(cls, value: str) -> str:
        if "=" not in value:
            raise ValueError("is no distinguished name: write it as imagesync list verify shows it")
        return value

    @field_validator("sha256", mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        return value.replace(":", "").lower() if isinstance(value, str) else value  # as openssl x509 -fingerprint does

    @property
    def identity(self) -> Identity:
        """Return both names as they are written here, not normalised."""
        return Identity(self.dn, self.ca)


class Subscription(Section):
    """A list to follow."""

    name: Name = Field(description="What the list is called here; on command lines, in logs and in the state.")
    vo: Text = Field(description="The VO whose images these are; the list must say the same.")
    url: Annotated[str, Field(strict=True)] = Field(description="Where the list is: https, http or file.")
    source: Name = Field(default="hepix", description="The kind of list; other kinds come as plug-ins.")
    token: SecretRef | None = Field(
        default=None, description="Access token; sent over https and to the list's own scheme, host and port only."
    )
    auth: Literal["basic", "bearer"] = Field(
        default="basic",
        description="How the token is sent: as user name with the password ``x-oauth-basic``, or as bearer.",
    )
    endorsers: Annotated[tuple[Endorser, ...], Field(min_length=1)] = Field(
        description="Who may sign the list; several, so that certificates can be replaced."
    )
    sha1_until: date | None = Field(
        default=None,
        description="Day before which RSA signatures with SHA-1 are accepted, with a warning in each pass.",
    )
    identifier: Text | None = Field(
        default=None, description="Identifier that the list must have. Without it, the first one accepted is pinned."
    )
    appdb_ids: Flag | None = Field(
        default=None,
        description="Whether identifiers must be those that AppDB computes from VO and image.",
        json_schema_extra={"default_text": "true for hosts under .appdb.egi.eu"},
    )
    select: Select = Field(default=Select(), description="Which images of the list are wanted.")
    every: Duration = Field(
        default=timedelta(hours=6),
        description="How often the list is meant to be looked at; ``imagesync sync`` always looks.",
    )
    cron: CronExpression | None = Field(
        default=None,
        description="When the daemon looks at the list, in place of ``every``: ``MINUTE HOUR DAY MONTH WEEKDAY``.",
    )
    enabled: Flag = Field(default=True, description="When false, images are held as they are until their own dates.")
    allow_private_addresses: Flag = Field(
        default=False, description="Whether the list may name images on loopback or private addresses."
    )
    allow_http: Flag = Field(
        default=True, description="Whether images may come over plain http; their SHA-512 is checked anyway."
    )
    ca_bundle: AbsolutePath | None = Field(
        default=None,
        description="TLS authorities for the servers of the list and its images: a PEM file or a hashed directory.",
        json_schema_extra={"default_text": "the system's"},
    )
    system_store: Flag = Field(
        default=False, description="Whether the system's TLS certificates count beside ``ca_bundle``."
    )
    url_rewrite: tuple[UrlRewrite, ...] = Field(
        default=(), description="Mirrors: where to look for images first, in this order."
    )
    guard: GuardOverride | None = Field(default=None, description="Exceptions from the guard for this list.")
    expiry_grace: Duration | None = Field(default=None, description="Exception from ``expiry_grace`` for this list.")
    properties: tuple[PropertyRule, ...] = Field(default=(), description="Further properties of its images.")
    boot_check: BootCheck | None = Field(
        default=None,
        description="Whether its images are started before they are offered: ``report`` tells what became of them, "
        "``require`` keeps back what did not start.",
        json_schema_extra={"default_text": "off"},
    )
    list_age: AgeLimits | None = Field(default=None, description="Exception from ``notices.list_age`` for this list.")

    _check_url = field_validator("url")(check_source_url)

    @field_validator("token")
    @classmethod
    def _token_needs_https(cls, value: SecretRef | None, info: ValidationInfo) -> SecretRef | None:
        if value is not None and not str(info.data.get("url", "https://")).startswith("https://"):
            raise ValueError("is sent over https only: use an https url, or remove the token")
        return value


# --- targets ---------------------------------------------------------------------------------------------------------
class Convert(Section):
    """How images are converted, where they are."""

    compress: Flag = Field(default=False, description="Whether converted images are compressed, where the format can.")
    compare: Flag = Field(
        default=False,
        description="Whether ``qemu-img compare`` has to find what is converted equal to its source before it is used.",
    )


class Target(BaseModel):
    """A catalogue to keep equal to the lists. Every other key is a setting of the backend."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    name: Name = Field(description="What the target is called here; on command lines, in logs and in the state.")
    backend: Name = Field(description="What kind of target; ``imagesync backends`` lists them.")
    path: AbsolutePath | None = Field(default=None, description="Where the target is, for one in a file system.")
    formats: Annotated[tuple[DiskFormat, ...], Field(min_length=1)] = Field(
        default=(Format.QCOW2, Format.RAW),
        description="What the target takes. An image in one of them is passed on, others become the first.",
    )
    subscriptions: tuple[Name, ...] | None = Field(
        default=None, description="Names of the lists that it follows.", json_schema_extra={"default_text": "all"}
    )
    select: Select = Field(default=Select(), description="Which images of those lists it gets.")
    delete_after: Duration = Field(default=timedelta(days=30), description="How long a retired image is kept.")
    convert: Convert = Field(default=Convert(), description="How images are converted.")
    image_name: NameTemplate = Field(
        default="{title}",
        description=f"What images are called; fields in braces: {', '.join(NAME_FIELDS)}.",
    )
    properties: tuple[PropertyRule, ...] = Field(
        default=(), description="Further properties of images; they stand over those of subscriptions."
    )
    guard: GuardOverride | None = Field(default=None, description="Exceptions from the guard for this target.")
    boot_check: BootCheck | None = Field(
        default=None,
        description="Whether images are started before they are offered here; stands over the subscription's word.",
        json_schema_extra={"default_text": "what the subscription says, else off"},
    )

    @field_validator("formats")
    @classmethod
    def _no_format_twice(cls, value: tuple[Format, ...]) -> tuple[Format, ...]:
        if len(set(value)) < len(value):
            raise ValueError("names a format twice: write each once, the preferred one first")
        return value

    @model_validator(mode="before")
    @classmethod
    def _read_references(cls, value: object, info: ValidationInfo) -> object:
        """Give backends their secrets as references: ``{file: PATH}`` and the like, at any depth of their settings."""
        if not isinstance(value, dict):
            return value
        own = {key: item for key, item in value.items() if key in cls.model_fields}
        return {key: read_references(item, info.context) for key, item in value.items() if key not in own} | own

    @property
    def settings(self) -> Mapping[str, object]:
        """Return what the backend gets: every key that is none of ours, and ``path``, absolute, if it is given."""
        return dict(self.model_extra or {}) | ({"path": str(self.path)} if self.path else {})


class Config(Section):
    """A whole configuration, checked."""

    instance: Name = Field(
        default="imagesync",
        description="The ownership mark. Whoever changes it, disowns every image.",
    )
    state: Annotated[State, BeforeValidator(short_form("url"))] = Field(
        description="Where pins, history and back-off are kept.",
        json_schema_extra={
            "default_text": "state.db under /var/lib/imagesync for root and its owner, else under ~/.local/state"
        },
    )
    cache: AbsolutePath = Field(
        description="Directory for downloaded and converted images.",
        json_schema_extra={
            "default_text": "/var/cache/imagesync for root and the owner of the state, else under ~/.cache"
        },
    )
    cache_max_bytes: Size | None = Field(
        default=None, description="How large the cache may grow.", json_schema_extra={"default_text": "no limit"}
    )
    cache_reserve_bytes: Size = Field(default=1 << 30, description="How much room the cache leaves on its file system.")
    trust: Trust = Field(default=Trust(), description="What signatures are judged by.")
    proxies: Mapping[str, Annotated[Proxy, BeforeValidator(short_form("url"))]] = Field(
        default={}, description="Proxies by what they are for: ``https``, ``http``, or ``https://HOST``."
    )
    subscriptions: tuple[Subscription, ...] = Field(default=(), description="The lists to follow.")
    targets: tuple[Target, ...] = Field(default=(), description="The catalogues to keep.")
    guard: Guard = Field(default=Guard(), description="How many removals are believed.")
    expiry_grace: Duration = Field(
        default=timedelta(hours=72),
        description="How long images stay after their list's own date, when no newer list came.",
    )
    on_unselected: Literal["retire", "keep"] = Field(
        default="retire", description="What becomes of published images that are no longer selected."
    )
    daemon: Daemon = Field(default=Daemon(), description="How the daemon works.")
    notifications: tuple[Receiver, ...] = Field(default=(), description="Whom the daemon tells what changed.")
    notices: Notices = Field(default=Notices(), description="When to tell ahead that something ends or is old.")
    history: Duration = Field(default=timedelta(days=365), description="How long runs and superseded lists are kept.")
    limits: Limits = Field(default=Limits(), description="What anything from outside may cost.")
    deny: tuple[DenyEntry, ...] = Field(default=(), description="What is recalled; normally in ``deny.d/*.yaml``.")

    _merged: Merged = PrivateAttr(default_factory=lambda: Merged(Path()))

    @field_validator("proxies")
    @classmethod
    def _check_proxied(cls, value: Mapping[str, Proxy]) -> Mapping[str, Proxy]:
        for key in value:
            if not re.fullmatch(r"https?(://[^/@]+)?", key):
                raise ValueError(f"{key} is nothing to have a proxy for: write https, http, or https://HOST")
        return value

    @model_validator(mode="after")
    def _keep_origin(self, info: ValidationInfo) -> Self:
        if info.context and "merged" in info.context:
            self._merged = info.context["merged"]
        return self

    @property
    def path(self) -> Path:
        """Return the main file; ``conf.d`` and ``deny.d`` are beside it."""
        return self._merged.main

    def place(self, *location: str | int) -> str:
        """Return ``file: path.to[0].key`` for the option at ``location``."""
        return str(self._merged.place(location))

    def subscriptions_of(self, target: Target) -> tuple[Subscription, ...]:
        """Return the subscriptions that ``target`` follows, also those that are not enabled."""
        wanted = target.subscriptions
        return tuple(item for item in self.subscriptions if wanted is None or item.name in wanted)

    def digest_of(self, subscription: str) -> str:
        """Return a digest of everything that decides what becomes of a list: another one lets it be tried anew."""
        shared = self.model_dump(mode="json", include={"instance", "limits", "proxies", "targets", "trust"})
        lists = self.model_dump(mode="json", include={"subscriptions"})["subscriptions"]
        own = [item for item in lists if item["name"] == subscription]
        return hashlib.sha256(json.dumps([shared, own], sort_keys=True).encode()).hexdigest()

    def guard_for(self, subscription: Subscription, target: Target) -> Guard:
        """Return the guard for one list at one target: the target's word first, then the subscription's."""
        values = self.guard.model_dump()
        for override in (subscription.guard, target.guard):
            values |= override.model_dump(exclude_none=True) if override else {}
        return Guard(**values)

    def boot_check_for(self, subscription: Subscription, target: Target) -> str:
        """Return whether images of one list are started for one target: the target's word, else the subscription's."""
        return target.boot_check or subscription.boot_check or "off"

    def expiry_grace_for(self, subscription: Subscription) -> timedelta:
        """Return how long images of ``subscription`` stay after their list's date."""
        return self.expiry_grace if subscription.expiry_grace is None else subscription.expiry_grace
