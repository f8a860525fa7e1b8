"""The first request of a kind, made alone.

Keystone and Glance load their policies at the first request, and refuse a second one (403) that comes meanwhile.
"""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from cloud.configuration import ADMIN_PASSWORD
from cloud.process import DIRECT

TIMEOUT = 60


def warm_keystone(url: str) -> str:
    """Make Keystone load its policies; return a token of the administrator."""
    domain = {"id": "default"}
    user = {"name": "admin", "password": ADMIN_PASSWORD, "domain": domain}
    auth: dict[str, Any] = {
        "identity": {"methods": ["password"], "password": {"user": user}},
        "scope": {"project": {"name": "admin", "domain": domain}},
    }
    login = urllib.request.Request(
        f"{url}/auth/tokens", json.dumps({"auth": auth}).encode(), {"Content-Type": "application/json"}
    )
    with DIRECT.open(login, timeout=TIMEOUT) as answer:
        token = str(answer.headers["X-Subject-Token"])
    _get(f"{url}/projects", token)
    return token


def warm_glance(url: str, token: str) -> None:
    """Make a Glance load its policies."""
    _get(f"{url}/v2/images", token)


def _get(url: str, token: str) -> None:
    with DIRECT.open(urllib.request.Request(url, headers={"X-Auth-Token": token}), timeout=TIMEOUT) as answer:
        answer.read()
