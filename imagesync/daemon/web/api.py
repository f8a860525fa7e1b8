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


def ready(desk: Desk, request: Request) -> Response:
    """Say whether the state can be used and every list was looked at once."""
    why = _objection(desk)
    if not why:
        return PlainTextResponse("ready\n")
    # Everybody may ask; what is wrong has names and paths in it, which are for those who may see the page.
    return PlainTextResponse(f"not ready: {short(why)}\n" if desk.rules.admit(request.headers) else "not ready\n", 503)


def _objection(desk: Desk) -> str:
    """Return why it is not ready, or nothing."""
    try:
        now = desk.glances.situation()
    except (ConfigError, StateError) as error:
        return str(error)
    if now.outlook.state:
        return now.outlook.state
    waiting = [one.name for one in now.lists if one.followed.enabled and one.last is None and one.word is None]
    return f"no pass yet over {', '.join(waiting)}" if waiting else ""


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
