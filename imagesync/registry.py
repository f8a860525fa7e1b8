"""Backends and list sources by name, from the entry points of installed distributions.

The names say which version of the port they speak: a backend for another version is in another group and is simply
not found. Only what is asked for is loaded, so that a missing extra of one backend harms nobody else.

This is the plug-in boundary: whatever a foreign package raises is turned into an error of ours here, and here the core
refuses to change a record that is not ours.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar, cast

from imagesync.backend import (
    Backend,
    Capabilities,
    Context,
    ImageSpec,
    Metadata,
    OpenBackend,
    OwnedImage,
    Progress,
    Retirement,
)
from imagesync.errors import BackendBrokenError, BackendError, ConfigError

BACKENDS = "imagesync.backends.v1"
"""The entry-point group of backends; each names an ``OpenBackend``."""

SOURCES = "imagesync.sources.v1"
"""The entry-point group of list sources."""

Installed = Callable[[str], Iterable[EntryPoint]]
"""Where entry points come from: returns those of a group."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EntryPointInfo:
    """A registered name, and the distribution that registered it."""

    name: str
    distribution: str
    version: str


def _installed(group: str) -> Iterable[EntryPoint]:
    return entry_points(group=group)


def snapshot() -> Installed:
    """Return what is installed now, for many questions: otherwise each reads the metadata of every distribution."""
    found = entry_points()
    return {group: tuple(found.select(group=group)) for group in (BACKENDS, SOURCES)}.__getitem__


def backends(installed: Installed = _installed) -> Mapping[str, EntryPointInfo]:
    """Return every registered backend by name, sorted, without loading any.

    Raises:
        ConfigError: two distributions register the same name.
    """
    return _infos(BACKENDS, "backend", installed)


def sources(installed: Installed = _installed) -> Mapping[str, EntryPointInfo]:
    """Return every registered list source by name, sorted, without loading any.

    Raises:
        ConfigError: two distributions register the same name.
    """
    return _infos(SOURCES, "list source", installed)


def load_backend(name: str, installed: Installed = _installed) -> OpenBackend:
    """Return the factory of a backend.

    Raises:
        ConfigError: no such backend, more than one, or it cannot be loaded.
    """
    return cast(OpenBackend, _load(BACKENDS, "backend", name, installed))


def load_source(name: str, installed: Installed = _installed) -> Callable[..., Any]:
    """Return the function of a list source.

    Raises:
        ConfigError: no such source, more than one, or it cannot be loaded.
    """
    return _load(SOURCES, "list source", name, installed)


def _infos(group: str, noun: str, installed: Installed) -> dict[str, EntryPointInfo]:
    found = sorted(installed(group), key=lambda point: point.name)
    return {point.name: _info(_only(found, point.name, noun)) for point in found}


def _load(group: str, noun: str, name: str, installed: Installed) -> Callable[..., Any]:
    point = _only(installed(group), name, noun)
    try:
        loaded = point.load()
    except Exception as error:  # the plug-in boundary: importing runs foreign code
        raise _not_loadable(point, noun, error) from error
    if not callable(loaded):
        raise ConfigError(f"{noun} {name}", f"{point.value} of {_owner(point)} cannot be called", "report it there")
    return cast(Callable[..., Any], loaded)


def _only(points: Iterable[EntryPoint], name: str, noun: str) -> EntryPoint:
    points = list(points)
    found = [point for point in points if point.name == name]
    if not found:
        names = sorted({point.name for point in points})
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(names) or 'none'}"
        raise ConfigError(f"{noun} {name}", "is not installed", hint)
    if len(found) > 1:
        owners = " and ".join(sorted(map(_owner, found)))
        raise ConfigError(f"{noun} {name}", f"is registered by {owners}", "uninstall all but one of them")
    return found[0]


def _info(point: EntryPoint) -> EntryPointInfo:
    distribution = point.dist
    if distribution is None:
        return EntryPointInfo(point.name, "unknown", "")
    return EntryPointInfo(point.name, distribution.name, distribution.version)


def _owner(point: EntryPoint) -> str:
    info = _info(point)
    return f"{info.distribution} {info.version}".strip()


def _not_loadable(point: EntryPoint, noun: str, error: Exception) -> ConfigError:
    subject, what = f"{noun} {point.name}", f"{type(error).__name__}: {error}"
    info = _info(point)
    if isinstance(error, ModuleNotFoundError):
        return ConfigError(subject, what, f"install {info.distribution}[{point.name}], or what its manual asks for")
    return ConfigError(subject, f"cannot be loaded from {_owner(point)}: {what}", "reinstall or report it there")


# --- the boundary of an opened backend --------------------------------------------------------------------------------
@contextmanager
def opened(open_backend: OpenBackend, settings: Mapping[str, object], context: Context) -> Iterator[Backend]:
    """Check the settings, open the target, and give a guarded backend; close it at the end.

    Raises:
        ConfigError: the settings are wrong.
        BackendError: the target cannot be opened.
    """
    target = checked(open_backend, settings, context)
    backend = _shielded(context.target, "open", target.__enter__)
    try:
        yield guarded(backend, context.target)
    finally:
        failure = sys.exc_info()
        _shielded(context.target, "close", lambda: target.__exit__(*failure))


def checked(
    open_backend: OpenBackend, settings: Mapping[str, object], context: Context
) -> AbstractContextManager[Backend]:
    """Return the target that a factory makes of its settings, not yet opened.

    Raises:
        ConfigError: with every problem of the settings.
        BackendBrokenError: the factory raised something else.
    """
    try:
        return open_backend(settings, context)
    except ConfigError:
        raise
    except Exception as error:  # the plug-in boundary
        raise _broken(context.target, "checking the settings", error) from error


def guarded(backend: Backend, target: str) -> Backend:
    """Return ``backend`` behind the core's own checks.

    * Whatever it raises that is no ``BackendError`` becomes a ``BackendBrokenError``.
    * Only a record that ``owned`` or ``upload`` returned in this session is changed ("only ours").
    * What it returns is what was asked for.
    """
    return _Guarded(backend, target)


class _Guarded:
    """See ``guarded``."""

    def __init__(self, backend: Backend, target: str) -> None:
        self._backend = backend
        self._target = target
        self._ours: set[str] = set()

    def capabilities(self) -> Capabilities:
        return _shielded(self._target, "capabilities", self._backend.capabilities)

    def owners(self, vo: str) -> Sequence[str]:
        return _shielded(self._target, "owners", lambda: tuple(self._backend.owners(vo)))

    def fit(self, metadata: Metadata) -> Metadata:
        return _shielded(self._target, "fit", lambda: self._backend.fit(metadata))

    def owned(self) -> Sequence[OwnedImage]:
        images = _shielded(self._target, "owned", lambda: tuple(self._backend.owned()))
        refs = {image.ref for image in images if isinstance(image, OwnedImage)}
        if len(refs) != len(images):
            raise BackendBrokenError(self._target, "the backend lists a record twice, or something else than records")
        self._ours |= refs
        return images

    def upload(self, spec: ImageSpec, data: Path, progress: Progress) -> OwnedImage:
        image = _shielded(self._target, "upload", lambda: self._backend.upload(spec, data, progress))
        if not isinstance(image, OwnedImage) or (image.key, image.fingerprint) != (spec.key, spec.fingerprint):
            raise BackendBrokenError(
                self._target, f"the backend returned another record than {spec.key} from an upload"
            )
        self._ours.add(image.ref)
        return image

    def publish(self, ref: str) -> None:
        self._change(ref, "publish", lambda: self._backend.publish(ref))

    def update(self, ref: str, metadata: Metadata) -> None:
        self._change(ref, "update", lambda: self._backend.update(ref, metadata))

    def retire(self, ref: str, retirement: Retirement) -> None:
        self._change(ref, "retire", lambda: self._backend.retire(ref, retirement))

    def delete(self, ref: str) -> None:
        self._change(ref, "delete", lambda: self._backend.delete(ref))

    def _change(self, ref: str, step: str, call: Callable[[], None]) -> None:
        if ref not in self._ours:
            detail = f"{step} of {ref}, which the target did not list as ours"
            raise BackendBrokenError(self._target, detail, "nothing was changed; this is a mistake in imagesync")
        _shielded(self._target, step, call)


def _shielded(target: str, step: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except BackendError:
        raise
    except Exception as error:  # the plug-in boundary
        raise _broken(target, step, error) from error


def _broken(target: str, step: str, error: Exception) -> BackendBrokenError:
    detail = f"{step}: the backend raised {type(error).__name__}: {error}"
    return BackendBrokenError(target, detail, "report it to the backend's author")
