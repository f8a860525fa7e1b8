"""The description of the API, OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from imagesync import __version__

_TIME = {"type": ["string", "null"], "format": "date-time"}
_WORDS = {"type": "array", "items": {"type": "string"}}
_TEXT = {"type": "string"}
_MAYBE = {"type": ["string", "null"]}
_COUNT = {"type": "integer", "minimum": 0}


def _object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:  # noqa: ANN401 - keywords of JSON Schema
    return {"type": "object", "properties": properties, "required": list(properties), **more}


def _array(name: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}


def _maybe(name: str) -> dict[str, Any]:
    return {"anyOf": [{"$ref": f"#/components/schemas/{name}"}, {"type": "null"}]}


_LEVEL = {"type": "string", "enum": ["ok", "warning", "critical"]}
_SCHEMAS = {
    "Status": _object(
        {
            "at": {"type": "string", "format": "date-time"},
            "version": _TEXT,
            "instance": _TEXT,
            "level": _LEVEL,
            "findings": _array("Finding"),
            "lists": _array("List"),
            "targets": _array("Target"),
            "running": _array("Pass"),
            "next": {"type": "object", "additionalProperties": {"type": "string", "format": "date-time"}},
        },
        description="How things stand by what the state says. The targets are not asked.",
    ),
    "Finding": _object(
        {"level": _LEVEL, "matter": _TEXT, "subject": _TEXT, "key": _MAYBE, "title": _MAYBE, "text": _TEXT}
        | {"since": _TIME, "next": _TEXT},
        description="Something that is not as endorsed: since when, why, and what will be done when.",
    ),
    "List": _object(
        {"name": _TEXT, "vo": _TEXT, "url": _TEXT, "enabled": {"type": "boolean"}}
        | {"followed": {"type": "boolean"}, "paused": _maybe("Pause")}
        | {
            "verdict": {
                "type": "string",
                "enum": ["trusted", "refused", "unavailable", "switched off", "paused", "not looked at yet"],
            }
        }
        | {"reason": _TEXT, "hint": _TEXT, "warnings": _WORDS, "notices": _array("Notice"), "since": _TIME}
        | {"identifier": _MAYBE, "version": _MAYBE, "created": _TIME, "expires": _TIME, "verified": _TIME}
        | {"signer": _maybe("Signer")}
        | {"images": _COUNT, "next": _TIME}
        | {"last_pass": _maybe("LastPass")},
    ),
    "Notice": _object({"level": _LEVEL, "matter": _TEXT, "subject": _TEXT, "at": _TIME, "text": _TEXT}),
    "Signer": _object({"dn": _TEXT, "ca": _TEXT, "not_after": _TIME, "sha256": _TEXT}),
    "LastPass": _object({"ended": _TIME, "exit": {"type": "integer"}, "failures": _COUNT}),
    "Target": _object(
        {"name": _TEXT, "backend": _TEXT, "error": _MAYBE, "since": _TIME, "notices": _WORDS, "paused": _maybe("Pause")}
        | {"counts": {"type": "object", "additionalProperties": _COUNT}, "images": _array("Image")},
    ),
    "Image": _object(
        {"ref": _TEXT, "key": _TEXT, "title": _TEXT, "state": _TEXT, "reason": _TEXT, "since": _TIME}
        | {"digest": _MAYBE, "format": _TEXT, "vo": _TEXT, "signer": _TEXT, "list": _MAYBE, "boot": _MAYBE}
        | {"failures": _COUNT, "retry_at": _TIME},
    ),
    "Pause": _object(
        {"reason": _TEXT, "by": _TEXT, "since": {"type": "string", "format": "date-time"}, "until": _TIME},
        description="What an operator paused: nothing is changed but what dates and recalls want.",
    ),
    "Pass": _object({"name": _TEXT, "since": _TIME, "tasks": _array("Task")}),
    "Task": _object({"step": _TEXT, "title": _TEXT, "total": _COUNT, "done": _COUNT}),
    "Due": _object({"list": _TEXT, "due": {"type": "string", "format": "date-time"}}),
    "Error": _object({"error": _TEXT}),
}


def _answer(text: str, schema: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _plain(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"text/plain": {"schema": _TEXT}}}


_REFUSED = {"401": _plain("The secret of ``daemon.auth`` is missing or wrong.")}
_UNREADABLE = {"503": _answer("The state cannot be read.", "Error")}


def _get(name: str, summary: str, answers: dict[str, Any], *, is_open: bool = False) -> dict[str, Any]:
    operation = {"operationId": name, "summary": summary, "responses": answers}
    return {"get": operation | ({"security": []} if is_open else {})}


_PATHS = {
    "/api/v1/status": _get(
        "status", "How things stand.", {"200": _answer("Everything.", "Status"), **_REFUSED, **_UNREADABLE}
    ),
    "/api/v1/openapi.json": _get(
        "description",
        "This description.",
        {"200": {"description": "It.", "content": {"application/json": {"schema": {"type": "object"}}}}, **_REFUSED},
    ),
    "/api/v1/lists/{name}/sync": {
        "post": {
            "operationId": "sync",
            "summary": "Make the pass over a list due now. Only where daemon.auth is set, with a bearer token.",
            "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
            "responses": {
                "202": _answer("It is due.", "Due"),
                "403": _answer("No daemon.auth is set, or this was no bearer token.", "Error"),
                "404": _answer("No such list, or it is switched off.", "Error"),
                **_REFUSED,
            },
        }
    },
    "/healthz": _get(
        "alive",
        "Whether the daemon is alive.",
        {"200": _plain("It is."), "503": _plain("Nothing is started.")},
        is_open=True,
    ),
    "/readyz": _get(
        "ready",
        "Whether the state can be read and every list was looked at once.",
        {"200": _plain("It is."), "503": _plain("Not yet.")},
        is_open=True,
    ),
    "/metrics": _get(
        "metrics",
        "Metrics in Prometheus' text format.",
        {"200": _plain("They."), **_REFUSED, "503": _plain("No state.")},
    ),
}


def description() -> dict[str, Any]:
    """Return the description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "imagesync",
            "version": __version__,
            "summary": "How a cloud's image catalogue stands against the signed lists that it follows.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _PATHS,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
        "security": [{}, {"bearer": []}, {"basic": []}],
    }
