"""``imagesync demo``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--directory", type=click.Path(path_type=Path), help="Where to work; a temporary place unless given.")
@click.option("--keep", is_flag=True, help="Leave everything there to look at.")
@click.pass_context
def demo(ctx: click.Context, directory: Path | None, *, keep: bool) -> None:
    """Show the whole job on this machine: a list server, signed lists, real images, a directory target."""
    from imagesync.demo.story import run_demo

    ctx.exit(run_demo(directory, keep=keep, echo=click.echo))
