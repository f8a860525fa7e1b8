"""``imagesync backends``."""

from __future__ import annotations

import click

from imagesync.cli.context import as_json, write_json


@click.command()
@as_json
def backends(*, as_json: bool) -> None:
    """Show the target backends that are installed, and which package each comes from."""
    from imagesync.cli import show
    from imagesync.registry import backends as installed

    found = list(installed().values())
    if as_json:
        write_json([{"name": one.name, "distribution": one.distribution, "version": one.version} for one in found])
        return
    show.table(("BACKEND", "PACKAGE", "VERSION"), [(one.name, one.distribution, one.version) for one in found])
