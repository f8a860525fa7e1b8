"""cloudkeeper, and its backend for OpenStack: versions 1 and 2 of the one, 0.9 and 2 of the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imagesync.config.predecessors import openstack
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
    without_token,
)
from imagesync.config.predecessors.oslo import Sections, read_sections
from imagesync.config.reading import UnreadableError, read, text_of
from imagesync.errors import ConfigError
from imagesync.model import Format

Settings = Mapping[str, Any]
Project = str | dict[str, str]

# Option, the value that cloudkeeper has itself, and why another one is not carried over.
_WITHOUT_COUNTERPART: tuple[tuple[str, object, str], ...] = (
    ("verify-image-list", True, "signatures are always verified"),
    ("authentication", False, "there are no two programs any more that would have to trust each other"),
    ("remote-mode", False, "imagesync uploads images itself and needs no web server"),
    ("image-dir", "/var/spool/cloudkeeper/images/", "images are downloaded anew, into cache"),
    ("lock-file", "/var/lock/cloudkeeper/cloudkeeper.lock", "locks are kept beside the state"),
    ("debug", False, "write --log-level debug"),
)


def read_cloudkeeper(place: Path, secrets: Path, *, coexist: bool) -> Found:
    """Return what ``place`` says, a directory with ``cloudkeeper.yml`` or that file, and the backend's files.

    Those of the backend are looked for in the same directory and in the one called ``…-os`` beside it. With
    ``coexist`` images of cloudkeeper may stay where ours go.

    Raises:
        ConfigError: a file cannot be read, or makes no sense.
    """
    main = place / "cloudkeeper.yml" if place.is_dir() else place
    ledger = Ledger(secrets)
    settings = _settings(main)
    subscriptions: list[dict[str, Any]] = []
    backend = _backend(main.parent)
    vos = _projects(backend, ledger) if backend else {}
    for at, url in _urls(settings, main):
        _subscribe(url, at, subscriptions, (vos, settings), ledger)
    _say_what_is_left(settings, main, ledger)
    target = _target(backend, subscriptions, vos, ledger) if backend else {}
    if target:
        target |= {"formats": formats} if (formats := _formats(settings, main, ledger)) else {}
        target |= {"coexist": True} if coexist else {}
    else:
        ledger.remark(str(main.parent), "has no cloudkeeper-os.conf, also not beside it: write the target yourself")
    trust = anchors(str(settings.get("ca-dir") or USUAL_ANCHORS))
    return ledger.found(
        "cloudkeeper", {"trust": trust, "subscriptions": subscriptions, "targets": [target] if target else []}
    )


# --- lists -----------------------------------------------------------------------------------------------------------
def _settings(main: Path) -> Settings:
    try:
        found = read(main).get("cloudkeeper")
    except UnreadableError as error:
        raise ConfigError(str(main), "; ".join(error.problems), "name cloudkeeper's directory") from error
    if not isinstance(found, dict):
        raise ConfigError(str(main), "has no section cloudkeeper", "name cloudkeeper's directory")
    return found


def _urls(settings: Settings, main: Path) -> Iterator[tuple[str, str]]:
    """Yield where each list is named, and its URL."""
    given = settings.get("image-lists") or settings.get("image-list") or []
    for url in [given] if isinstance(given, str) else given:
        yield f"{main}: image-list", str(url)
    if not given and (name := settings.get("image-lists-file")):
        file = beside(main, str(name))
        lines = (line.strip() for line in _text(file).splitlines())
        yield from ((str(file), line) for line in lines if line and not line.startswith("#"))


def _subscribe(
    url: str, at: str, into: list[dict[str, Any]], known: tuple[Mapping[str, Project], Settings], ledger: Ledger
) -> None:
    """Add a subscription, switched off: cloudkeeper trusted every signer with a certificate of any of its CAs."""
    vos, settings = known
    plain, token, problem = without_token(url)
    vo = vo_of(plain) or (next(iter(vos)) if len(vos) == 1 else None)
    if problem:
        ledger.remark(f"{at} {plain}", problem)
    if vo is None:
        ledger.remark(f"{at} {plain}", "does not say which VO it is for: imagesync config init --from-list URL --vo VO")
        return
    name = unique(vo, (item["name"] for item in into))
    item: dict[str, Any] = {"name": name, "vo": vo, "url": plain}
    if token:
        item["token"] = ledger.keep(f"{name}.token", token, at)
    item["endorsers"] = [{"dn": UNCONFIRMED, "ca": UNCONFIRMED}]
    item["enabled"] = False
    into.append(item | tls(plain, str(settings.get("ca-dir") or USUAL_ANCHORS)))
    ledger.remark(
        f"{at} {plain}",
        "cloudkeeper did not say who may sign it: replace endorsers, then set enabled (imagesync list verify)",
    )


def _say_what_is_left(settings: Settings, main: Path, ledger: Ledger) -> None:
    for key, usual, why in _WITHOUT_COUNTERPART:
        if settings.get(key, usual) not in {usual, None}:
            ledger.remark(f"{main}: {key}", f"is not carried over: {why}")
    tools = settings.get("external-tools")
    timeout = tools.get("execution-timeout", 600) if isinstance(tools, dict) else 600
    if timeout != 600:
        ledger.remark(f"{main}: execution-timeout", "is not carried over: limits.convert_timeout is 4h")


def _formats(settings: Settings, main: Path, ledger: Ledger) -> list[str]:
    given = [str(name).lower() for name in settings.get("formats") or ()]
    for name in given:
        if name not in set(Format):
            ledger.remark(f"{main}: formats", f"{name} is no format of a target: images are unpacked from it")
    return [name for name in given if name in set(Format)]


# --- the target ------------------------------------------------------------------------------------------------------
def _backend(directory: Path) -> tuple[Path, Sections] | None:
    for place in (directory, directory.with_name(f"{directory.name}-os")):
        file = place / "cloudkeeper-os.conf"
        if file.exists():
            return file, read_sections(file)
    return None


def _projects(backend: tuple[Path, Sections], ledger: Ledger) -> dict[str, Project]:
    """Return the project of each VO, as version 0.9 keeps them. Version 2 has one project for everything."""
    file, sections = backend
    if "openstack" in sections:
        return {}
    given = sections.get("DEFAULT", {}).get("mapping_file")
    usual = (file.parent / name for name in ("mapping.json", "voms.json"))
    mapping = beside(file, given) if given else next((one for one in usual if one.exists()), file.parent / "voms.json")
    domain = _login(sections)[1].get("project_domain_name")
    found: dict[str, Project] = {}
    for vo, entry in _json(mapping).items():
        name = entry.get("project") or entry.get("tenant") if isinstance(entry, dict) else None
        if name:
            found[vo] = project(str(name), entry.get("domain") or domain)
        else:
            ledger.remark(f"{mapping}: {vo}", "names no project: add it to projects")
    return found


def _login(sections: Sections) -> tuple[str, Mapping[str, str]]:
    for name in ("openstack", "keystone_authtoken", "keystone_auth"):
        if name in sections:
            return name, sections[name]
    return "keystone_authtoken", {}


def _target(
    backend: tuple[Path, Sections],
    subscriptions: list[dict[str, Any]],
    vos: Mapping[str, Project],
    ledger: Ledger,
) -> dict[str, Any]:
    file, sections = backend
    name, section = _login(sections)
    wanted = [item["vo"] for item in subscriptions]
    one = openstack.scope(section)
    projects = dict(vos) or ({vo: one for vo in wanted if one is not None})
    followed = [item["name"] for item in subscriptions if item["vo"] in projects]
    for vo in sorted({vo for vo in wanted if vo not in projects}):
        ledger.remark(str(file), f"has no project for VO {vo}: add it to projects and to the target's subscriptions")
    target = {"name": "openstack", "backend": "glance", **openstack.login(section, f"{file}: [{name}]", ledger)}
    target["subscriptions"] = followed  # what else is followed here, now or later, is not for their project
    visibility = sections.get("appliances", {}).get("visibility") or sections.get("DEFAULT", {}).get("image_visibility")
    return target | _sharing(visibility or "private", projects, str(file), ledger)


def _sharing(visibility: str, projects: Mapping[str, Project], place: str, ledger: Ledger) -> dict[str, Any]:
    owners = list({str(owner): owner for owner in projects.values()}.values())
    if visibility in {"public", "community"} and len(owners) == 1:
        return {"visibility": visibility, "owner": owners[0]}
    if visibility != "private":
        ledger.remark(f"{place}: visibility", f"{visibility} is not carried over: each VO's project owns its images")
    return {"projects": dict(projects)}


# --- files -----------------------------------------------------------------------------------------------------------
def beside(file: Path, name: str) -> Path:
    """Return the file that ``file`` names; where there is none, one of that name beside it: a copy was made of both."""
    named = file.parent / name
    copy = file.parent / Path(name).name
    return copy if copy.exists() and not named.exists() else named


def _text(file: Path) -> str:
    try:
        return text_of(file).decode("utf-8")
    except (UnreadableError, UnicodeDecodeError) as error:
        raise ConfigError(str(file), str(error), "cloudkeeper's configuration names it") from error


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(file))
    except ValueError as error:
        raise ConfigError(str(file), f"is no JSON: {error}", "it should give each VO a project") from error
    if not isinstance(found, dict):
        raise ConfigError(str(file), "is no JSON object", "it should give each VO a project")
    return found
