"""``imagesync demo``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from imagesync.cli.context import as_json, write_json


@click.command()
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR", help="Work in DIR and leave everything there.")
@as_json
@click.pass_context
def demo(ctx: click.Context, keep: Path | None, *, as_json: bool) -> None:
    """Show the whole job on this machine: a list server, signed lists, real images, a directory target.

    With --json the story goes to standard error, and whether all went as it should to standard output.
    """
    from imagesync.demo.story import run_command, run_demo

    echo = partial(click.echo, err=as_json)
    code = run_demo(keep, keep=keep is not None, echo=echo, run=partial(run_command, to_stderr=as_json))
    if as_json:
        write_json({"exit": code, "kept": str(keep.absolute()) if keep else None})
    ctx.exit(code)
