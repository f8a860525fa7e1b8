"""``imagesync store``: what the cache holds, whether it is whole, and making room."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from imagesync.cli.context import Options, as_json, write_json

if TYPE_CHECKING:
    from imagesync.images.entries import Entry
    from imagesync.images.store import Store


@click.group()
def store() -> None:
    """Look after the cache of downloaded and converted images."""


@store.command()
@as_json
@click.pass_context
def ls(ctx: click.Context, *, as_json: bool) -> None:
    """Show what the cache holds, the least recently used first: what is evicted first."""
    from imagesync.cli import show

    rows = [_row(entry) for entry in sorted(_opened(ctx).ls(), key=lambda entry: (entry.used_ns, entry.name))]
    if as_json:
        write_json(rows)
        return
    columns = ("name", "format", "size", "allocated", "used")
    show.table([name.upper() for name in columns], [[str(row[name] or "") for name in columns] for row in rows])
    click.echo(f"{len(rows)} entries, {sum(row['allocated'] for row in rows)} bytes on disk")


@store.command()
@as_json
@click.pass_context
def verify(ctx: click.Context, *, as_json: bool) -> None:
    """Read every byte of the cache and compare it with its digest; remove what is damaged, which is then made anew.

    Exit codes: 0 everything is whole; 1 something was damaged, or is in use and could not be removed.
    """
    opened = _opened(ctx)
    damaged = opened.verify()
    checked = [entry.name for entry in opened.ls()]
    if as_json:
        write_json({"exit": int(bool(damaged)), "whole": checked, "damaged": list(damaged)})
    else:
        for name in damaged:
            click.echo(f"damaged and removed: {name}")
        click.echo(f"{len(checked)} entries are whole")
    ctx.exit(int(bool(damaged)))


@store.command()
@as_json
@click.pass_context
def prune(ctx: click.Context, *, as_json: bool) -> None:
    """Remove leftovers of dead processes and broken entries, then the least recently used beyond cap and reserve."""
    removed = _opened(ctx).prune()
    if as_json:
        write_json({"removed": list(removed)})
        return
    for name in removed:
        click.echo(f"removed: {name}")
    click.echo(f"{len(removed)} entries removed")


def _opened(ctx: click.Context) -> Store:
    from imagesync.run.preparation import open_store

    options: Options = ctx.obj
    config = options.config()
    options.start_logging("warning")
    return open_store(config)


def _row(entry: Entry) -> dict[str, Any]:
    used = datetime.fromtimestamp(entry.used_ns // 1_000_000_000, UTC)
    return {
        "name": entry.name,
        "format": entry.record.format,
        "size": entry.record.size,
        "virtual_size": entry.record.virtual_size or None,
        "allocated": entry.allocated,
        "used": used.isoformat(),
    }
