"""``imagesync pass``: one pass of the daemon, in a process of its own. Not meant for hands."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
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


@click.command("pass", hidden=True)
@click.option("--list", "name", help="The subscription; without it, what is due is removed.")
@click.option("--events", type=int, required=True, help="The file descriptor to which events are written.")
@click.option("--files", type=int, required=True, help="The file descriptor that the configuration is read from.")
@click.pass_context
def supervised(ctx: click.Context, /, *, name: str | None, events: int, files: int) -> None:
    """Do what the daemon asks for, and tell it. Ends when standard input does."""
    from imagesync.cli.main import code_of

    Thread(target=_end_with_the_daemon, name="lifeline", daemon=True).start()
    told = Events(events)
    with os.fdopen(files, encoding="utf-8") as file:
        options: Options = replace(ctx.obj, files=json.load(file), on_log=told.alive)
    try:
        code, facts = _clean_up(options) if name is None else _sync(options, name, told)
    except ImagesyncError as error:
        told.tell("end", exit=code_of(error), error=str(error))
        raise
    told.tell("end", exit=code, **facts)
    ctx.exit(code)


def _end_with_the_daemon() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _sync(options: Options, name: str, told: Events) -> tuple[int, dict[str, Any]]:
    from imagesync.cli.passes import Wish, execute
    from imagesync.plan.spec import timestamp

    result, report, code = execute(options, Wish(lists=(name,), patient=True), told)
    return int(code), {
        "run": report["run"],
        "lists": [{key: item[key] for key in ("name", "verdict", "reason")} for item in report["lists"]],
        "totals": report["totals"],
        "image_retry": min((timestamp(at) for at in _retries(options, result)), default=None),
    }


def _retries(options: Options, result: PassResult) -> Iterator[datetime]:
    """Yield when images of these lists that failed, or wait for the hours of heavy work, may be tried again."""
    from imagesync.plan.values import Cause
    from imagesync.run.wiring import open_configured_state

    lists, now = {item.identifier for item in result.seen}, result.task.now
    with open_configured_state(options.config(), readonly=True) as state:
        records = [record for target in result.targets for record in state.images(target.name)]
        yield from (one.retry_at for one in records if one.key.list in lists and one.retry_at and one.retry_at > now)
        yield from (one.retry_at for one in state.attempts() if one.list in lists and one.retry_at > now)
    plans = (target.plan for target in result.targets if target.plan)
    if result.task.hours.opens and any(action.cause is Cause.WAITING for plan in plans for action in plan.actions):
        yield result.task.hours.opens


def _clean_up(options: Options) -> tuple[int, dict[str, Any]]:
    from imagesync.cli.passes import Wish, clean_up

    report, code = clean_up(options, Wish(), unsubscribed=False)
    return int(code), {"history": report["history"], "cache": len(report["cache"])}
