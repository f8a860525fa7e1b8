"""``imagesync probe``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Timer
from typing import TYPE_CHECKING, Any

import click

from imagesync.cli.context import Options, as_json, clock, write_json
from imagesync.errors import ImagesyncError

if TYPE_CHECKING:
    from imagesync.config.schema import Config
    from imagesync.run.history import RunDigest
    from imagesync.run.probe import Answer


def _duration(ctx: click.Context, param: click.Parameter, value: str) -> timedelta:
    """Return what ``24h`` stands for."""
    from imagesync.config.values import parse_duration

    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{value} {error}", ctx, param) from None


def _limit(*names: str, default: str, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(*names, callback=_duration, metavar="TIME", default=default, show_default=True, help=text)


class _Plugin(click.Command):
    """One that says also of its own use what a plug-in says: 2 would be an alarm."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            click.echo(f"IMAGESYNC UNKNOWN - {error.format_message()}")
            raise click.exceptions.Exit(3) from error


@click.command(cls=_Plugin)
@_limit("--warning", "-w", default="24h", text="Images missing or outdated for this long.")
@_limit("--critical", "-c", default="72h", text="The same, critical.")
@_limit("--fetch-warning", default="24h", text="A list that was not fetched and verified for this long.")
@_limit("--fetch-critical", default="72h", text="The same, critical.")
@_limit("--timeout", "-t", default="10s", text="The answer is UNKNOWN when it takes longer.")
@as_json
@click.pass_context
def probe(ctx: click.Context, /, *, as_json: bool, timeout: timedelta, **limits: timedelta) -> None:
    """Say in one line whether all is well, as Nagios and ARGO plug-ins do.

    Looks at when lists were made, last verified, and end; at images that are missing or outdated; at passes that crash;
    and at whether the daemon is at work. Only the state is read. When a list is old, and when something ends soon, is
    said by `notices` in the configuration.

    Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, also when the configuration is wrong.
    """
    from imagesync.run.probe import unknown

    seconds = timeout.total_seconds()
    late = unknown(f"no answer within {seconds:g} s: the state hangs, or the machine is busy")
    with _within(seconds, lambda: _say(late, as_json=as_json)):
        try:
            said = _answer(ctx.obj, limits)
        except ImagesyncError as error:
            said = unknown(str(error))
    _say(said, as_json=as_json)
    ctx.exit(int(said.code))


@contextmanager
def _within(seconds: float, say: Callable[[], None]) -> Iterator[None]:
    """End the process as UNKNOWN, with what ``say`` says, when this takes longer, whatever it waits for."""

    def give_up() -> None:
        try:
            say()
            sys.stdout.flush()
        finally:
            os._exit(3)

    timer = Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _say(said: Answer, *, as_json: bool) -> None:
    if as_json:
        problems = [{"level": code.name.lower(), "text": text} for code, text in said.problems]
        write_json({"exit": int(said.code), "text": said.text, "problems": problems, "performance": list(said.data)})
    else:
        click.echo(said.line())


def _answer(options: Options, given: Mapping[str, timedelta]) -> Answer:
    from imagesync.run.probe import Limits, answer
    from imagesync.run.situation import Outlook
    from imagesync.run.survey import Survey

    config = options.config()
    options.start_logging("error")
    situation = Survey().look(config, Outlook(), clock())
    last = {one.name: _last(one.name, one.last.ended, situation.runs) for one in situation.lists if one.last}
    limits = Limits(
        images=(given["warning"], given["critical"]),
        fetch=(given["fetch_warning"], given["fetch_critical"]),
        regular=_regular(config, last),
        longest_pass=config.daemon.deadline,
        at_work=_is_at_work(config),
    )
    return answer(situation, limits)


def _is_at_work(config: Config) -> bool:
    """Return whether a daemon is there, or another process works on a target."""
    from imagesync.run.wiring import DAEMON, open_configured_state

    with open_configured_state(config, readonly=True) as state:
        return any(state.is_locked(name) for name in (DAEMON, *(target.name for target in config.targets)))


def _last(name: str, ended: datetime, runs: Sequence[RunDigest]) -> datetime:
    """Return when a list was looked at last, by the daemon or by whatever took its place."""
    others = (run.finished for run in runs if run.finished and any(word.name == name for word in run.lists))
    return max([ended, *others])


def _regular(config: Config, last: Mapping[str, datetime]) -> dict[str, Any]:
    """Return when the next pass of the daemon over each list was due after the last one, with its jitter."""
    from imagesync.daemon.schedule import Rhythm

    return {
        item.name: Rhythm(item.every, item.cron).after(last[item.name]) + config.daemon.jitter
        for item in config.subscriptions
        if item.name in last
    }
