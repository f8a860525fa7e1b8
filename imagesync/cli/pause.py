"""``imagesync pause`` and ``imagesync resume``: leave a list, a target or everything as it is for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from imagesync.cli.context import Options, as_json, clock, whoami, write_json
from imagesync.errors import ConfigError

if TYPE_CHECKING:
    from imagesync.state import Pausable, PauseRecord


def _scopes(command: Callable[..., Any]) -> Callable[..., Any]:
    options = [
        click.option("--list", "lists", metavar="NAME", multiple=True, help="This subscription (repeatable)."),
        click.option("--target", "targets", metavar="NAME", multiple=True, help="This target (repeatable)."),
        click.option("--all", "everything", is_flag=True, help="Every subscription and target."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_scopes
@click.option("--reason", metavar="TEXT", help="Why; shown wherever the pause is. Required.")
@click.option("--until", metavar="TIME", help="When it ends by itself: 3d, 2026-12-01 or 2026-12-01T08:00Z (UTC).")
@click.option("--by", metavar="WHO", help="Who pauses.  [default: this user and host]")
@as_json
@click.pass_context
def pause(ctx: click.Context, /, *, reason: str | None, until: str | None, by: str | None, **chosen: Any) -> None:  # noqa: ANN401 - the scopes
    """Leave images as they are, whatever the lists say: nothing is added, replaced, withdrawn or deleted.

    What an endorser's dates and recalls want is done all the same. A list that is paused is not asked for; a target
    that is paused may be away. It counts from the next pass on, with a daemon and without, and is kept in the state. To
    change reason or end, pause again.

    Exit codes: 0 done; 2 usage or configuration error; 5 the state cannot be written.
    """
    from imagesync.run.pausing import told
    from imagesync.run.wiring import open_configured_state
    from imagesync.state import PauseRecord

    options: Options = ctx.obj
    if not (reason or "").strip():
        raise ConfigError("pause", "does not say why", "give --reason; it is shown wherever the pause is")
    now, json_wanted = clock(), chosen.pop("as_json")
    end = _end(until, now) if until else None
    scopes = list(_named(**chosen))
    _check(options, chosen["lists"], chosen["targets"])
    records = [PauseRecord(scope, name, str(reason), by or whoami(), now, end) for scope, name in scopes]
    with open_configured_state(options.config()) as state:
        state.pause(records)
    if json_wanted:
        write_json({"exit": 0, "paused": [_row(record) for record in records]})
        return
    for record in records:
        click.echo(f"{_what(record.scope, record.name)}: {told(record)}")


@click.command()
@_scopes
@as_json
@click.pass_context
def resume(ctx: click.Context, /, *, as_json: bool, **chosen: Any) -> None:  # noqa: ANN401 - the scopes
    """End pauses: the next pass does what was left undone. With --all, every pause there is.

    Exit codes: 0 done; 2 usage or configuration error, or nothing of that name is paused; 5 the state cannot be
    written.
    """
    from imagesync.run.wiring import open_configured_state

    options: Options = ctx.obj
    wanted = list(_named(**chosen))
    with open_configured_state(options.config()) as state:
        known = [(one.scope, one.name) for one in state.pauses()]
        ended = known if chosen["everything"] else wanted
        for scope, name in ended:
            if (scope, name) not in known:
                there = ", ".join(_what(*pair) for pair in known) or "nothing"
                raise ConfigError("resume", f"{_what(scope, name)} is not paused", f"paused: {there}")
        for scope, name in ended:
            state.resume(scope, name)
    if as_json:
        write_json({"exit": 0, "resumed": [{"scope": str(scope), "name": name} for scope, name in ended]})
        return
    for scope, name in ended:
        click.echo(f"{_what(scope, name)}: goes on with the next pass")
    if not ended:
        click.echo("nothing is paused")


def _named(lists: tuple[str, ...], targets: tuple[str, ...], *, everything: bool) -> Iterator[tuple[Pausable, str]]:
    """Yield what is named.

    Raises:
        ConfigError: nothing is, or names beside all.
    """
    from imagesync.state import Pausable

    if everything == bool(lists or targets):
        raise ConfigError("pause", "does not say what", "name it with --list or --target, or say --all")
    yield from ((Pausable.LIST, name) for name in lists)
    yield from ((Pausable.TARGET, name) for name in targets)
    if everything:
        yield Pausable.ALL, ""


def _check(options: Options, lists: tuple[str, ...], targets: tuple[str, ...]) -> None:
    from imagesync.cli.passes import Wish

    Wish(lists=lists, targets=targets).scope(options.config())


def _end(text: str, now: datetime) -> datetime:
    """Return when a pause ends: a time, or a length from ``now``.

    Raises:
        ConfigError: it is neither, or is over.
    """
    from imagesync.cli.moments import MOMENT
    from imagesync.config.values import parse_duration

    try:
        end = now + parse_duration(text)
    except ValueError:
        end = MOMENT.convert(text, None, None)
    if end <= now:
        raise ConfigError("--until", f"{text} is over", "say a later time, or leave it out")
    return end


def _row(record: PauseRecord) -> dict[str, str | None]:
    from imagesync.run.pausing import as_json as values

    return {"scope": str(record.scope), "name": record.name, **(values(record) or {})}


def _what(scope: Pausable, name: str) -> str:
    return f"{scope} {name}" if name else "everything"
