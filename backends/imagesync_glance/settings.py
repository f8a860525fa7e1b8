"""The target's section of the configuration, as far as the core leaves it to this backend."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator
from pydantic_core import ErrorDetails

from imagesync.backend import Secret
from imagesync.errors import ConfigError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhdw])")
_USERINFO = re.compile(r"://[^/\s]*@")
_SECRET_WORDS = ("password", "passwd", "secret", "token", "passcode")


class Sharing(StrEnum):
    """Who can use a published image; the values are Glance's words for ``visibility``."""

    PER_PROJECT = "private"
    """Each VO's project owns its own copy."""
    SHARED = "shared"
    """One project owns all, the VO's projects are members."""
    COMMUNITY = "community"
    """Everybody who knows its id."""
    PUBLIC = "public"
    """Everybody."""


def _seconds(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
        return float(value)
    parts = _DURATION.findall(str(value))
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != str(value) or seconds <= 0:
        raise ValueError(f"{value!s:.40} is no duration: write a number and a unit, as in 60s or 1h30m")
    return seconds


def _one_or_more(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,)


def _project(value: object) -> object:
    return {"id": value} if isinstance(value, str) else value


Text = Annotated[str, Field(min_length=1, strict=True)]
Seconds = Annotated[float, BeforeValidator(_seconds), WithJsonSchema({"x-kind": "duration"})]
SecretSetting = Annotated[Secret, WithJsonSchema({"x-kind": "secret reference"})]
Options = Annotated[Mapping[str, Any], WithJsonSchema({"x-kind": "the plugin's options"})]
"""Options of a keystoneauth plugin; a value may be a ``Secret``."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)


class Project(_Section):
    """A project by id, or by name and domain. ``cloud`` names the credentials for it, where it needs its own."""

    id: Text | None = Field(default=None, description="The project's id.")
    name: Text | None = Field(default=None, description="Or its name.")
    domain: Text = Field(default="Default", description="The name of its domain, beside a name.")
    cloud: Text | None = Field(default=None, description="An entry of clouds.yaml with credentials for this project.")

    @model_validator(mode="after")
    def _is_one_project(self) -> Self:
        if (self.id is None) == (self.name is None):
            raise ValueError("names no project: give either its id, or its name and domain")
        if self.id is not None and "domain" in self.model_fields_set:
            raise ValueError("has an id and a domain: an id is enough")
        return self

    def __str__(self) -> str:
        """Return what tells it from others in a message."""
        return f"project {self.id}" if self.id else f"project {self.name} in domain {self.domain}"


class Proxy(_Section):
    """The proxy through which the cloud is reached."""

    url: Annotated[str, Field(pattern=r"^https?://[^/@\s]+/?$", strict=True)] = Field(
        description="``http://HOST:PORT``, without user and password."
    )
    user: Text | None = Field(default=None, description="The user name at the proxy.")
    password: SecretSetting | None = Field(default=None, description="The password at the proxy.")


ProjectSetting = Annotated[Project, BeforeValidator(_project)]


class Settings(_Section):
    """A project of a cloud, or several, as a target. Times are in seconds."""

    cloud: Text | None = Field(
        default=None,
        description="The entry of clouds.yaml that names the cloud.",
        json_schema_extra={"default_text": "the variables ``OS_*``"},
    )
    auth: Options | None = Field(default=None, description="The login itself, where it is not in clouds.yaml.")
    auth_type: Text | None = Field(
        default=None,
        description="The keystoneauth plugin that ``auth`` is for.",
        json_schema_extra={"default_text": "``password``"},
    )
    region_name: Text | None = Field(default=None, description="The region, where it is not in clouds.yaml.")
    interface: Literal["public", "internal", "admin"] | None = Field(
        default=None,
        description="Which address of the catalogue is used.",
        json_schema_extra={"default_text": "that of clouds.yaml, else ``public``"},
    )
    endpoint_override: Annotated[str, Field(pattern=r"^https?://[^/@\s]+(/\S*)?$", strict=True)] | None = Field(
        default=None, description="The address of Glance, in place of the catalogue's."
    )
    cacert: Text | None = Field(
        default=None,
        description="A file of CA certificates for this cloud.",
        json_schema_extra={"default_text": "that of clouds.yaml, else the system's"},
    )
    proxy: (
        Annotated[Proxy, BeforeValidator(lambda value: {"url": value} if isinstance(value, str) else value)] | None
    ) = Field(default=None, description="The proxy for this cloud; the environment's is not used.")
    request_timeout: Seconds = Field(
        default=60.0, description="How long an answer may take.", json_schema_extra={"default_text": "``60s``"}
    )
    stall_timeout: Seconds = Field(
        default=60.0, description="How long an upload may stand still.", json_schema_extra={"default_text": "``60s``"}
    )
    ownership: Literal["per-project", "shared"] | None = Field(
        default=None,
        description="Whether each VO's project owns its images, or one project shares them.",
        json_schema_extra={"default_text": "``per-project``"},
    )
    owner: ProjectSetting | None = Field(
        default=None, description="The project that owns the images, if they are shared or for everybody."
    )
    visibility: Literal["community", "public"] | None = Field(
        default=None, description="For everybody instead: only by id and name, or in everybody's list."
    )
    projects: Mapping[
        Text, Annotated[tuple[ProjectSetting, ...], BeforeValidator(_one_or_more), Field(min_length=1)]
    ] = Field(default={}, description="By VO, the project that gets its images, or several: an id, or a section.")
    upload_method: Literal["upload", "glance-direct"] = Field(
        default="upload", description="Whether the bytes are sent to the image, or staged and imported."
    )
    in_use: Literal["nova", "ignore"] = Field(
        default="nova", description="Whether Nova is asked for servers of an image before it is deleted."
    )
    coexist: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Whether a project may hold images of cloudkeeper, atrope or vmcatcher too."
    )

    @property
    def sharing(self) -> Sharing:
        """Return who can use a published image."""
        if self.visibility is not None:
            return Sharing(self.visibility)
        return Sharing.SHARED if self.ownership == "shared" else Sharing.PER_PROJECT

    @property
    def homes(self) -> tuple[Project, ...]:
        """Return the projects that own images, each as it was first given."""
        if self.owner is not None:
            return (self.owner,)
        return tuple(dict.fromkeys(project for projects in self.projects.values() for project in projects))


def read_settings(settings: Mapping[str, object], target: str) -> Settings:
    """Return the checked settings of ``target``.

    Raises:
        ConfigError: with every problem found.
    """
    problems: list[str] = []
    parsed: Settings | None = None
    try:
        parsed = Settings.model_validate(settings)
    except ValidationError as error:
        problems += map(_describe, error.errors(include_url=False))
    problems += _disagreements(settings)
    if problems or parsed is None:
        raise ConfigError(f"target {target}", "; ".join(problems), problems=tuple(problems))
    return parsed


# --- what keys say together -------------------------------------------------------------------------------------------
def _disagreements(settings: Mapping[str, object]) -> Iterator[str]:
    yield from _login_problems(settings)
    yield from _owner_problems(settings)
    auth = settings.get("auth")
    if isinstance(auth, Mapping):
        yield from _plain_secrets("auth", auth)


def _login_problems(settings: Mapping[str, object]) -> Iterator[str]:
    given = settings.keys()
    if "cloud" in given and "auth" in given:
        yield "auth: stands beside cloud: keep one of them"
    if "auth_type" in given and "auth" not in given:
        yield "auth_type: stands alone: give auth as well, or the name of a cloud in clouds.yaml"


def _owner_problems(settings: Mapping[str, object]) -> Iterator[str]:
    for_all, ownership = settings.get("visibility") is not None, settings.get("ownership")
    one_owner = for_all or ownership == "shared"
    if one_owner and not settings.get("owner"):
        yield "owner: is missing: name the project that owns the images"
    if not one_owner and settings.get("owner"):
        yield "owner: is only for ownership shared: write that, or remove it"
    if for_all and ownership == "per-project":
        yield f"visibility: {settings['visibility']} needs one owner: write ownership: shared"
    if for_all and settings.get("projects"):
        yield f"projects: has no meaning with visibility {settings['visibility']}, which is for everybody: remove it"
    if not for_all and not settings.get("projects"):
        yield "projects: is missing: name for each VO the project that gets its images"


def _plain_secrets(place: str, options: Mapping[Any, object]) -> Iterator[str]:
    """Secrets are given by reference (design, rule 11), also those of plugins that nobody here knows."""
    for key, value in options.items():
        name = str(key).lower()
        if isinstance(value, Mapping):
            yield from _plain_secrets(f"{place}.{key}", value)
        elif isinstance(value, str) and any(word in name for word in _SECRET_WORDS) and not name.endswith("_endpoint"):
            yield f"{place}.{key}: holds the secret itself: write {{file: PATH}}, {{env: NAME}} or {{credential: NAME}}"
        elif isinstance(value, str) and _USERINFO.search(value):
            yield f"{place}.{key}: is an address with user or password in it: remove them"


# --- from what pydantic finds to what a person should do --------------------------------------------------------------
_TEXTS = {
    "missing": "is missing: add it",
    "model_type": "must have options of its own: write KEY: VALUE lines below it",
    "mapping_type": "must have options of its own: write KEY: VALUE lines below it",
    "dict_type": "must have options of its own: write KEY: VALUE lines below it",
    "bool_type": "must be true or false",
    "string_type": "must be text: put it in quotes",
    "string_too_short": "is empty: write something",
    "too_short": "is empty: write at least one",
    "string_pattern_mismatch": "must be an address: write http://HOST:PORT or https://HOST, without user and password",
    "is_instance_of": "holds the secret itself: write {file: PATH}, {env: NAME} or {credential: NAME}",
}


def _describe(finding: ErrorDetails) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in finding["loc"]).lstrip(".")
    return f"{place}: {_text(finding)}"


def _text(finding: ErrorDetails) -> str:
    match finding["type"]:
        case "extra_forbidden":
            return _unknown_key(str(finding["loc"][-1]), _known_keys(finding["loc"][:-1]))
        case "value_error":
            return str(cast("Any", finding)["ctx"]["error"])
        case "literal_error":
            return f"{finding['input']!s:.40} is not known: write {_expected(finding)}"
        case kind:
            return _TEXTS.get(kind, finding["msg"])


def _expected(finding: ErrorDetails) -> str:
    return str(cast("Any", finding)["ctx"]["expected"]).replace("'", "")


def _known_keys(place: tuple[int | str, ...]) -> tuple[str, ...]:
    sections: dict[str, type[BaseModel]] = {"proxy": Proxy, "owner": Project, "projects": Project}
    section = sections.get(str(place[0]), Settings) if place else Settings
    return tuple(sorted(section.model_fields))


def _unknown_key(key: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"is an unknown key: did you mean {near[0]}?" if near else f"is an unknown key: known are {', '.join(known)}"
