"""From files to a checked configuration, or to every problem at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from imagesync.config.merge import merge
from imagesync.config.problems import consistency, describe, unknown_key
from imagesync.config.reading import UnreadableError, parse, read, text_of
from imagesync.config.schema import Config
from imagesync.config.selection import DenyEntry
from imagesync.config.values import Section
from imagesync.errors import ConfigError

Files = Mapping[str, str]
"""The text of the main file and of ``conf.d``, by path, in the order in which they count."""


def load(path: Path, environment: Mapping[str, str], files: Files | None = None) -> Config:
    """Return the configuration in ``path`` and in ``conf.d/*.yaml`` and ``deny.d/*.yaml`` beside it.

    ``files``, where given, are used in place of what ``path`` and ``conf.d`` hold now. What is recalled in ``deny.d``
    is always read anew: it must not wait for a reload.

    ``environment`` is where secrets given as ``env`` or ``credential`` are looked up, later, and where the default
    places of a user who is not root come from.

    Raises:
        ConfigError: with every problem, one line each: ``file: path.to[0].key: what is wrong, what to do``.
    """
    path = path.absolute()
    problems: list[str] = []
    merged = merge(_contents(path, files, problems), path)
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
        raise refusal(path, problems)
    return config


class _Recalls(Section):
    deny: tuple[DenyEntry, ...] = ()


def recalled(path: Path) -> tuple[DenyEntry, ...]:
    """Return what ``deny.d`` beside the configuration in ``path`` recalls now.

    Raises:
        ConfigError: with every problem.
    """
    problems: list[str] = []
    merged = merge(_recalls(path, problems), path)
    problems += merged.problems
    try:
        found = _Recalls.model_validate(merged.data).deny
    except ValidationError as error:
        problems += describe(error, merged)
    if problems:
        raise refusal(path, problems)
    return found


def refusal(path: Path, problems: Sequence[str]) -> ConfigError:
    """Return the error that tells of every problem with the configuration in ``path``."""
    if len(problems) == 1:
        return ConfigError("", problems[0])
    return ConfigError(str(path), f"{len(problems)} problems, see each", problems=tuple(problems))


# --- files -----------------------------------------------------------------------------------------------------------
def snapshot(path: Path, candidate: Path | None = None) -> Files:
    """Return the text of ``path`` and of ``conf.d/*.yaml`` beside it, for ``load``.

    ``candidate`` is the file that ``path`` is about to be replaced by: its text stands for that of ``path``.

    Raises:
        ConfigError: with every file that cannot be read.
    """
    path = path.absolute()
    problems: list[str] = []
    texts: dict[str, str] = {}
    for file in [path, *_drop_ins(path.parent / "conf.d", problems)]:
        try:
            texts[str(file)] = text_of(candidate if candidate and file == path else file).decode("utf-8")
        except UnreadableError as error:
            problems += [f"{file}: {problem}" for problem in error.problems]
        except UnicodeDecodeError as error:
            problems.append(f"{file}: is no YAML: {error}")
    if problems:
        raise refusal(path, problems)
    return texts


def _contents(path: Path, files: Files | None, problems: list[str]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield what the files hold, in the order in which they count; what cannot be read is a problem."""
    if files is None:
        for file in [path, *_drop_ins(path.parent / "conf.d", problems)]:
            yield file, _checked(file, partial(read, file), problems)
    else:
        for name, text in files.items():
            yield Path(name), _checked(Path(name), partial(parse, text.encode()), problems)
    yield from _recalls(path, problems)


def _recalls(path: Path, problems: list[str]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for file in _drop_ins(path.parent / "deny.d", problems):
        content = _checked(file, partial(read, file), problems)
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


def _checked(file: Path, reading: Callable[[], dict[str, Any]], problems: list[str]) -> Mapping[str, Any]:
    try:
        return reading()
    except UnreadableError as error:
        problems += [f"{file}: {problem}" for problem in error.problems]
        return {}


# --- places ----------------------------------------------------------------------------------------------------------
def _add_default_places(data: dict[str, Any], environment: Mapping[str, str]) -> None:
    state, cache = default_places(environment, system=serves_the_system(os.geteuid()))
    if state is not None and isinstance(data.setdefault("state", {}), dict):
        data["state"].setdefault("url", f"sqlite:///{state / 'state.db'}")
    if cache is not None:
        data.setdefault("cache", str(cache))


def serves_the_system(user: int, state: Path = Path("/var/lib/imagesync")) -> bool:
    """Return whether a user's default places are the system's: root's, and those of the user who has the state there.

    So a command that is run by hand as the user of the service has the service's state and locks.
    """
    try:
        return user == 0 or user == state.stat().st_uid
    except OSError:
        return False


def default_places(environment: Mapping[str, str], *, system: bool) -> tuple[Path | None, Path | None]:
    """Return the directories for state and cache: systemd's, else the system's or the user's (XDG).

    ``None`` stands for a place that cannot be known because the environment does not say where home is.
    """
    if system:
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
