"""The options that stand for the whole configuration: state, trust, proxies, the guard and the limits."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from imagesync.config.secrets import SecretRef
from imagesync.config.urls import check_place, check_proxy_url, check_state_url
from imagesync.config.values import (
    AbsolutePath,
    Count,
    Duration,
    Flag,
    Section,
    Share,
    Size,
    Span,
    Text,
    off_for_false,
    one_or_more,
)

Positive = Annotated[Count, Field(ge=1)]


class State(Section):
    """The database that holds what cannot be observed again."""

    url: Annotated[str, Field(strict=True)] = Field(
        description="An SQLAlchemy URL: ``sqlite:////path`` or ``postgresql+psycopg://USER@HOST/DATABASE``."
    )
    password: SecretRef | None = Field(default=None, description="The database password; never a part of the URL.")

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str, info: ValidationInfo) -> str:
        return check_state_url(value, (info.context or {}).get("directory"))


class Trust(Section):
    """What signatures are judged by."""

    anchors: AbsolutePath = Field(
        default=Path("/etc/grid-security/certificates"),
        description="A directory in IGTF layout: CA certificates, CRLs, signing policies.",
    )
    crl: Annotated[Literal["require", "if-present", "off"], BeforeValidator(off_for_false)] = Field(
        default="require", description="Whether every CA on the path needs a fresh revocation list."
    )
    fetch_crls: Flag = Field(
        default=False,
        description="Whether ``sync`` fetches them itself, into the cache, from where the CAs' ``.crl_url`` says.",
    )


class Proxy(Section):
    """An HTTP proxy."""

    url: Annotated[str, Field(strict=True)] = Field(description="``http://HOST:PORT``, without user and password.")
    user: Text | None = Field(default=None, description="The user name at the proxy.")
    password: SecretRef | None = Field(default=None, description="The password at the proxy.")

    _check_url = field_validator("url")(check_proxy_url)

    def address(self) -> str:
        """Return the URL with user and password in it. It is a secret.

        Raises:
            ConfigError: the password cannot be read.
        """
        if self.user is None:
            return self.url
        password = f":{quote(self.password.value(), safe='')}" if self.password else ""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=f"{quote(self.user, safe='')}{password}@{parts.netloc}"))


class UrlRewrite(Section):
    """Another place to get images from. Whatever it serves must have the SHA-512 that the list says."""

    prefix: Annotated[str, Field(strict=True)] = Field(
        description="The beginning of the URLs in the list, with the host and a slash after it."
    )
    replacement: Annotated[str, Field(strict=True)] = Field(
        description="What stands there instead; its host may have a private address."
    )
    only: Flag = Field(default=False, description="Whether the published URL is not asked where this rule fits.")

    _check_places = field_validator("prefix", "replacement")(check_place)


class Guard(Section):
    """How many removals of one list at one target are believed within 24 hours."""

    share: Share = Field(
        default=0.5,
        description="The largest share of the published images. Also with 1, a list may not leave without any image.",
    )
    min_images: Count = Field(
        default=4,
        description="With fewer published images than this, the share is not looked at.",
    )


class GuardOverride(Section):
    """Exceptions from the guard; what is not given here is as above it."""

    share: Share | None = Field(default=None, description="The largest share of the published images.")
    min_images: Count | None = Field(
        default=None,
        description="With fewer published images, the share is not looked at.",
    )


class Limits(Section):
    """What anything from outside may cost."""

    max_list_bytes: Size = Field(default=16 << 20, description="The largest signed list.")
    max_image_bytes: Size = Field(default=100 << 30, description="The largest image file to download.")
    max_virtual_size: Size = Field(default=1 << 40, description="The largest disk that an image may describe.")
    unpack_ratio: Count = Field(
        default=200, description="How many times larger than its archive an image may be (over 16 MiB)."
    )
    max_redirects: Count = Field(default=5, description="How many HTTP redirects are followed.")
    attempts: Positive = Field(
        default=3, description="How often in a row a download is tried in one pass without getting 16 MiB further."
    )
    connect_timeout: Duration = Field(
        default=timedelta(seconds=15),
        description="How long connecting to one address may take.",
    )
    header_timeout: Duration = Field(default=timedelta(seconds=60), description="How long a server may take to answer.")
    stall_timeout: Duration = Field(default=timedelta(seconds=60), description="How long no byte may come.")
    minimum_rate: Size = Field(default=32 << 10, description="The lowest mean rate, in bytes per second over a minute.")
    parallel_images: Positive = Field(
        default=4, description="How many images are downloaded or converted at once, while another is uploaded."
    )
    parallel_conversions: Positive = Field(default=2, description="How many of them are unpacked or converted at once.")
    downloads_per_host: Positive = Field(
        default=2, description="How many of them are downloaded from one host at once."
    )
    bandwidth: Annotated[Size, Field(ge=1)] | None = Field(
        default=None,
        description="What all downloads of images may take together, in bytes per second.",
        json_schema_extra={"default_text": "no limit"},
    )
    heavy_work: Annotated[tuple[Span, ...], BeforeValidator(one_or_more)] = Field(
        default=(),
        description="Times of the day, by this machine's clock, at which images are downloaded and converted, and "
        "started for boot checks.",
        json_schema_extra={"default_text": "always"},
    )
    convert_timeout: Duration = Field(default=timedelta(hours=4), description="How long one conversion may take.")
    boot_timeout: Duration = Field(
        default=timedelta(minutes=2),
        description="How long a boot check may take, on an idle machine with KVM; five times that without, and up to "
        "twice that under load.",
    )
    parallel_boots: Positive = Field(default=1, description="How many images are started at once for boot checks.")
    convert_memory: Size = Field(default=2 << 30, description="How much memory one conversion may use.")

    @field_validator("bandwidth")
    @classmethod
    def _enough_for_all(cls, value: int | None, info: ValidationInfo) -> int | None:
        least = info.data.get("minimum_rate", 0) * info.data.get("parallel_images", 0)
        if value is not None and value < least:
            raise ValueError(
                f"is too little: {least} bytes per second are minimum_rate for each of parallel_images; lower those"
            )
        return value
