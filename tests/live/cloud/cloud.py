"""A running cloud as a test sees it: Keystone, one Glance per region, projects and users."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import yaml

from cloud.accounts import Federation, Project, User, make_user
from cloud.api import Account
from cloud.configuration import FIRST_REGION
from cloud.connection import Connection, connect
from cloud.provisioning import DOMAIN, admin_login
from cloud.software import exclusive


@dataclass(frozen=True, slots=True)
class Service:
    """A server of the cloud. Whoever stops one that others use stops it for them."""

    connection: Connection
    name: str
    url: str
    home: Path

    @property
    def pid(self) -> int | None:
        """Return the process number, also of its group; None while it is down."""
        pid: int | None = self.connection.ask("facts")["servers"][self.name]["pid"]
        return pid

    @property
    def region(self) -> str:
        """Return the region of a Glance."""
        return self.name.removeprefix("glance-")

    @property
    def log(self) -> str:
        """Return what the server printed so far."""
        return (self.home / "log").read_text(errors="replace")

    def start(self, extra: str | None = None) -> None:
        """Start it at the same address, and wait until it answers; does nothing when it runs.

        ``extra`` is text for the end of a Glance's configuration, in place of what was given before; with it, a
        server that runs is stopped first.
        """
        self.connection.ask("start", name=self.name, extra=extra)

    def stop(self) -> None:
        """Stop it as an operator does."""
        self.connection.ask("stop", name=self.name)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.connection.ask("kill", name=self.name)


class Cloud:
    """The cloud in a directory. The first that opens it starts it, the last that closes it stops it."""

    def __init__(self, directory: Path) -> None:
        """Connect, and wait until Keystone and the first region's Glance answer."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory.resolve()
        self.connection, facts = connect(self.directory)
        self.auth_url: str = facts["identity"]
        self.admin: Account = admin_login(self.auth_url).account()
        self.federation = Federation(self.auth_url, facts["openid"])

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Leave the cloud; the last one returns when every server has ended and only the logs are left."""
        self.connection.close()

    @property
    def keystone(self) -> Service:
        """Return Keystone."""
        return self._service("keystone", self.connection.ask("facts"))

    def glance(self, region: str = FIRST_REGION, extra: str = "") -> Service:
        """Return the Glance of a region, started and put into the catalogue when it is the first time.

        ``extra`` is text for the end of its configuration; it counts at the first time only.
        """
        name = f"glance-{region}"
        facts = self.connection.ask("facts")
        if name not in facts["servers"]:
            with exclusive(self.directory / "regions.lock"):
                facts = self.connection.ask("glance", region=region, extra=extra)
                self.add_region(region, self._service(name, facts).url)
        return self._service(name, facts)

    def glance_url(self, region: str = FIRST_REGION) -> str:
        """Return the address of a region's Glance, which is started when it was not."""
        return self.glance(region).url

    def add_region(self, region: str, url: str) -> None:
        """Put an image service at any address, such as a proxy's, into the catalogue, unless the region has one."""
        identity = self.admin.identity
        if not identity.find("endpoint", region_id=region):
            identity.add_endpoint(region, "image", url)

    def remove_region(self, region: str) -> None:
        """Take a region out of the catalogue, and end its Glance with its data when it is one of ours."""
        self.admin.identity.remove_region(region)
        if f"glance-{region}" in self.connection.ask("facts")["servers"]:
            self.connection.ask("remove", name=f"glance-{region}")

    def project(self, name: str | None = None) -> Project:
        """Return a new project with a user of its own who is a member."""
        name = name or f"project-{uuid4().hex[:12]}"
        identifier = self.admin.identity.create("project", name=name, domain_id=DOMAIN)
        project = Project(self.admin.identity, self.auth_url, identifier, name, make_user(self.admin.identity))
        project.grant(project.user)
        return project

    def user(self, projects: Iterable[Project] = (), role: str = "member") -> User:
        """Return a new user with a role on each of the projects."""
        user = make_user(self.admin.identity)
        for project in projects:
            project.grant(user, role)
        return user

    def _service(self, name: str, facts: Mapping[str, Any]) -> Service:
        found = facts["servers"][name]
        url = self.auth_url if name == "keystone" else f"http://127.0.0.1:{found['port']}"
        return Service(self.connection, name, url, Path(found["home"]))


def write_clouds_yaml(path: Path, entries: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write the entries, as ``Login.entry`` makes them, to ``path`` with mode 0600; return it."""
    text = yaml.safe_dump({"clouds": {name: dict(entry) for name, entry in entries.items()}}, sort_keys=False)
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
    return path
