"""The web application: which address gives what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from importlib import resources

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from imagesync.daemon.web import api, pages
from imagesync.daemon.web.access import Access, Rules
from imagesync.daemon.web.answers import Answer, Answers
from imagesync.daemon.web.desk import Desk
from imagesync.daemon.web.metrics import Metrics
from imagesync.daemon.web.window import Glances, Window
from imagesync.errors import ConfigError, StateError

_STATIC = {"imagesync.css": "text/css", "imagesync.js": "text/javascript", "icon.svg": "image/svg+xml"}

_LONGEST_FORM = 4096

_KEPT = frozenset({pages.overview, pages.listing, pages.target, pages.image, pages.plan, api.metrics, api.status})
"""What takes a while to make, and is the same for everybody who asks within a second."""

_SHOW_WORK = frozenset({pages.overview, api.status})
"""What is kept no longer than the same passes are going on."""

_QUICK = frozenset({pages.running, api.alive})
"""What takes less time to make than to hand to another thread, and asks neither state nor disk."""

GETS: Mapping[str, Answer] = {
    "/": pages.overview,
    "/lists/{name}": pages.listing,
    "/lists/{name}/{sha256}": pages.message,
    "/targets/{name}": pages.target,
    "/targets/{name}/{ref}": pages.image,
    "/targets/{name}/{ref}/screen": pages.screen,
    "/plan": pages.plan,
    "/passes": pages.passes,
    "/passes/running": pages.running,
    "/healthz": api.alive,
    "/readyz": api.ready,
    "/metrics": api.metrics,
    "/api/v1/status": api.status,
    "/api/v1/openapi.json": api.openapi,
}


def make_app(window: Window, rules: Rules) -> ASGIApp:
    """Return the application for what is seen through ``window``, for those whom ``rules`` let in."""
    glances = Glances(window)
    desk = Desk(glances, Metrics(glances), rules)
    answers = Answers(desk)
    routes = [Route(path, _given(answer, desk, answers), methods=["GET"]) for path, answer in GETS.items()]
    routes += [
        Route("/lists/{name}/sync", partial(_posted, desk), methods=["POST"]),
        Route("/api/v1/lists/{name}/sync", partial(api.sync_now, desk), methods=["POST"]),
        Route("/static/{name}", partial(_static, _files()), methods=["GET"]),
    ]
    unreadable = partial(_unreadable, desk)
    problems = {StateError: unreadable, ConfigError: unreadable, HTTPException: partial(_refusal, desk)}
    return Access(Starlette(routes=routes, exception_handlers=problems), rules)


def _given(answer: Answer, desk: Desk, answers: Answers) -> Callable[[Request], Response | Awaitable[Response]]:
    """Return what answers a request. Starlette calls what is not asynchronous in a thread of its own."""
    if answer in _KEPT:
        return partial(answers.give, answer, _version(answer, desk.glances))
    return partial(_at_once, answer, desk) if answer in _QUICK else partial(answer, desk)


def _version(answer: Answer, glances: Glances) -> Callable[[], object]:
    if answer == pages.plan:
        return glances.window.plans.newest
    return glances.work if answer in _SHOW_WORK else lambda: None


async def _at_once(answer: Answer, desk: Desk, request: Request) -> Response:
    return answer(desk, request)


async def _posted(desk: Desk, request: Request) -> Response:
    """Answer a form of at most a few fields."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LONGEST_FORM:
            raise HTTPException(413)
    return await run_in_threadpool(pages.sync_now, desk, request, body)


def _files() -> dict[str, bytes]:
    folder = resources.files("imagesync.daemon.web") / "static"
    return {name: (folder / name).read_bytes() for name in _STATIC}


def _static(files: Mapping[str, bytes], request: Request) -> Response:
    name = request.path_params["name"]
    if name not in files:
        raise HTTPException(404)
    headers = {"cache-control": "max-age=300"}
    return Response(files[name], headers=headers, media_type=_STATIC[name])


def _refusal(desk: Desk, request: Request, error: Exception) -> Response:
    code, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
    answer = api.problem if api.is_meant(request) else pages.problem
    return answer(desk, code, _WORDS.get(code, "this is not possible"), headers)


def _unreadable(desk: Desk, request: Request, error: Exception) -> Response:
    answer = api.problem if api.is_meant(request) else pages.problem
    return answer(desk, 503, str(error), None)


_WORDS = {
    403: "this is not allowed",
    404: "there is nothing of this name",
    405: "this cannot be done here",
    413: "this is too much",
}
