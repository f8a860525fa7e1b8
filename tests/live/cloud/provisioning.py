"""What a fresh Keystone is given once: the service user, the image service, and the federation."""

from __future__ import annotations

from cloud.api import Account, Login
from cloud.configuration import ADMIN_PASSWORD, FIRST_REGION, ISSUER, SERVICE_PASSWORD, Address

DOMAIN = "default"
PROVIDER = "example"
PROTOCOL = "openid"


def password_login(auth_url: str, user: str, password: str, project: str) -> Login:
    """Return a login by names and password."""
    auth = {
        "auth_url": auth_url,
        "username": user,
        "password": password,
        "project_name": project,
        "user_domain_id": DOMAIN,
        "project_domain_id": DOMAIN,
    }
    return Login("password", auth)


def admin_login(auth_url: str) -> Login:
    """Return the login of the administrator."""
    return password_login(auth_url, "admin", ADMIN_PASSWORD, "admin")


def provision(address: Address) -> None:
    """Fill a Keystone that knows its administrator only."""
    identity = Account(admin_login(address.identity)).identity
    project = identity.create("project", name="service", domain_id=DOMAIN)
    user = identity.create("user", name="glance", password=SERVICE_PASSWORD, domain_id=DOMAIN)
    for role in ("service", "admin"):
        identity.grant(role, project, user=user)
    identity.create("service", name="glance", type="image")
    identity.add_endpoint(FIRST_REGION, "image", "http://127.0.0.1:9")
    # A user is in the groups that the provider names; a group has roles on projects.
    rule = {
        "local": [{"user": {"name": "{0}"}}, {"groups": "{1}", "domain": {"id": DOMAIN}}],
        "remote": [
            {"type": "HTTP_OIDC_PREFERRED_USERNAME"},
            {"type": "HTTP_OIDC_GROUPS"},
            {"type": "HTTP_OIDC_ISS", "any_one_of": [ISSUER]},
        ],
    }
    provider = f"/OS-FEDERATION/identity_providers/{PROVIDER}"
    identity.call("PUT", "/OS-FEDERATION/mappings/example", json={"mapping": {"rules": [rule]}})
    identity.call("PUT", provider, json={"identity_provider": {"enabled": True, "remote_ids": [ISSUER]}})
    identity.call("PUT", f"{provider}/protocols/{PROTOCOL}", json={"protocol": {"mapping_id": "example"}})
