"""Plain calls to Keystone and Glance, for preparing and asserting: nothing here knows imagesync."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import requests
from keystoneauth1 import loading
from keystoneauth1.session import Session

TIMEOUT = 120

Json = dict[str, Any]


class RefusedError(Exception):
    """A service answered with an error."""

    def __init__(self, answer: requests.Response) -> None:
        """Keep the answer."""
        super().__init__(f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text[:1000]}")
        self.status: int = answer.status_code


def plain_session() -> requests.Session:
    """Return a session that the caller's environment, with its proxies, does not reach."""
    session = requests.Session()
    session.trust_env = False
    return session


@dataclass(frozen=True, slots=True)
class Login:
    """How somebody logs in: a keystoneauth plugin and its options, as in clouds.yaml."""

    auth_type: str
    auth: Mapping[str, Any]

    def entry(self, region: str = "RegionOne", **more: object) -> Json:
        """Return an entry of clouds.yaml."""
        return {"auth_type": self.auth_type, "auth": dict(self.auth), "region_name": region, **more}

    def session(self) -> Session:
        """Return a keystoneauth session."""
        plugin: Any = loading.get_plugin_loader(self.auth_type).load_from_options(**self.auth)
        return Session(auth=plugin, session=plain_session(), timeout=TIMEOUT)

    def account(self) -> Account:
        """Return what the holder can call."""
        return Account(self)


@dataclass
class Account:
    """Somebody who is logged in."""

    login: Login

    @cached_property
    def session(self) -> Session:
        """Return the session, made at first use."""
        return self.login.session()

    @property
    def token(self) -> str:
        """Return a token that is valid now."""
        return str(self.session.get_token())

    @property
    def identity(self) -> IdentityApi:
        """Return Keystone's calls."""
        return IdentityApi(self.session, {"service_type": "identity"})

    def images(self, region: str = "RegionOne", url: str | None = None) -> ImageApi:
        """Return the calls of a region's Glance, or of what stands at ``url`` in place of it."""
        return ImageApi(self.session, {"service_type": "image", "region_name": region}, url)


@dataclass(frozen=True, slots=True)
class Api:
    """The calls of one service."""

    session: Session
    endpoint: Mapping[str, str] = field(default_factory=dict)
    url: str | None = None

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        """Return the answer to a request; ``json``, ``data``, ``params`` and ``headers`` as for requests.

        Raises:
            RefusedError: the status is 400 or more.
        """
        more.setdefault("headers", {}).setdefault("Accept", "*/*" if path.endswith("/file") else "application/json")
        answer: requests.Response = self.session.request(
            path,
            method,
            endpoint_filter=dict(self.endpoint),
            endpoint_override=self.url,
            raise_exc=False,
            **more,
        )
        if answer.status_code >= 400:
            raise RefusedError(answer)
        return answer

    def get(self, path: str, **params: object) -> Json:
        """Return the decoded answer to a GET."""
        found: Json = self.call("GET", path, params=params).json()
        return found


class ImageApi(Api):
    """The Image API, version 2."""

    __slots__ = ()

    def list(self, **filters: object) -> Iterator[Json]:
        """Yield every image that the filters let through, over all pages."""
        page = self.get("/v2/images", limit=1000, **filters)
        yield from page["images"]
        while "next" in page:
            page = self.get(page["next"])
            yield from page["images"]

    def show(self, image: str) -> Json:
        """Return a record."""
        return self.get(f"/v2/images/{image}")

    def create(self, **values: object) -> Json:
        """Return a new record without data; raw and bare unless told."""
        body = {"disk_format": "raw", "container_format": "bare", **values}
        found: Json = self.call("POST", "/v2/images", json=body).json()
        return found

    def upload(self, image: str, data: bytes | Iterable[bytes]) -> None:
        """Send an image's data."""
        headers = {"Content-Type": "application/octet-stream"}
        self.call("PUT", f"/v2/images/{image}/file", data=data, headers=headers)

    def add(self, name: str, data: bytes = b"data", **values: object) -> Json:
        """Return a new active image."""
        image = self.create(name=name, **values)
        self.upload(image["id"], data)
        return self.show(image["id"])

    def download(self, image: str) -> bytes:
        """Return an image's data."""
        return self.call("GET", f"/v2/images/{image}/file").content

    def change(self, image: str, *operations: Json) -> Json:
        """Return a record after JSON patch operations."""
        headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        found: Json = self.call("PATCH", f"/v2/images/{image}", json=operations, headers=headers).json()
        return found

    def act(self, image: str, action: str) -> None:
        """Do ``deactivate`` or ``reactivate``."""
        self.call("POST", f"/v2/images/{image}/actions/{action}")

    def delete(self, image: str) -> None:
        """Delete an image."""
        self.call("DELETE", f"/v2/images/{image}")

    def members(self, image: str) -> dict[str, str]:
        """Return the status of each member project."""
        found = self.get(f"/v2/images/{image}/members")["members"]
        return {member["member_id"]: member["status"] for member in found}

    def add_member(self, image: str, project: str) -> None:
        """Offer an image to a project."""
        self.call("POST", f"/v2/images/{image}/members", json={"member": project})

    def answer_member(self, image: str, project: str, status: str) -> None:
        """Let a project, whose call this is, accept or reject an image."""
        self.call("PUT", f"/v2/images/{image}/members/{project}", json={"status": status})


class IdentityApi(Api):
    """The Identity API, version 3, as far as tests need it."""

    __slots__ = ()

    def find(self, kind: str, **filters: object) -> list[Json]:
        """Return the records of a kind, such as ``role``."""
        found: list[Json] = self.get(f"/{kind}s", **filters)[f"{kind}s"]
        return found

    def create(self, kind: str, **values: object) -> str:
        """Return the id of a new record."""
        return str(self.call("POST", f"/{kind}s", json={kind: values}).json()[kind]["id"])

    def grant(self, role: str, project: str, *, user: str | None = None, group: str | None = None) -> None:
        """Give a user or a group a role, by its name, on a project."""
        found = self.find("role", name=role)[0]["id"]
        who = f"users/{user}" if user else f"groups/{group}"
        self.call("PUT", f"/projects/{project}/{who}/roles/{found}")

    def revoke(self, role: str, project: str, *, user: str) -> None:
        """Take a role from a user."""
        found = self.find("role", name=role)[0]["id"]
        self.call("DELETE", f"/projects/{project}/users/{user}/roles/{found}")

    def add_endpoint(self, region: str, kind: str, url: str) -> None:
        """Put a service of a kind at an address into the catalogue; the region is made when it is new."""
        if not any(found["id"] == region for found in self.find("region")):
            self.call("POST", "/regions", json={"region": {"id": region}})
        service = self.find("service", type=kind)[0]["id"]
        for interface in ("public", "internal", "admin"):
            self.create("endpoint", service_id=service, interface=interface, url=url, region_id=region)

    def remove_region(self, region: str) -> None:
        """Remove a region with its endpoints."""
        for endpoint in self.find("endpoint", region_id=region):
            self.call("DELETE", f"/endpoints/{endpoint['id']}")
        self.call("DELETE", f"/regions/{region}")
