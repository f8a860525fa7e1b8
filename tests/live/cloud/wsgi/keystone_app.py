"""Keystone behind a stand-in for the web server module that reads OpenID Connect tokens (``AuthType oauth20``).

For the federation's login path it asks the provider at ``$OIDC_PROVIDER`` about the bearer token and hands what it
says to Keystone's mapping in the variables that such a module would set.
"""

import json
import os
import re
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

sys.argv = ["keystone"]  # Keystone reads it, and would take the server's own options for its own

import sqlite_serial  # noqa: E402, F401 - must come before the service
from keystone.wsgi.api import application as keystone  # noqa: E402

Environ = dict[str, Any]

LOGIN = re.compile(r"/v3/OS-FEDERATION/identity_providers/[^/]+/protocols/openid/auth/?")


def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a request as Keystone does; a login by token needs one that the provider calls active."""
    for name in [name for name in environ if name.startswith("HTTP_OIDC_") or name == "REMOTE_USER"]:
        del environ[name]  # never believed from outside
    if LOGIN.fullmatch(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")):
        claims = _claims(environ.pop("HTTP_AUTHORIZATION", ""))
        if not claims.pop("active", False):
            start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("Content-Length", "0")])
            return [b""]
        environ |= {f"HTTP_OIDC_{name.upper()}": str(value) for name, value in claims.items()}
        environ |= {"REMOTE_USER": claims["sub"], "AUTH_TYPE": "oauth20"}
    answer: Iterable[bytes] = keystone(environ, start_response)
    return answer


def _claims(authorization: str) -> dict[str, Any]:
    kind, _, token = authorization.partition(" ")
    if kind.lower() != "bearer":
        return {}
    form = urllib.parse.urlencode({"token": token}).encode()
    with urllib.request.urlopen(os.environ["OIDC_PROVIDER"] + "/introspect", form, timeout=30) as answer:
        claims: dict[str, Any] = json.load(answer)
    return claims
