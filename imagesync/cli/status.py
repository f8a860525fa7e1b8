"""``imagesync status``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from imagesync.cli.context import Options, as_json, write_json
from imagesync.cli.passes import Wish, look, selectors

if TYPE_CHECKING:
    from imagesync.run.standing import Standing


@click.command()
@selectors
@as_json
@click.pass_context
def status(ctx: click.Context, /, *, as_json: bool, **chosen: Any) -> None:  # noqa: ANN401 - the selectors
    """Show every endorsed image on every target: where it stands, since when, and why.

    The lists are taken as last accepted and verified again; the targets are asked; no list server is.

    Exit codes: 0 every target answered; 1 some did not; 5 none did.
    """
    from imagesync.cli import show

    options: Options = ctx.obj
    report = look(options, Wish(**chosen, dry=True))
    failed = [target["error"] is not None for target in report["targets"]]
    code = (5 if all(failed) else 1) if any(failed) else 0
    if as_json:
        write_json(report)
        ctx.exit(code)
    show.accepted_lists(report)
    rows = [
        (target["name"], row["state"], row["title"], row["vo"], _short(row["signer"]), row["since"], row["reason"])
        for target in report["targets"]
        for row in target["images"]
    ]
    show.table(("TARGET", "STATE", "TITLE", "VO", "SIGNED BY", "SINCE", "REASON"), rows)
    for target in report["targets"]:
        if target["error"]:
            click.echo(f"target {target['name']}: {target['error']}")
    ctx.exit(code)


def _short(dn: str) -> str:
    """Return the last part of a distinguished name; the whole one stands with the list, above the table."""
    return dn[dn.rfind("/CN=") + 1 :] if "/CN=" in dn else dn


def as_row(standing: Standing) -> dict[str, Any]:
    """Return one image for JSON."""
    from imagesync.plan.spec import timestamp

    return {
        "key": str(standing.key),
        "title": standing.title,
        "state": standing.state,
        "reason": standing.reason,
        "since": timestamp(standing.since),
        "digest": standing.digest,
        "format": standing.format,
        "vo": standing.vo,
        "signer": standing.signer,
    }
