"""``imagesync pass``: one pass of the daemon, in a process of its own. Not meant for hands."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from threading import Thread
from typing import TYPE_CHECKING, Any

import click

from imagesync.cli.context import Options
from imagesync.cli.events import Events
from imagesync.errors import ImagesyncError

if TYPE_CHECKING:
    from imagesync.run.sync import PassResult


_PLANNED, _LEAST = 300, 5
"""Actions of all targets together, and of each: the whole plan is one line of at most a mebibyte."""

_CURIOUS = 10
"""By how much a plan for somebody who looks is nicer than a pass."""


@click.command("pass", hidden=True)
@click.option("--list", "name", help="The subscription; without it, history and cache are trimmed.")
@click.option("--run", default="", help="What the run is called.")
@click.option("--plan", is_flag=True, help="Only tell what would be done.")
@click.option("--events", type=int, required=True, help="The file descriptor to which events are written.")
@click.option("--files", type=int, required=True, help="The file descriptor that the configuration is read from.")
@click.pass_context
def supervised(ctx: click.Context, /, *, plan: bool, events: int, files: int, **about: str | None) -> None:
    """Do what the daemon asks for, and tell it. Ends when standard input does."""
    from imagesync.cli.main import code_of

    if plan:
        os.nice(_CURIOUS)
    Thread(target=_end_with_the_daemon, name="lifeline", daemon=True).start()
    told = Events(events)
    with os.fdopen(files, encoding="utf-8") as file:
        options: Options = replace(ctx.obj, files=json.load(file), on_log=told.alive, run_id=about["run"] or "")
    try:
        code, facts = _plan(options, told) if plan else _do(options, about["name"], told)
    except ImagesyncError as error:
        told.tell("end", exit=code_of(error), error=str(error))
        raise
    told.tell("end", exit=code, **facts)
    ctx.exit(code)


def _end_with_the_daemon() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _do(options: Options, name: str | None, told: Events) -> tuple[int, dict[str, Any]]:
    return _keep_house(options) if name is None else _sync(options, name, told)


def _plan(options: Options, told: Events) -> tuple[int, dict[str, Any]]:
    """Return what the next pass would do: of each target what is not kept, as far as a page shows it."""
    from imagesync.cli.passes import Wish, execute

    _, report, code = execute(options, Wish(dry=True, patient=True), told)
    lists = [{key: item[key] for key in ("name", "verdict", "reason")} for item in report["lists"]]
    most = max(_PLANNED // max(len(report["targets"]), 1), _LEAST)
    return int(code), {"lists": lists, "targets": [_planned(target, most) for target in report["targets"]]}


def _planned(target: Mapping[str, Any], most: int) -> dict[str, Any]:
    from imagesync.plan.render import short

    actions = [action for action in target["actions"] if action["kind"] not in {"keep", "skip"}]
    shown = [
        {key: short(value, 300) if isinstance(value, str) else value for key, value in action.items()}
        for action in actions[:most]
    ]
    return {
        "name": target["name"],
        "error": target["error"],
        "notices": target["notices"],
        "actions": shown,
        "more": len(actions) - len(shown),
        "kept": sum(action["kind"] == "keep" for action in target["actions"]),
    }


def _sync(options: Options, name: str, told: Events) -> tuple[int, dict[str, Any]]:
    from imagesync.cli.passes import Wish, execute
    from imagesync.plan.spec import timestamp
    from imagesync.run.report import has_failed_beside_images

    result, report, code = execute(options, Wish(lists=(name,), patient=True), told)
    return int(code), {
        "run": report["run"],
        "lists": [{key: item[key] for key in ("name", "verdict", "reason")} for item in report["lists"]],
        "totals": report["totals"],
        "failed_beside_images": has_failed_beside_images(result),
        "image_retry": min((timestamp(at) for at in _retries(options, result)), default=None),
    }


def _retries(options: Options, result: PassResult) -> Iterator[datetime]:
    """Yield when images of these lists that failed, or wait for the hours of heavy work, may be tried again."""
    from imagesync.plan.values import Cause
    from imagesync.run.record import is_put_off
    from imagesync.run.wiring import open_configured_state

    lists, now = {item.identifier for item in result.seen}, result.task.now
    with open_configured_state(options.config(), readonly=True) as state:
        records = [record for target in result.targets for record in state.images(target.name)]
        noted = [(one.key.list, one.retry_at) for one in records]
        noted += [(one.list, one.retry_at) for one in state.attempts()]
    yield from (at for listed, at in noted if listed in lists and is_put_off(at, now))
    # Of the outcomes, not of the plans: the hours may end in the middle of a pass.
    causes = {outcome.action.cause for target in result.targets for outcome in target.outcomes}
    if result.task.hours.opens and Cause.WAITING in causes:
        yield result.task.hours.opens


def _keep_house(options: Options) -> tuple[int, dict[str, Any]]:
    from imagesync.cli.context import clock
    from imagesync.run.housekeeping import keep_house

    config = options.config()
    options.start_logging("warning")
    forgotten, removed = keep_house(config, clock())
    return 0, {"history": {"runs": forgotten.runs, "messages": forgotten.messages}, "cache": removed}
