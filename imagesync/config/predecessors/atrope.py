"""atrope: the original, and the one that EGI's central synchronisation uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagesync.config.predecessors import openstack
from imagesync.config.predecessors.cloudkeeper import beside
from imagesync.config.predecessors.finds import (
    UNCONFIRMED,
    USUAL_ANCHORS,
    Found,
    Ledger,
    anchors,
    project,
    tls,
    unique,
    vo_of,
)
from imagesync.config.predecessors.oslo import Sections, read_sections
from imagesync.config.reading import UnreadableError, read
from imagesync.errors import ConfigError
from imagesync.model import Format

_USUAL_SOURCES = "/etc/atrope/hepix.yaml"
_USUAL_MAP = "/etc/atrope/vo_map.yaml"


@dataclass(frozen=True, slots=True)
class _Source:
    """A list that atrope follows, as a subscription, with what atrope keeps beside it."""

    subscription: dict[str, Any]
    prefix: str
    project: str | dict[str, str] | None


@dataclass(frozen=True, slots=True)
class _Files:
    """What is read of atrope's files, once."""

    main: Path
    sections: Sections
    sources: Path
    projects: Mapping[str, Any]
    """By VO, what EGI's version shares with."""

    def option(self, section: str, name: str, usual: str = "") -> str:
        return self.sections.get(section, {}).get(name) or usual

    @property
    def anchors(self) -> str:
        return self.option("DEFAULT", "ca_path", USUAL_ANCHORS)

    @property
    def is_egis(self) -> bool:
        return bool(self.option("sources", "image_sources") or self.option("glance", "vo_map"))


def read_atrope(place: Path, secrets: Path, *, coexist: bool) -> Found:
    """Return what ``place`` says, ``atrope.conf`` or its directory, and the files that it names.

    With ``coexist`` images of atrope may stay where ours go.

    Raises:
        ConfigError: a file cannot be read, or makes no sense.
    """
    files = _open(place / "atrope.conf" if place.is_dir() else place)
    ledger = Ledger(secrets)
    sources: list[_Source] = []
    for name, entry in _yaml(files.sources).items():
        if name != "harbor" and isinstance(entry, dict):  # EGI's version keeps common settings of registries there
            _add_source(str(name), entry, sources, files, ledger)
    target = _target(files, sources, ledger)
    if target and coexist:
        target["coexist"] = True
    content = {
        "trust": anchors(files.anchors),
        "subscriptions": [source.subscription for source in sources],
        "targets": [target] if target else [],
    }
    return ledger.found("atrope", content)


def _open(main: Path) -> _Files:
    sections = read_sections(main)
    named = sections.get("sources", {})
    sources = beside(main, named.get("image_sources") or named.get("hepix_sources") or _USUAL_SOURCES)
    vo_map = sections.get("glance", {}).get("vo_map")
    return _Files(main, sections, sources, _yaml(beside(main, vo_map or _USUAL_MAP)) if vo_map else {})


def _yaml(file: Path) -> dict[str, Any]:
    try:
        return read(file)
    except UnreadableError as error:
        raise ConfigError(str(file), "; ".join(error.problems), "atrope's configuration names it") from error


# --- lists -----------------------------------------------------------------------------------------------------------
def _add_source(name: str, entry: dict[str, Any], into: list[_Source], files: _Files, ledger: Ledger) -> None:
    place = f"{files.sources}: {name}"
    if str(entry.get("type", "hepix")).lower() != "hepix":
        ledger.remark(place, f"is of type {entry['type']}, which has no signed lists: it is not carried over")
        return
    url = f"file://{entry['file_path']}" if entry.get("file_path") else str(entry.get("url") or "")
    vo = _vo(name, url, entry, files)
    if not url or vo is None:
        why = "does not say which VO it is for: imagesync config init --from-list URL --vo VO" if url else "has no url"
        ledger.remark(place, why)
        return
    label = unique(name, (source.subscription["name"] for source in into))
    subscription: dict[str, Any] = {"name": label, "vo": vo, "url": url}
    subscription |= _token(entry, subscription, place, ledger)
    subscription |= _signer(entry, place, ledger) | _selection(entry) | tls(url, files.anchors)
    given = files.projects.get(vo)
    shared = given.get("project_id") if isinstance(given, dict) else None
    own = shared or entry.get("project")
    into.append(_Source(subscription, str(entry.get("prefix") or ""), project(str(own)) if own else None))


def _vo(name: str, url: str, entry: Mapping[str, Any], files: _Files) -> str | None:
    """Return the VO of a list. atrope learns it from the list; a name with a dot in it is one by custom."""
    said = entry.get("vos") or []
    if isinstance(said, list) and len(said) == 1:
        return str(said[0])
    return vo_of(url) or (name if name in files.projects or ("." in name and " " not in name) else None)


def _token(entry: Mapping[str, Any], subscription: Mapping[str, Any], place: str, ledger: Ledger) -> dict[str, Any]:
    token = entry.get("token")
    if not token:
        return {}
    if not subscription["url"].startswith("https://"):
        ledger.remark(f"{place}.token", "is not carried over, because tokens are sent over https only: write https")
        return {}
    return {"token": ledger.keep(f"{subscription['name']}.token", str(token), f"{place}.token")}


def _signer(entry: Mapping[str, Any], place: str, ledger: Ledger) -> dict[str, Any]:
    endorser = entry.get("endorser")
    names = endorser if isinstance(endorser, dict) else {}
    if names.get("dn") and names.get("ca"):
        pinned = {"endorsers": [{"dn": str(names["dn"]), "ca": str(names["ca"])}]}
        return pinned | ({} if entry.get("enabled", True) else {"enabled": False})
    ledger.remark(f"{place}.endorser", "does not say who may sign it: replace endorsers, then set enabled")
    return {"endorsers": [{"dn": UNCONFIRMED, "ca": UNCONFIRMED}], "enabled": False}


def _selection(entry: Mapping[str, Any]) -> dict[str, Any]:
    wanted = entry.get("images") or entry.get("subscribed_images") or []
    return {"select": {"identifier": [str(item) for item in wanted]}} if wanted else {}


# --- the target ------------------------------------------------------------------------------------------------------
def _target(files: _Files, sources: list[_Source], ledger: Ledger) -> dict[str, Any]:
    if "glance" not in files.option("dispatchers", "dispatcher"):
        ledger.remark(f"{files.main}: [dispatchers]", "does not send images to glance: write the target yourself")
        return {}
    name, section = _login(files, ledger)
    place = f"{files.main}: [{name}]"
    target = {"name": "openstack", "backend": "glance", **openstack.login(section, place, ledger)}
    formats = [word.strip() for word in files.option("glance", "formats").split(",") if word.strip()]
    target |= {"formats": known} if (known := [one for one in formats if one in set(Format)]) else {}
    owner = openstack.scope(section)
    if owner is None:
        ledger.remark(place, "names no project: give owner and projects")
    return target | _names(files, sources, ledger) | _sharing(files, sources, owner, ledger)


def _login(files: _Files, ledger: Ledger) -> tuple[str, Mapping[str, str]]:
    """Return the section with the login. EGI's version has one for each project, and a project of its own."""
    own = files.option("glance", "project_id")
    name = files.option("glance", "auth_section") or (
        f"glance_{own}" if f"glance_{own}" in files.sections else "glance"
    )
    section = dict(files.sections.get(name, {})) | ({"project_id": own} if own and name != "glance" else {})
    for other, options in files.sections.items():
        if other.startswith("glance_") and other != name and _who(options) != _who(section):
            text = "logs in as somebody else: make it an entry of clouds.yaml, named as cloud in projects"
            ledger.remark(f"{files.main}: [{other}]", text)
    return name, section


def _who(section: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in section.items() if key != "project_id"}


def _names(files: _Files, sources: list[_Source], ledger: Ledger) -> dict[str, Any]:
    common = files.option("dispatchers", "prefix")
    prefixes = {source.prefix for source in sources}
    if len(prefixes) > 1:
        ledger.remark(f"{files.sources}: prefix", "differs by list and is not carried over: names are the target's")
    prefix = common + (next(iter(prefixes)) if len(prefixes) == 1 else "")
    return {"image_name": prefix.replace("{", "{{").replace("}", "}}") + "{title}"} if prefix else {}


def _sharing(files: _Files, sources: list[_Source], owner: object, ledger: Ledger) -> dict[str, Any]:
    """Return who gets the images: members of the owner's images, the owner alone (EGI's version), or everybody."""
    everything = {"subscriptions": [source.subscription["name"] for source in sources]}
    projects = {source.subscription["vo"]: source.project for source in sources if source.project is not None}
    if not projects and not files.is_egis and sources:
        ledger.remark(f"{files.sources}", "names no project: images are public, as atrope made those without a token")
        return {**everything, "visibility": "public", "owner": owner}
    if files.is_egis and owner is not None and all(value == owner for value in projects.values()):
        return {**everything, "projects": {source.subscription["vo"]: owner for source in sources}}
    followed = [source.subscription["name"] for source in sources if source.project is not None]
    for source in sources:
        if source.project is None:
            name = source.subscription["name"]
            ledger.remark(f"{files.sources}: {name}", "has no project: add one to the target's projects")
    shared: dict[str, Any] = {"ownership": "shared", "owner": owner} if owner is not None else {}
    return {"subscriptions": followed, **shared, "projects": projects}
