"""Puts everything that a plan would register into a directory target at once, with the target's own parts.

A pass would write the catalogue three times per image; the measurements of what comes after that need not wait for it.
"""

import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import structlog
from imagesync_directory.catalogue import Catalogue
from imagesync_directory.disk import Disk
from imagesync_directory.entry import Entry, Sighting, begin
from imagesync_directory.files import copy
from imagesync_directory.folder import Folder
from imagesync_directory.names import file_name
from scene import Scene

from imagesync.backend import Format, State
from imagesync.config.load import load
from imagesync.images.inspect import inspect
from imagesync.plan.spec import File, Wanted, complete, fingerprint
from imagesync.plan.values import Kind, Plan
from imagesync.run.progress import Silent
from imagesync.run.settings import Scope
from imagesync.run.sync import run_pass
from imagesync.run.wiring import open_ports, task


def register(site: Scene) -> int:
    """Fill the catalogue with the raw images that ``site`` publishes and return their number."""
    found = plan(site)
    published = {action.key: action.wanted for action in found.actions if action.kind is Kind.REGISTER}
    folder = Folder(site.catalogue, 60.0, Disk())
    folder.prepare()
    files = {path.name: path for path in site.root.glob("disks-*/*.img")}
    entries = [
        _entry(wanted, files[wanted.image.uri.rpartition("/")[2]], folder, found) for wanted in published.values()
    ]
    with folder.locked():
        folder.commit(Catalogue(), Catalogue(tuple(entries)))
    return len(entries)


def plan(site: Scene) -> Plan:
    """Return what a pass would do on the only target."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    config = load(site.config, {})
    work = task(config, Scope(), datetime.now(UTC), dry=True)
    with open_ports(config, {}, work, Silent()) as ports:
        result = run_pass(work, ports)
    return result.targets[0].plan


def _entry(wanted: Wanted, source: Path, folder: Folder, found: Plan) -> Entry:
    facts = inspect(source)
    form = fingerprint(wanted.image.sha512, Format.RAW, "")
    file = File(form, wanted.image.sha512, facts.size, facts.virtual_size, Format.RAW, Format.RAW)
    spec = complete(wanted, file, found.at)
    stored = folder.root / file_name(form, Format.RAW)
    copy(source, stored, folder.disk, lambda _: None)
    sighting = Sighting(facts.size, stored.stat().st_mtime_ns, file.digest)
    return replace(begin(spec, "imagesync", stored.name), stored=sighting).moved(State.PUBLISHED)
