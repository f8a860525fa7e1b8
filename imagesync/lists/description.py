"""What a publisher says about a list and its images: a YAML file, or just a folder.

A description looks like this; only ``images`` and each ``file`` are required::

    title: Images of our VO
    endorser: {email: images@example.org, creator: Ada Lovelace}
    images:
      - file: alma9.qcow2            # relative to the description
        title: AlmaLinux 9
        version: 9.6-1
        osname: AlmaLinux
        osversion: "9.6"
        ram_mib: 2048
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from imagesync.errors import ConfigError


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageDescription(_Strict):
    """One image. ``file`` is a path; what is left empty is found out or filled with the usual value.

    ``ram_mib`` is in MiB and at least 64, below which readers of lists disagree about the unit. ``extra`` holds
    further keys of the entry, written as they stand (``ad:appid``, ``ad:group``, ...).
    """

    file: Path
    title: str = ""
    description: str = ""
    identifier: str = ""
    version: str = ""
    uri: str = ""
    format: str = ""
    hypervisor: str = "KVM"
    arch: str = "x86_64"
    os: str = "Linux"
    osname: str = "Other"
    osversion: str = ""
    comments: str = ""
    mpuri: str = ""
    expires: AwareDatetime | None = None
    ram_mib: int | None = Field(default=None, ge=64)
    cores: int | None = Field(default=None, ge=1)
    extra: dict[str, str] = Field(default_factory=dict)


class Endorser(_Strict):
    """How to reach the endorser; the names come from the certificate when the list is signed."""

    email: str = ""
    creator: str = ""


class Description(_Strict):
    """A list."""

    images: tuple[ImageDescription, ...]
    vo: str = ""
    title: str = ""
    description: str = ""
    source: str = ""
    identifier: str = ""
    version: str = ""
    expires: AwareDatetime | None = None
    endorser: Endorser = Endorser()


def load(path: Path) -> Description:
    """Return the description in the YAML file ``path``, files resolved against its folder.

    Raises:
        ConfigError: unreadable, no YAML, an unknown key or a value that does not fit; with every problem.
    """
    try:
        # Every scalar is text: a version 24.10 must not become the number 24.1.
        raw = yaml.load(path.read_bytes(), Loader=_TextLoader)  # noqa: S506 - a BaseLoader builds no objects
        found = Description.model_validate(raw)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(str(path), f"is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        lines = tuple(f"{path}: {_explain(detail)}" for detail in error.errors())
        raise ConfigError(str(path), "is no description of a list", "; ".join(lines), problems=lines) from error
    images = tuple(image.model_copy(update={"file": path.parent / image.file}) for image in found.images)
    return found.model_copy(update={"images": images})


class _TextLoader(yaml.BaseLoader):
    """Reads scalars as text and refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - the library's signature
        """Return the mapping."""
        found = super().construct_mapping(node, deep=deep)
        if len(found) != len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        return found


def _explain(detail: ErrorDetails) -> str:
    place = ".".join(f"[{part}]" if isinstance(part, int) else part for part in detail["loc"]).replace(".[", "[")
    if detail["type"] != "extra_forbidden":
        return f"{place or 'the top'}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"
    models: dict[str, type[BaseModel]] = {"images": ImageDescription, "endorser": Endorser}
    model = Description if len(detail["loc"]) == 1 else models[str(detail["loc"][0])]
    near = difflib.get_close_matches(str(detail["loc"][-1]), model.model_fields, n=1)
    return f"{place}: unknown key" + (f", did you mean {near[0]}?" if near else "")
