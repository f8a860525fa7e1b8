"""``imagesync config``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from imagesync.cli.context import Options, as_json, clock, write_json
from imagesync.cli.predecessor_options import PredecessorOptions, predecessor_options
from imagesync.cli.trust import TrustOptions, trust_options


@click.group("config")
def config() -> None:
    """Check, show and explain the configuration."""


@config.command()
@click.option(
    "--connect", is_flag=True, help="Also fetch and verify the lists and open the targets; nothing is written."
)
@click.option(
    "--candidate",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Check this file as if it stood in the place of the configuration, with the same conf.d beside it.",
)
@as_json
@click.pass_context
def check(ctx: click.Context, /, *, connect: bool, candidate: Path | None, as_json: bool) -> None:
    """Check the configuration, and name every problem at once. Exit codes: 0 it is good; 2 it is not."""
    from imagesync.cli.checking import problems
    from imagesync.config.load import snapshot

    options: Options = ctx.obj
    if candidate is not None:
        options = replace(options, files=snapshot(options.config_path, candidate))
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
@click.option("--from-list", metavar="URL", help="Write a subscription to this list instead, switched off.")
@predecessor_options
@trust_options
@click.option("--vo", metavar="VO", help="The VO of the list, where it does not say so itself.")
@click.option("--name", metavar="NAME", help="What to call the subscription.  [default: from the VO]")
@as_json
@click.pass_context
def init(ctx: click.Context, /, *, from_list: str | None, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - as declared by the options
    """Write a commented configuration to begin with to standard output.

    With --from-cloudkeeper or --from-atrope it says what that program's files say, for conf.d, and begins with what
    could not be carried over. Secrets are not shown: with --into they are written into files of their own.

    With --from-list it is a subscription that pins who signed the list now. It is switched off: nothing is trusted
    before somebody has confirmed it with the publisher and has set "enabled: true". A list that does not verify gives
    no subscription: exit code 3, or 5 when it could not be read; of a self-signed signer it says what to compare and
    then to write. With a configuration and without --anchors, the list is judged by what that has for trust, CRLs in
    the cache included.
    """
    from imagesync.cli import predecessors

    source = PredecessorOptions(*(options.pop(name) for name in ("from_cloudkeeper", "from_atrope", "into", "coexist")))
    if source.given(from_list=from_list):
        predecessors.carry_over(source, as_json=as_json)
        return
    if from_list is not None:
        _propose(from_list, options, ctx.obj, as_json=as_json)
        return
    from imagesync.config.reference import INITIAL

    if as_json:
        import yaml

        write_json(yaml.safe_load(INITIAL))
        return
    click.echo(INITIAL, nl=False)


def _propose(url: str, chosen: dict[str, Any], options: Options, *, as_json: bool) -> None:
    from imagesync.cli import first_use, verification
    from imagesync.cli.basis import basis

    said = TrustOptions(*(chosen.pop(name) for name in ("anchors", "crls", "crl")))
    wish = first_use.FirstUse(url, now=clock(), by=basis(said, options, fetch=True), **chosen)
    proposal = first_use.propose(wish, verification.read(url))
    if as_json:
        write_json(first_use.as_json(proposal))
    else:
        click.echo(first_use.as_text(proposal, wish), nl=False)
