"""``imagesync demo``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR", help="Work in DIR and leave everything there.")
@click.pass_context
def demo(ctx: click.Context, keep: Path | None) -> None:
    """Show the whole job on this machine: a list server, signed lists, real images, a directory target."""
    from imagesync.demo.story import run_demo

    ctx.exit(run_demo(keep, keep=keep is not None, echo=click.echo))
