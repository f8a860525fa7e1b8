"""A site on a real cloud, run by the real command line against a publisher on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from cloud.accounts import Project
from cloud.api import ImageApi
from cloud.cloud import Cloud, write_clouds_yaml
from cloud.configuration import FIRST_REGION

from imagesync.cli.main import run
from imagesync.lists.seal import SigningIdentity
from imagesync.testing.disks import Disk, Kind, write_disk
from imagesync.testing.list_server import ListServer, PublishedList, identity_of
from imagesync.testing.pki import Authority, ec_key, write_anchors

TAG = "imagesync:imagesync"


@dataclass(frozen=True)
class Result:
    """What a command left: its exit code, and both of its outputs."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def actions(self) -> list[dict[str, Any]]:
        """Return the actions on all targets."""
        return [action for target in self.json["targets"] for action in target["actions"]]

    def done(self) -> list[tuple[str, str]]:
        """Return (kind, title) of every action that changed something."""
        quiet = {"keep", "hold", "skip"}
        done = (one for one in self.actions if one["kind"] not in quiet and one["outcome"] == "done")
        return sorted((one["kind"], one["title"]) for one in done)

    def action(self, title: str) -> dict[str, Any]:
        (found,) = (one for one in self.actions if one["title"] == title)
        return found


@dataclass(frozen=True)
class Endorsement:
    """Who signs, and whom the site trusts; made once."""

    now: datetime
    anchors: Path
    endorser: SigningIdentity


@dataclass
class Site:
    """One list, one region of a cloud, one project, and what an operator does.

    ``target`` are the keys of the target beyond name and backend, ``options`` those of the whole configuration;
    ``entry`` is what clouds.yaml has of the cloud. ``configure`` writes all of it down.
    """

    trust: Endorsement
    root: Path
    cloud: Cloud
    project: Project
    published: PublishedList
    region: str = FIRST_REGION
    target: dict[str, Any] = field(default_factory=dict)
    more_targets: list[dict[str, Any]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    subscription: dict[str, Any] = field(default_factory=dict)
    entries: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def vo(self) -> str:
        return self.published.vo

    @property
    def config(self) -> Path:
        return self.root / "imagesync.yaml"

    @property
    def images(self) -> ImageApi:
        """Return the plain calls of the project's member to the region's Glance."""
        return self.project.images(self.region)

    # --- the publisher ---
    def disk(self, content: str, kind: Kind = Kind.RAW, size: int = 1280 << 10) -> Path:
        """Make a small disk; another content is another file."""
        (self.root / "publisher").mkdir(exist_ok=True)
        return write_disk(self.root / "publisher" / f"{content}{kind.suffix}", kind, Disk(content, size, size // 8))

    def offer(self, *titles: str, kind: Kind = Kind.RAW, **keys: object) -> None:
        """Put new images on the list; ``publish`` makes it known."""
        for title in titles:
            self.published.add(self.disk(title, kind), title=title, **keys)  # type: ignore[arg-type]

    def identifier(self, title: str) -> Any:
        (found,) = (image.identifier for image in self.published.images.values() if image.title == title)
        return found

    def replace(self, title: str, content: str, kind: Kind = Kind.RAW) -> None:
        self.published.replace(self.identifier(title), self.disk(content, kind))

    def withdraw(self, *titles: str) -> None:
        for title in titles:
            self.published.withdraw(self.identifier(title))

    # --- the site ---
    def configure(self, **changes: Any) -> None:
        """Write the configuration; ``changes`` are keys of the target that stay."""
        self.target.update(changes)
        write_clouds_yaml(self.root / "clouds.yaml", {"site": self.project.login().entry(self.region), **self.entries})
        endorser = identity_of(self.trust.endorser)
        subscription = {
            "name": "vo-list",
            "vo": self.vo,
            "url": self.published.url,
            "endorsers": [{"dn": endorser.dn, "ca": endorser.ca}],
            "allow_private_addresses": True,
            **self.subscription,
        }
        mine = {
            "backend": "glance",
            "cloud": "site",
            "formats": ["raw", "qcow2"],
            "projects": {self.vo: self.project.id},
        }
        targets = [{"name": name, **mine, **more} for name, more in (("site", self.target), *self._others())]
        config = {
            "state": f"sqlite:///{self.root / 'state.db'}",
            "cache": str(self.root / "cache"),
            "cache_reserve_bytes": 0,
            "trust": {"anchors": str(self.trust.anchors)},
            "limits": {"attempts": 1},
            "guard": {"min_images": 99},
            "subscriptions": [subscription],
            "targets": targets,
            **self.options,
        }
        self.config.write_text(yaml.safe_dump(config, sort_keys=False))

    def _others(self) -> Iterator[tuple[str, dict[str, Any]]]:
        yield from ((one["name"], one) for one in self.more_targets)

    def words(self, *arguments: object) -> list[str]:
        """Return what stands after the command's name."""
        return ["--config", str(self.config), *map(str, arguments)]

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "imagesync", *self.words(*arguments)]

    @property
    def env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        return {**kept, "OS_CLIENT_CONFIG_FILE": str(self.root / "clouds.yaml"), **self.environment}

    def run(self, *arguments: object) -> Result:
        """Run the command line in this process, which is quicker than starting one."""
        out, err = StringIO(), StringIO()
        words = ["imagesync", *self.words(*arguments)]
        with ExitStack() as stack:
            stack.enter_context(mock.patch.dict(os.environ, self.env, clear=True))
            stack.enter_context(mock.patch.multiple(sys, argv=words, stdin=TextIOWrapper(BytesIO())))
            stack.enter_context(redirect_stdout(out))
            stack.enter_context(redirect_stderr(err))
            ended = stack.enter_context(pytest.raises(SystemExit))
            run()
        return Result(int(ended.value.code or 0), out.getvalue(), err.getvalue())

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start the command line as a process of its own."""
        command = self.command("--log-level", "info", *arguments)
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env)

    def sync(self, *arguments: object) -> Result:
        return self.run("sync", "--json", *arguments)

    def publish_and_sync(self, *arguments: object) -> Result:
        self.published.publish()
        return self.sync(*arguments)

    # --- what there is ---
    def records(self, project: Project | None = None, region: str = "") -> list[dict[str, Any]]:
        """Return all records with our tag in a project, the hidden ones too."""
        images = (project or self.project).images(region or self.region)
        owner = (project or self.project).id
        found = [one for hidden in ("false", "true") for one in images.list(owner=owner, tag=TAG, os_hidden=hidden)]
        return sorted(found, key=lambda one: (one["name"], one["created_at"]))

    def states(self, **where: Any) -> list[tuple[str, str]]:
        """Return (title, status) of every record of ours; a hidden one says so."""
        return [
            (one["vmcatcher_event_dc_title"], one["status"] + (" hidden" if one["os_hidden"] else ""))
            for one in self.records(**where)
        ]

    def published_digests(self, **where: Any) -> dict[str, str]:
        """Return title and SHA-512 of what users can boot; a title that is there twice fails."""
        active = [one for one in self.records(**where) if one["status"] == "active" and not one["os_hidden"]]
        found = {one["vmcatcher_event_dc_title"]: one["os_hash_value"] for one in active}
        assert len(found) == len(active), self.states(**where)
        return found

    def endorsed(self) -> dict[str, str]:
        """Return title and SHA-512 of what the list says; for images that are passed on as they are."""
        return {image.title: image.sha512 for image in self.published.images.values()}


@pytest.fixture(scope="session")
def endorsement(tmp_path_factory: pytest.TempPathFactory) -> Endorsement:
    now = datetime.now(UTC).replace(microsecond=0)
    authority = Authority("/DC=org/DC=example/CN=Test CA", now, key=ec_key())
    endorser = authority.issue("/DC=org/DC=example/CN=Robot: endorser", key=ec_key())
    return Endorsement(now, write_anchors(tmp_path_factory.mktemp("anchors"), [authority]), endorser)


@pytest.fixture
def make_site(endorsement: Endorsement, tmp_path: Path) -> Iterator[Callable[[Cloud], Site]]:
    """Return a function that makes a site on a cloud, with a list and a project of its own."""
    with ListServer(endorsement.endorser, endorsement.now) as server:

        def make(on: Cloud) -> Site:
            project = on.project()
            site = Site(endorsement, tmp_path, on, project, server.add_list(f"{project.name}.example.org"))
            site.configure()
            return site

        yield make


@pytest.fixture
def site(make_site: Callable[[Cloud], Site], cloud: Cloud) -> Site:
    """Return a site on the shared cloud, whose list is empty and not published yet."""
    return make_site(cloud)
