"""The login at a cloud, from options of keystoneauth to settings of a target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagesync.config.predecessors.finds import Ledger, project
from imagesync.config.predecessors.oslo import is_true

_ALIASES = {
    "auth_plugin": "auth_type",
    "glance_interface": "interface",
    "identity_endpoint": "auth_url",
    "tenant_id": "project_id",
    "tenant_name": "project_name",
    "user_name": "username",
    "oidc_scope": "openid_scope",
    "scope": "openid_scope",
}
_PLAIN = (
    "auth_url",
    "username",
    "user_id",
    "user_domain_id",
    "user_domain_name",
    "default_domain_id",
    "default_domain_name",
    "application_credential_id",
    "application_credential_name",
    "identity_provider",
    "protocol",
    "client_id",
    "discovery_endpoint",
    "openid_scope",
    "access_token_type",
    "access_token_endpoint",
)
_SECRET = ("password", "client_secret", "application_credential_secret", "access_token", "passcode")
_SCOPE = ("project_id", "project_name", "project_domain_id", "project_domain_name")
_SETTINGS = {"region_name": "region_name", "interface": "interface", "cafile": "cacert", "auth_type": "auth_type"}
_NOT_A_LOGIN = frozenset(
    ("formats", "vo_map", "tag", "auth_section", "allow_remote_source", "api_call_timeout", "identity_api_version")
)


def login(section: Mapping[str, str], place: str, ledger: Ledger) -> dict[str, Any]:
    """Return the settings of a target that log in as ``section`` of another program's file does."""
    options = _ours(section)
    auth: dict[str, Any] = {key: options[key] for key in _PLAIN if options.get(key)}
    auth |= {
        key: ledger.keep(f"openstack.{key}", options[key], f"{place} {key}") for key in _SECRET if options.get(key)
    }
    settings = {name: options[key] for key, name in _SETTINGS.items() if options.get(key)}
    _say_what_is_left(options, place, ledger)
    return {"auth_type": "password"} | settings | {"auth": auth}


def scope(section: Mapping[str, str]) -> str | dict[str, str] | None:
    """Return the project that a login is for, if it says so."""
    options = _ours(section)
    name = options.get("project_id") or options.get("project_name")
    return project(name, options.get("project_domain_name")) if name else None


def _ours(section: Mapping[str, str]) -> dict[str, str]:
    options = {_ALIASES.get(key, key): value for key, value in section.items()}
    return {key.removeprefix("oidc_"): value for key, value in options.items()}


def _say_what_is_left(options: Mapping[str, str], place: str, ledger: Ledger) -> None:
    if is_true(options.get("insecure", "")):
        ledger.remark(f"{place} insecure", "certificates are always checked: give the cloud's CA as cacert")
    if options.get("auth_type") == "v3oidcrefreshtoken":
        ledger.remark(f"{place} auth_type", "keystoneauth has no such plugin: use v3oidcclientcredentials")
    known = {*_PLAIN, *_SECRET, *_SCOPE, *_SETTINGS, *_NOT_A_LOGIN, "insecure"}
    for key in sorted(options.keys() - known):
        ledger.remark(f"{place} {key}", "is not carried over: see what of it the target needs")
