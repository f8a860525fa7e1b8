"""What people ask: the pages."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from imagesync import __version__
from imagesync.daemon.web import details
from imagesync.daemon.web.desk import Desk
from imagesync.daemon.web.rendering import page
from imagesync.daemon.web.timeline import timeline
from imagesync.run.findings import findings, level
from imagesync.run.situation import ImageStanding, ListStanding, TargetStanding

_SHOWN = 200
"""Rows of one table: a page stays a page whatever a list has."""


def overview(desk: Desk, request: Request) -> Response:  # noqa: ARG001 - the signature of an answer
    """Show whether everything is as endorsed, and what is not."""
    now = desk.glances.situation()
    found = findings(now)
    return _page(
        desk,
        "overview.html",
        situation=now,
        findings=found[:_SHOWN],
        more=max(len(found) - _SHOWN, 0),
        level=level(found),
        urgent=len(found),
        lists=now.lists,
        targets=now.targets,
        timeline=timeline(now.runs),
        published=sum(target.counts.get("published", 0) for target in now.targets),
    )


def listing(desk: Desk, request: Request) -> Response:
    """Show a list: who signed it, until when it is good, which versions there were."""
    one = _list(desk, request)
    now = desk.glances.situation()
    images = [image for target in now.targets for image in target.images if image.subscription == one.name]
    return _page(
        desk,
        "list.html",
        one=one,
        details=details.of_list(desk.config, one),
        findings=[found for found in findings(now) if found.subject == one.name and found.image is None],
        images=images[:_SHOWN],
        more=max(len(images) - _SHOWN, 0),
        token=desk.rules.token() if one.followed.enabled else "",
    )


def message(desk: Desk, request: Request) -> Response:
    """Give a signed list as it was received, for whoever wants to verify it."""
    one = _list(desk, request)
    sha256 = request.path_params["sha256"]
    blob = details.message(desk.config, one.name, sha256)
    if blob is None:
        raise HTTPException(404)
    name = f'attachment; filename="{one.name}-{sha256[:12]}.p7s"'
    return Response(blob, headers={"content-disposition": name}, media_type="application/octet-stream")


def target(desk: Desk, request: Request) -> Response:
    """Show a target and every image on it."""
    one = _target(desk, request)
    order = sorted(one.images, key=lambda image: (image.record.state == "published", image.record.title.casefold()))
    return _page(desk, "target.html", one=one, images=order[:_SHOWN], more=max(len(order) - _SHOWN, 0))


def image(desk: Desk, request: Request) -> Response:
    """Show an image: where it came from, who signed it, what became of it."""
    one = _image(_target(desk, request), request)
    now = desk.glances.situation()
    listed = now.list(one.subscription)
    return _page(desk, "image.html", one=one, listed=listed, details=details.of_image(desk.config, one, listed))


def screen(desk: Desk, request: Request) -> Response:
    """Give the picture of the screen from an image's boot check."""
    one = _image(_target(desk, request), request)
    content = details.screen(desk.config, one, desk.glances.situation().list(one.subscription))
    if content is None:
        raise HTTPException(404)
    return Response(content, media_type="image/png")


def plan(desk: Desk, request: Request) -> Response:  # noqa: ARG001
    """Show what the next pass would do, as of a while ago."""
    newest, making = desk.glances.window.plans.newest()
    return _page(desk, "plan.html", plan=newest, making=making)


def passes(desk: Desk, request: Request) -> Response:  # noqa: ARG001
    """Show what is going on, and the last passes."""
    now = desk.glances.situation()
    return _page(desk, "passes.html", situation=now, timeline=timeline(now.runs), runs=now.runs)


def running(desk: Desk, request: Request) -> Response:  # noqa: ARG001
    """Show what is going on, for the part of a page that renews itself."""
    return _page(desk, "running.html")


def sync_now(desk: Desk, request: Request, form: bytes) -> Response:
    """Make the pass over a list due now, if the form is one of ours."""
    one = _list(desk, request)
    if not desk.rules.secret or not _is_ours(desk, request, form):
        raise HTTPException(403)
    if desk.hasten(one.name) is None:
        raise HTTPException(404)
    return RedirectResponse("/passes", 303)


def problem(desk: Desk, code: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Say what is wrong."""
    content = page("problem.html", **_common(desk), code=code, text=text)
    return HTMLResponse(content, code, headers)


# --- what is asked for -----------------------------------------------------------------------------------------------
def _page(desk: Desk, template: str, **values: object) -> Response:
    return HTMLResponse(page(template, **_common(desk), **values))


def _common(desk: Desk) -> dict[str, object]:
    window = desk.glances.window
    return {
        "version": __version__,
        "instance": desk.config.instance,
        "now": window.clock(),
        "running": window.live.running(),
    }


def _list(desk: Desk, request: Request) -> ListStanding:
    found = desk.glances.situation().list(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    return found


def _target(desk: Desk, request: Request) -> TargetStanding:
    found = desk.glances.situation().target(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    return found


def _image(one: TargetStanding, request: Request) -> ImageStanding:
    found = next((image for image in one.images if image.ref == request.path_params["ref"]), None)
    if found is None:
        raise HTTPException(404)
    return found


def _is_ours(desk: Desk, request: Request, form: bytes) -> bool:
    """Return whether a form came from a page of ours."""
    try:
        token = parse_qs(form.decode("ascii"), max_num_fields=10).get("token", [""])[0]
    except ValueError:
        return False
    return request.headers.get("sec-fetch-site", "same-origin") == "same-origin" and desk.rules.is_ours(token)
