"""A running Nova as a test sees it: it boots servers, without a network, on a host that pretends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import requests

from cloud.accounts import Project, User
from cloud.api import Api, ImageApi, Json, RefusedError
from cloud.cloud import Cloud, Service
from cloud.configuration import FIRST_REGION, SERVICE_PASSWORD
from cloud.nova_setup import nova_launch, nova_software, prepare_nova
from cloud.provisioning import DOMAIN, admin_login
from cloud.software import exclusive

FLAVOR = "tiny"
LIMIT = 60.0
_POLL = 0.2  # an answer costs Nova a tenth of a second


class ServerFailedError(Exception):
    """A server was accepted and then came to nothing."""


class ComputeApi(Api):
    """The Compute API, version 2.96."""

    __slots__ = ()

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        """Return the answer to a request."""
        more["headers"] = {"OpenStack-API-Version": "compute 2.96", **more.get("headers", {})}
        return Api.call(self, method, path, **more)

    def create(self, image: str, name: str = "server") -> str:
        """Return the id of a new server, which may not be there yet."""
        wanted = {"name": name, "imageRef": image, "flavorRef": FLAVOR, "networks": "none"}
        return str(self.call("POST", "/servers", json={"server": wanted}).json()["server"]["id"])

    def boot(self, image: str, name: str = "server") -> str:
        """Return the id of a new server that runs.

        Raises:
            RefusedError: Nova does not take the image.
            ServerFailedError: no host does.
        """
        return self.wait(self.create(image, name))

    def wait(self, server: str) -> str:
        """Return the id of a server once it runs."""
        for found in self._until(server):
            if found["status"] == "ERROR":
                raise ServerFailedError(found.get("fault", {}).get("message", "no reason given"))
            if found["status"] == "ACTIVE" and not found["OS-EXT-STS:task_state"]:
                return server
        raise ServerFailedError(f"{server} does not run after {LIMIT:.0f} s")

    def list(self, **filters: object) -> list[Json]:
        """Return the servers of the project."""
        found: list[Json] = self.get("/servers/detail", **filters)["servers"]
        return found

    def snapshot(self, server: str, name: str) -> str:
        """Return the id of an image of a server, which stays without data until ``fill_snapshot``."""
        answer = self.call("POST", f"/servers/{server}/action", json={"createImage": {"name": name}})
        self.wait(server)
        return str(answer.json()["image_id"])

    def delete(self, server: str) -> None:
        """Delete a server; return when it is gone."""
        self.call("DELETE", f"/servers/{server}")
        with suppress(_GoneError):
            for _found in self._until(server):
                pass
            raise ServerFailedError(f"{server} is still there after {LIMIT:.0f} s")

    def _until(self, server: str) -> Iterator[Json]:
        """Yield a server again and again, until the limit."""
        until = time.monotonic() + LIMIT
        while time.monotonic() < until:
            try:
                yield self.get(f"/servers/{server}")["server"]
            except RefusedError as error:
                if error.status == 404:
                    raise _GoneError(server) from error
                raise
            time.sleep(_POLL)


class _GoneError(ServerFailedError):
    """There is no such server, or no longer."""


@dataclass(frozen=True, slots=True)
class Nova:
    """The Nova of a cloud's first region."""

    service: Service

    def servers(self, project: Project, user: User | None = None) -> ComputeApi:
        """Return the calls of a project's member, or of another user."""
        return ComputeApi(project.session(user), {"service_type": "compute", "region_name": FIRST_REGION})


def fill_snapshot(images: ImageApi, snapshot: str) -> Json:
    """Return a snapshot after doing what a host does that has disks."""
    formats = {"disk_format": "raw", "container_format": "bare"}
    images.change(snapshot, *({"op": "replace", "path": f"/{name}", "value": value} for name, value in formats.items()))
    images.upload(snapshot, b"the disk of a server")
    return images.show(snapshot)


def open_nova(cloud: Cloud) -> Nova:
    """Return the Nova of a cloud, which the first caller of all processes starts."""
    home = cloud.directory / "nova"
    with exclusive(cloud.directory / "nova.lock"):
        servers = cloud.connection.ask("facts")["servers"]
        port: int = servers["nova"]["port"] if "nova" in servers else _start(cloud)
    return Nova(Service(cloud.connection, "nova", f"http://127.0.0.1:{port}", home))


def _start(cloud: Cloud) -> int:
    servers = nova_software()
    servers.check()
    port: int = cloud.connection.ask("reserve")["port"]
    home = cloud.directory / "nova"
    prepare_nova(home, servers, cloud.auth_url)
    _register(cloud, f"http://127.0.0.1:{port}")
    cloud.connection.ask("add", **nova_launch(home, servers, port).described())
    flavor = {"id": FLAVOR, "name": FLAVOR, "ram": 2048, "vcpus": 1, "disk": 2}
    # A new login: the catalogue of an old one has no Nova.
    api = ComputeApi(admin_login(cloud.auth_url).session(), {"service_type": "compute", "region_name": FIRST_REGION})
    api.call("POST", "/flavors", json={"flavor": flavor})
    return port


def _register(cloud: Cloud, url: str) -> None:
    identity = cloud.admin.identity
    project = identity.find("project", name="service")[0]["id"]
    user = identity.create("user", name="nova", password=SERVICE_PASSWORD, domain_id=DOMAIN)
    for role in ("service", "admin"):
        identity.grant(role, project, user=user)
    for kind, path in (("compute", "v2.1"), ("placement", "placement"), ("network", "network")):
        identity.create("service", name=kind, type=kind)
        identity.add_endpoint(FIRST_REGION, kind, f"{url}/{path}")
