"""Results as people read them. Everything that came from outside goes through ``short``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from imagesync.plan.render import short

_MARKS = {"done": "ok", "failed": "FAILED", "held": "held", "skipped": "skipped"}
_QUIET = frozenset({"keep"})


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table to standard output, as wide as the terminal, or unfolded where there is none."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if terminal else 200, highlight=False)
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in header:
        drawn.add_column(Text(name), overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(short(cell)) for cell in row))
    console.print(drawn)


def lists(report: dict[str, Any]) -> None:
    """Write a line per list: its verdict, and who signed it or why it is not trusted."""
    for item in report["lists"]:
        name = short(item["name"])
        if item["paused"]:
            click.echo(f"list {name}: {short(item['reason'])}")
        elif item["verdict"] == "trusted":
            signer = short(item["signer"]["dn"])
            click.echo(f"list {name}: trusted, version {short(item['version'])}, signed by {signer}")
        else:
            click.echo(f"list {name}: {item['verdict'].upper()}: {short(item['reason'])}")
        if item.get("hint"):
            click.echo(f"  what to do: {short(item['hint'])}")
        _notices(item)
    if report["clock"] == "clock":
        click.echo(
            "clock: this machine's clock does not fit the servers' or the last pass; nothing expires until it does"
        )
    if report["state"] == "lost":
        click.echo("state: begun anew; pins and versions are taken from the records on the targets where there are any")


def accepted_lists(report: dict[str, Any]) -> None:
    """Write a line per list as last accepted: who signed it and how long it is good for."""
    for item in report["lists"]:
        name = short(item["name"])
        if item["verdict"] == "trusted":
            dates = f"created {item['created']}, expires {item['expires']}"
            click.echo(f"list {name}: version {short(item['version'])}, {dates}, {short(item['signer']['dn'])}")
        else:
            click.echo(f"list {name}: {short(item['reason'])}")
        _notices(item)


def _notices(item: dict[str, Any]) -> None:
    for warning in item.get("warnings", ()):
        click.echo(f"  warning: {short(warning)}")
    for notice in item["notices"]:
        click.echo(f"  {notice['level']}: {short(notice['text'])}")


def targets(report: dict[str, Any]) -> None:
    """Write what became of every target: a line per action that is not simply kept, and a count."""
    for target in report["targets"]:
        click.echo(f"target {short(target['name'])}: {target['outcome']}")
        if target["error"]:
            click.echo(f"  {short(target['error'])}")
        notices(target["notices"])
        for action in target["actions"]:
            if action["kind"] not in _QUIET:
                _action(action)
        kept = sum(action["kind"] == "keep" for action in target["actions"])
        if kept:
            click.echo(f"  {kept} kept as they are")


def notices(texts: Iterable[str]) -> None:
    """Write what the operator should know of a target although nothing failed."""
    for text in texts:
        click.echo(f"  notice: {short(text)}")


def _action(action: dict[str, Any]) -> None:
    title = short(action["title"] or action["key"])
    mark = _MARKS[action["outcome"]]
    click.echo(f"  {mark:<7} {action['kind']:<8} {title}  ({short(action['error'] or action['reason'])})")


def document(content: dict[str, Any]) -> None:
    """Write what an unverified list says, as far as it has the expected form."""
    from imagesync.http import redact

    listed = content.get("hv:imagelist")
    listed = listed if isinstance(listed, dict) else {}
    for key in ("dc:identifier", "hv:version", "ad:vo", "dc:title", "dc:date:created", "dc:date:expires", "hv:uri"):
        if key in listed:
            click.echo(short(f"{key:<16} {listed[key]}"))
    endorser = listed.get("hv:endorser")
    if isinstance(endorser, dict) and isinstance(endorser.get("hv:x509"), dict):
        for key in ("hv:dn", "hv:ca"):
            click.echo(short(f"{key:<16} {endorser['hv:x509'].get(key, '')}"))
    images = listed.get("hv:images")
    entries = [one.get("hv:image", {}) for one in images if isinstance(one, dict)] if isinstance(images, list) else []
    columns = ("dc:identifier", "dc:title", "hv:version", "hv:size", "dc:date:expires", "hv:uri")
    rows = [{**one, "hv:uri": redact(str(one.get("hv:uri", "")))} for one in entries if isinstance(one, dict)]
    table(columns, [[str(row.get(key, "")) for key in columns] for row in rows])
