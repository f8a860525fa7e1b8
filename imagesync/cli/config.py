"""``imagesync config``."""

from __future__ import annotations

import click

from imagesync.cli.context import Options, as_json, write_json


@click.group("config")
def config() -> None:
    """Check, show and explain the configuration."""


@config.command()
@click.option(
    "--connect", is_flag=True, help="Also fetch and verify the lists and open the targets; nothing is written."
)
@as_json
@click.pass_context
def check(ctx: click.Context, /, *, connect: bool, as_json: bool) -> None:
    """Check the configuration, and name every problem at once. Exit codes: 0 it is good; 2 it is not."""
    from imagesync.cli.checking import problems

    options: Options = ctx.obj
    found, warnings = problems(options, connect=connect)
    if as_json:
        write_json({"ok": not found, "problems": found, "warnings": warnings})
        ctx.exit(2 if found else 0)
    for line in (*found, *(f"warning: {warning}" for warning in warnings)):
        click.echo(line)
    verdict = f"{len(found)} to correct" if found else "good"
    click.echo(f"{options.config_path}: {verdict}")
    ctx.exit(2 if found else 0)


@config.command()
@as_json
@click.pass_context
def show(ctx: click.Context, /, *, as_json: bool) -> None:
    """Show the whole configuration with defaults filled in and secrets left out."""
    import yaml

    from imagesync.config.check import shown

    options: Options = ctx.obj
    value = shown(options.config())
    if as_json:
        write_json(value)
    else:
        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)


@config.command()
@as_json
def schema(*, as_json: bool) -> None:  # noqa: ARG001 - a JSON Schema is JSON either way
    """Write the configuration's JSON Schema, for editors and checks of your own."""
    from imagesync.config.reference import json_schema

    write_json(json_schema())


@config.command()
@as_json
def init(*, as_json: bool) -> None:
    """Write a commented configuration to begin with to standard output."""
    from imagesync.config.reference import INITIAL

    if as_json:
        import yaml

        write_json(yaml.safe_load(INITIAL))
        return
    click.echo(INITIAL, nl=False)
