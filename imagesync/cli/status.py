"""``imagesync status``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from imagesync.cli.context import Options, as_json, write_json
from imagesync.cli.passes import Wish, look, selectors

if TYPE_CHECKING:
    from imagesync.model import Digest
    from imagesync.run.standing import Standing


@click.command()
@selectors
@click.option("--from-state", is_flag=True, help="Ask no target: show what the state says, as the daemon's page does.")
@as_json
@click.pass_context
def status(ctx: click.Context, /, *, from_state: bool, as_json: bool, **chosen: Any) -> None:  # noqa: ANN401 - the selectors
    """Show every endorsed image on every target: where it stands, since when, and why.

    The lists are taken as last accepted and verified again; the targets are asked; no list server is. With --from-state
    not even they are, and what is not as endorsed comes first.

    Exit codes: 0 every target answered; 1 some did not; 5 none did.
    """
    from imagesync.cli import show

    options: Options = ctx.obj
    wish = Wish(**chosen, dry=True)
    report = _remembered(options, wish) if from_state else look(options, wish)
    failed = [target["error"] is not None for target in report["targets"]]
    code = (5 if all(failed) else 1) if any(failed) else 0
    if as_json:
        write_json(report)
        ctx.exit(code)
    for finding in report.get("findings", ()):
        click.echo(_line(finding))
    show.accepted_lists(report)
    rows = [
        (target["name"], row["state"], row["title"], row["vo"], _short(row["signer"]), row["since"], _reason(row))
        for target in report["targets"]
        for row in target["images"]
    ]
    show.table(("TARGET", "STATE", "TITLE", "VO", "SIGNED BY", "SINCE", "REASON"), rows)
    for target in report["targets"]:
        if target["error"]:
            click.echo(f"target {target['name']}: {target['error']}")
    ctx.exit(code)


def _remembered(options: Options, wish: Wish) -> dict[str, Any]:
    """Return what the daemon's API gives, of the lists, targets and images that were asked for."""
    from imagesync.cli.context import clock
    from imagesync.run.outline import chosen, outline
    from imagesync.run.situation import Outlook
    from imagesync.run.survey import Survey

    config = options.config()
    options.start_logging("warning")
    scope = wish.scope(config)
    return chosen(outline(Survey().look(config, Outlook(), clock())), scope)


def _line(finding: Mapping[str, Any]) -> str:
    from imagesync.plan.render import short

    about = " ".join(filter(None, (finding["subject"], finding["title"])))
    since = f" since {finding['since']}" if finding["since"] else ""
    return short(f"{finding['level']}: {about or finding['matter']}: {finding['text']}{since}; {finding['next']}")


def _reason(row: Mapping[str, Any]) -> str:
    return f"{row['reason']}; boot check: {row['boot']}" if row.get("boot") else str(row["reason"])


def _short(dn: str) -> str:
    """Return the last part of a distinguished name; the whole one stands with the list, above the table."""
    return dn[dn.rfind("/CN=") + 1 :] if "/CN=" in dn else dn


def as_row(standing: Standing, boots: Mapping[tuple[Digest, str], str]) -> dict[str, Any]:
    """Return one image for JSON; ``boots`` are the verdicts of boot checks, by file and machine."""
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
        "boot": boots.get((standing.digest, standing.asks)) if standing.digest else None,
    }
