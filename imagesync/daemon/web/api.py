"""What programs ask: health, metrics, and the status as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from imagesync import __version__
from imagesync.daemon.live import Running
from imagesync.daemon.web.access import is_bearer
from imagesync.daemon.web.desk import Desk
from imagesync.daemon.web.openapi import description
from imagesync.errors import ConfigError, StateError
from imagesync.plan.render import short
from imagesync.plan.spec import timestamp
from imagesync.run.outline import cut, outline


def alive(desk: Desk, request: Request) -> Response:  # noqa: ARG001 - the signature of an answer
    """Say whether the daemon is alive: a thread of it answers, and what is due is started."""
    if not desk.glances.window.is_alive():
        return PlainTextResponse("the scheduler does not start what is due\n", 503)
    return PlainTextResponse("alive\n")


def ready(desk: Desk, request: Request) -> Response:  # noqa: ARG001
    """Say whether the state can be read and every list was looked at once."""
    try:
        now = desk.glances.situation()
    except (ConfigError, StateError) as error:
        return PlainTextResponse(f"not ready: {short(str(error))}\n", 503)
    waiting = [one.name for one in now.lists if one.followed.enabled and one.last is None and one.word is None]
    if waiting:
        return PlainTextResponse(f"not ready: no pass yet over {', '.join(waiting)}\n", 503)
    return PlainTextResponse("ready\n")


def metrics(desk: Desk, request: Request) -> Response:  # noqa: ARG001
    """Give the metrics."""
    try:
        return Response(desk.metrics.render(), media_type=CONTENT_TYPE_LATEST)
    except (ConfigError, StateError) as error:
        return PlainTextResponse(f"{short(str(error))}\n", 503)


def status(desk: Desk, request: Request) -> Response:  # noqa: ARG001
    """Give the status."""
    now = desk.glances.situation()
    more = {
        "version": __version__,
        "instance": desk.config.instance,
        "running": [_running(one) for one in desk.glances.window.live.running()],
        "next": {name: timestamp(at) for name, at in now.outlook.next.items()},
    }
    return JSONResponse(outline(now) | more)


def openapi(desk: Desk, request: Request) -> Response:  # noqa: ARG001
    """Give the description of all this."""
    return JSONResponse(description())


def sync_now(desk: Desk, request: Request) -> Response:
    """Make the pass over a list due now, for programs: no browser sends a bearer token unasked."""
    if not desk.rules.secret or not is_bearer(request.headers.get("authorization", "")):
        return problem(desk, 403, "this needs daemon.auth and a bearer token")
    name = request.path_params["name"]
    at = desk.hasten(name)
    if at is None:
        return problem(desk, 404, "no such list is followed")
    return JSONResponse({"list": name, "due": timestamp(at)}, 202)


def problem(desk: Desk, code: int, text: str, headers: Mapping[str, str] | None = None) -> Response:  # noqa: ARG001
    """Say what is wrong."""
    return JSONResponse({"error": short(text)}, code, headers)


def is_meant(request: Request) -> bool:
    """Return whether a program asks."""
    return request.url.path.startswith("/api/")


def _running(one: Running) -> dict[str, Any]:
    tasks = [
        {"step": task.step, "title": cut(task.title), "total": task.total, "done": task.done}
        for task in one.tasks.values()
    ]
    return {"name": one.name, "since": timestamp(one.since), "tasks": tasks}
