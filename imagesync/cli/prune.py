"""``imagesync prune``."""

from __future__ import annotations

import click

from imagesync.cli.context import Options, as_json, write_json


@click.command()
@click.option("--target", "targets", metavar="NAME", multiple=True, help="Only this target (repeatable).")
@click.option(
    "--unsubscribed",
    is_flag=True,
    help="Retire the images of lists no longer subscribed to; forget those in projects that show none of ours.",
)
@as_json
@click.pass_context
def prune(ctx: click.Context, targets: tuple[str, ...], *, unsubscribed: bool, as_json: bool) -> None:
    """Delete retired images whose grace is over, cache entries beyond the cap, and old history.

    Exit codes: 0 done; 1 some could not be deleted (in use, say) and are tried again later; 6 a target is locked.
    """
    from imagesync.cli import show
    from imagesync.cli.passes import Wish, clean_up

    options: Options = ctx.obj
    report, code = clean_up(options, Wish(targets=targets), unsubscribed=unsubscribed)
    if as_json:
        write_json(report)
        ctx.exit(code)
    show.targets(report)
    click.echo(f"history: {report['history']['runs']} runs and {report['history']['messages']} old messages forgotten")
    click.echo(f"cache: {len(report['cache'])} entries removed")
    ctx.exit(code)
