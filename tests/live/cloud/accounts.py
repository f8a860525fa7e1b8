"""Projects, users and the ways they log in."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from keystoneauth1.session import Session

from cloud.api import TIMEOUT, Account, IdentityApi, ImageApi, Login, plain_session
from cloud.provisioning import DOMAIN, PROTOCOL, PROVIDER, password_login


@dataclass(frozen=True, slots=True)
class User:
    """A user of Keystone's own, with a password that is found nowhere else."""

    id: str
    name: str
    password: str


@dataclass(frozen=True, slots=True)
class Project:
    """A project and its first member; the identity calls are the administrator's."""

    admin: IdentityApi
    auth_url: str
    id: str
    name: str
    user: User

    def grant(self, user: User, role: str = "member") -> None:
        """Give a user a role here."""
        self.admin.grant(role, self.id, user=user.id)

    def revoke(self, user: User, role: str = "member") -> None:
        """Take a role from a user."""
        self.admin.revoke(role, self.id, user=user.id)

    def login(self, user: User | None = None) -> Login:
        """Return the login by password of the member, or of another user."""
        who = user or self.user
        return password_login(self.auth_url, who.name, who.password, self.name)

    def account(self, user: User | None = None) -> Account:
        """Return what the member, or another user, can call."""
        return self.login(user).account()

    def session(self, user: User | None = None) -> Session:
        """Return a keystoneauth session of the member, or of another user."""
        return self.login(user).session()

    def images(self, region: str = "RegionOne", url: str | None = None) -> ImageApi:
        """Return the member's calls of a region's Glance, or of what stands at ``url`` in place of it."""
        return self.account().images(region, url)

    def reader(self) -> User:
        """Return a new user who may only read."""
        user = make_user(self.admin)
        self.grant(user, "reader")
        return user

    def token_login(self) -> Login:
        """Return a login by a token of the member, which ends when it expires."""
        auth = {"auth_url": self.auth_url, "token": self.account().token, "project_id": self.id}
        return Login("v3token", auth)

    def application_credential(
        self, access_rules: Sequence[Mapping[str, str]] = (), roles: Sequence[str] = ("member",)
    ) -> Login:
        """Return the login by a new application credential of the member.

        An access rule is ``{"service": "image", "method": "GET", "path": "/v2/images"}``.
        """
        rules = {"access_rules": [dict(rule) for rule in access_rules]} if access_rules else {}
        wanted = {"name": uuid4().hex, "roles": [{"name": role} for role in roles], **rules}
        path = f"/users/{self.user.id}/application_credentials"
        answer = self.account().identity.call("POST", path, json={"application_credential": wanted})
        found = answer.json()["application_credential"]
        auth = {
            "auth_url": self.auth_url,
            "application_credential_id": found["id"],
            "application_credential_secret": found["secret"],
        }
        return Login("v3applicationcredential", auth)


@dataclass(frozen=True, slots=True)
class Federation:
    """Users that an OpenID provider knows and Keystone does not: they have roles by their groups."""

    auth_url: str
    provider_url: str

    def join(self, project: Project, role: str = "member") -> Member:
        """Return a new federated user, and a client that logs in for itself, with a role on a project."""
        name = f"federated-{uuid4().hex[:12]}"
        group = project.admin.create("group", name=f"group-of-{name}", domain_id=DOMAIN)
        project.admin.grant(role, project.id, group=group)
        member = Member(self, project, name, secrets.token_hex(12), f"client-of-{name}", secrets.token_hex(12))
        groups = [f"group-of-{name}"]
        who = {
            "users": {name: member.password},
            "clients": {member.client_id: member.client_secret},
            "groups": {name: groups, f"client-{member.client_id}": groups},
        }
        self.post("/register", json.dumps(who))
        return member

    def post(self, path: str, body: str | Mapping[str, str]) -> dict[str, Any]:
        """Return the provider's answer to a text or a form."""
        with plain_session() as session:
            answer = session.post(self.provider_url + path, data=body, timeout=TIMEOUT)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


@dataclass(frozen=True, slots=True)
class Member:
    """A federated user and a client."""

    federation: Federation
    project: Project
    name: str
    password: str
    client_id: str
    client_secret: str

    def access_token(self) -> str:
        """Return a new access token of the user."""
        form = {
            "grant_type": "password",
            "username": self.name,
            "password": self.password,
            "client_id": self.client_id,
            "client_secret": self.client_secret,
        }
        return str(self.federation.post("/token", form)["access_token"])

    def expire_tokens(self) -> None:
        """Let all access tokens of the user end now; tokens that Keystone gave for them go on."""
        self.federation.post("/expire", {"name": self.name})

    def by_access_token(self) -> Login:
        """Return the login by a new access token."""
        return self._login("v3oidcaccesstoken", access_token=self.access_token())

    def by_client_credentials(self) -> Login:
        """Return the login of the client for itself."""
        return self._login("v3oidcclientcredentials", **self._client())

    def by_password(self) -> Login:
        """Return the login by the password at the provider."""
        return self._login("v3oidcpassword", username=self.name, password=self.password, **self._client())

    def _client(self) -> dict[str, str]:
        return {
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "discovery_endpoint": f"{self.federation.provider_url}/.well-known/openid-configuration",
        }

    def _login(self, auth_type: str, **auth: str) -> Login:
        common = {
            "auth_url": self.federation.auth_url,
            "identity_provider": PROVIDER,
            "protocol": PROTOCOL,
            "project_id": self.project.id,
        }
        return Login(auth_type, common | auth)


def make_user(admin: IdentityApi) -> User:
    """Return a new user without any role."""
    name, password = f"user-{uuid4().hex[:12]}", secrets.token_hex(12)
    return User(admin.create("user", name=name, password=password, domain_id=DOMAIN), name, password)
