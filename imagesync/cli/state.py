"""``imagesync state``: look after the state between versions."""

from __future__ import annotations

import click

from imagesync.cli.context import Options, as_json, write_json


@click.group()
def state() -> None:
    """Look after the state: pins, back-off and history."""


@state.command()
@as_json
@click.pass_context
def upgrade(ctx: click.Context, /, *, as_json: bool) -> None:
    """Bring the state to the form that this version needs, without a pass.

    A pass and the daemon do so by themselves at their start. This is for who upgrades: it fails while the old version
    can still be put back. Save the state before; an older version refuses a state that a newer one has changed. On
    failure the state is as it was.

    Exit codes: 0 this version can work with the state; 2 configuration error; 5 the state cannot be used or changed,
    or was made by a newer version.
    """
    from imagesync.run.wiring import open_configured_state
    from imagesync.state.tables import HEAD

    options: Options = ctx.obj
    with open_configured_state(options.config()) as opened:
        fresh = opened.fresh
    if as_json:
        write_json({"exit": 0, "schema": HEAD, "fresh": fresh})
    else:
        click.echo(f"the state {'is new' if fresh else 'is up to date'} (schema {HEAD})")
