"""From files to a checked configuration, or to every problem at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from imagesync.config.merge import merge
from imagesync.config.problems import consistency, describe, unknown_key
from imagesync.config.reading import UnreadableError, read
from imagesync.config.schema import Config
from imagesync.errors import ConfigError


def load(path: Path, environment: Mapping[str, str]) -> Config:
    """Return the configuration in ``path`` and in ``conf.d/*.yaml`` and ``deny.d/*.yaml`` beside it.

    ``environment`` is where secrets given as ``env`` or ``credential`` are looked up, later, and where the default
    places of a user who is not root come from.

    Raises:
        ConfigError: with every problem, one line each: ``file: path.to[0].key: what is wrong, what to do``.
    """
    path = path.absolute()
    problems: list[str] = []
    merged = merge(_contents(path, problems), path)
    problems += merged.problems
    _add_default_places(merged.data, environment)
    context = {"directory": path.parent, "merged": merged, "environment": environment}
    config = None
    try:
        config = Config.model_validate(merged.data, context=context)
    except ValidationError as error:
        problems += describe(error, merged)
    problems += consistency(merged.data, merged)
    if config is None or problems:
        raise _refusal(path, problems)
    return config


def _refusal(path: Path, problems: list[str]) -> ConfigError:
    if len(problems) == 1:
        return ConfigError("", problems[0])
    return ConfigError(str(path), f"{len(problems)} problems, see each", problems=tuple(problems))


# --- files -----------------------------------------------------------------------------------------------------------
def _contents(path: Path, problems: list[str]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield what the files hold, in the order in which they count; what cannot be read is a problem."""
    for file in [path, *_drop_ins(path.parent / "conf.d", problems)]:
        yield file, _read(file, problems)
    for file in _drop_ins(path.parent / "deny.d", problems):
        content = _read(file, problems)
        problems += [f"{file}: {key}: {unknown_key(key, ('deny',))}" for key in content if key != "deny"]
        yield file, {key: value for key, value in content.items() if key == "deny"}


def _drop_ins(directory: Path, problems: list[str]) -> list[Path]:
    try:
        entries = sorted(directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(f"{directory}: cannot be read: {error.strerror}")
        return []
    visible = [entry for entry in entries if not entry.name.startswith(".")]
    problems += [f"{entry}: is not read: give it the ending .yaml" for entry in visible if entry.suffix == ".yml"]
    return [entry for entry in visible if entry.suffix == ".yaml"]


def _read(file: Path, problems: list[str]) -> Mapping[str, Any]:
    try:
        return read(file)
    except UnreadableError as error:
        problems += [f"{file}: {problem}" for problem in error.problems]
        return {}


# --- places ----------------------------------------------------------------------------------------------------------
def _add_default_places(data: dict[str, Any], environment: Mapping[str, str]) -> None:
    state, cache = default_places(environment, root=os.geteuid() == 0)
    if state is not None and isinstance(data.setdefault("state", {}), dict):
        data["state"].setdefault("url", f"sqlite:///{state / 'state.db'}")
    if cache is not None:
        data.setdefault("cache", str(cache))


def default_places(environment: Mapping[str, str], *, root: bool) -> tuple[Path | None, Path | None]:
    """Return the directories for state and cache: systemd's, the system's for root, else the user's (XDG).

    ``None`` stands for a place that cannot be known because the environment does not say where home is.
    """
    if root:
        user = {"STATE": "/var/lib", "CACHE": "/var/cache"}
    else:
        home = environment.get("HOME")
        user = {"STATE": f"{home}/.local/state", "CACHE": f"{home}/.cache"} if home else {}
        user |= {kind: base for kind in ("STATE", "CACHE") if (base := environment.get(f"XDG_{kind}_HOME"))}
    return _default_place(environment, "STATE", user), _default_place(environment, "CACHE", user)


def _default_place(environment: Mapping[str, str], kind: str, bases: Mapping[str, str]) -> Path | None:
    systemd = environment.get(f"{kind}_DIRECTORY")
    if systemd:
        return Path(systemd.partition(":")[0])
    return Path(bases[kind], "imagesync") if kind in bases else None
