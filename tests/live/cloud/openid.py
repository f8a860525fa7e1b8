"""An OpenID Connect provider: opaque tokens and introspection, and users as a test wants them.

``POST /register`` with ``{"clients": {id: secret}, "users": {name: password}, "groups": {name: [group, ...]}}`` adds
who may log in; a client that logs in for itself is the user ``client-ID``. ``POST /expire`` ends all tokens of a user.
"""

from __future__ import annotations

import base64
import json
import secrets
import sys
import time
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cloud.configuration import ISSUER

LIFETIME = 3600

Answer = tuple[int, dict[str, Any]]
Form = dict[str, str]


@dataclass(slots=True)
class Provider:
    """Who may log in, and the tokens that were given out. Every change is one assignment, so threads do no harm."""

    clients: dict[str, str] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)

    def register(self, who: dict[str, Any]) -> Answer:
        """Add clients, users and their groups."""
        self.clients |= who.get("clients", {})
        self.users |= who.get("users", {})
        self.groups |= who.get("groups", {})
        return 200, {}

    def expire(self, form: Form) -> Answer:
        """End the tokens of the user ``name``."""
        for claims in list(self.tokens.values()):
            if claims["preferred_username"] == form["name"]:
                claims["exp"] = 0
        return 200, {}

    def token(self, form: Form, client: str, secret: str) -> Answer:
        """Log in."""
        if self.clients.get(client) != secret or not secret:
            return 401, {"error": "invalid_client"}
        match form.get("grant_type"):
            case "client_credentials":
                return 200, self._issue(f"client-{client}")
            case "password":
                name = form.get("username", "")
                if self.users.get(name) != form.get("password"):
                    return 401, {"error": "invalid_grant"}
                return 200, self._issue(name)
        return 400, {"error": "unsupported_grant_type"}

    def introspect(self, form: Form) -> Answer:
        """Say whose a token is."""
        claims = self.tokens.get(form.get("token", ""))
        if claims is None or claims["exp"] < time.time():
            return 200, {"active": False}
        return 200, {"active": True, **claims}

    def _issue(self, name: str) -> dict[str, Any]:
        token = secrets.token_urlsafe(24)
        self.tokens[token] = {
            "iss": ISSUER,
            "sub": f"{name}@login.example.org",
            "preferred_username": name,
            "email": f"{name}@example.org",
            "groups": ";".join(self.groups.get(name, [])),
            "exp": int(time.time()) + LIFETIME,
        }
        return {"access_token": token, "token_type": "Bearer", "expires_in": LIFETIME}


def discovery(base: str) -> dict[str, Any]:
    """Return what clients read first."""
    return {
        "issuer": ISSUER,
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        "introspection_endpoint": f"{base}/introspect",
        "grant_types_supported": ["password", "client_credentials"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }


class _Exchange(BaseHTTPRequestHandler):
    provider: Provider

    def do_GET(self) -> None:
        if self.path == "/.well-known/openid-configuration":
            self._answer((200, discovery(f"http://{self.headers['Host']}")))
        else:
            self._answer((404, {"error": "not_found"}))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if self.path == "/register":
            self._answer(self.provider.register(json.loads(body)))
            return
        form = dict(urllib.parse.parse_qsl(body))
        match self.path:
            case "/expire":
                self._answer(self.provider.expire(form))
            case "/introspect":
                self._answer(self.provider.introspect(form))
            case "/token":
                self._answer(self.provider.token(form, *self._client(form)))
            case _:
                self._answer((404, {"error": "not_found"}))

    def _client(self, form: Form) -> tuple[str, str]:
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        if kind == "Basic":
            name, _, secret = base64.b64decode(value).decode().partition(":")
            return name, secret
        return form.get("client_id", ""), form.get("client_secret", "")

    def _answer(self, answer: Answer) -> None:
        body = json.dumps(answer[1]).encode()
        self.send_response(answer[0])
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve on the port given as argument."""
    _Exchange.provider = Provider()
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Exchange).serve_forever()


if __name__ == "__main__":
    main()
