"""``imagesync sync``."""

from __future__ import annotations

from typing import Any

import click

from imagesync.cli.context import Options, as_json, write_json
from imagesync.cli.passes import Wish, allow_removals, execute, selectors


@click.command()
@selectors
@allow_removals
@click.option(
    "--honour-back-off",
    "patient",
    is_flag=True,
    help="Leave alone what failed a short time ago (for timers); otherwise everything is tried at once.",
)
@click.option("--any-time", is_flag=True, help="Download and convert now, whatever limits.heavy_work says.")
@as_json
@click.pass_context
def sync(ctx: click.Context, /, *, as_json: bool, **wish: Any) -> None:  # noqa: ANN401 - the fields of a wish
    """Make every target equal to what the trusted lists say.

    Exit codes: 0 done; 1 done, but some images or targets failed; 2 usage or configuration error; 3 a list was refused;
    4 the guard held removals back; 5 nothing could be done; 6 another instance holds the lock.
    """
    from imagesync.cli import show

    options: Options = ctx.obj
    _, report, code = execute(options, Wish(**wish))
    if as_json:
        write_json(report)
    else:
        show.lists(report)
        show.targets(report)
    ctx.exit(code)
