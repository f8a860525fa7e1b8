"""``imagesync plan``."""

from __future__ import annotations

from typing import Any

import click

from imagesync.cli.context import Options, as_json, write_json
from imagesync.cli.passes import Wish, allow_removals, execute, selectors


@click.command()
@selectors
@allow_removals
@click.option("--check", is_flag=True, help="Exit with 7 when there is something to do.")
@click.option("--all", "every", is_flag=True, help="Show also what is kept as it is.")
@as_json
@click.pass_context
def plan(
    ctx: click.Context,
    /,
    *,
    allow_removals: int | None,
    check: bool,
    every: bool,
    as_json: bool,
    **chosen: Any,  # noqa: ANN401 - the selectors
) -> None:
    """Show what `sync` would do and why, and change nothing."""
    from imagesync.cli import show
    from imagesync.plan.render import as_text
    from imagesync.run.exits import SEVERITY, Exit

    options: Options = ctx.obj
    result, report, code = execute(options, Wish(**chosen, allow_removals=allow_removals, dry=True))
    changes = any(target.plan.changes for target in result.targets if target.plan)
    if check and changes:
        code = min(code, Exit.CHANGES, key=SEVERITY.index)
    if as_json:
        write_json({**report, "exit": int(code), "changes": changes})
        ctx.exit(code)
    show.lists(report)
    for target in result.targets:
        text = as_text(target.plan, quiet=not every) if target.plan else f"{target.name}: {target.error}"
        click.echo(text)
        show.notices(target.notices)
    ctx.exit(code)
