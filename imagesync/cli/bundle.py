"""``imagesync bundle``: lists and their images for places without a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagesync.cli.context import Options, as_json, write_json

if TYPE_CHECKING:
    from imagesync.run.export import ListExport


@click.group()
def bundle() -> None:
    """Take lists and their images to places without a network."""


@bundle.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--list", "lists", metavar="NAME", multiple=True, help="Only this subscription (repeatable).")
@as_json
@click.pass_context
def export(ctx: click.Context, directory: Path, lists: tuple[str, ...], *, as_json: bool) -> None:
    """Write each list that is trusted, with the images that its subscription selects, to DIRECTORY/NAME.

    The lists are fetched and judged as in a pass; images come from the cache or are downloaded, with the same checks.
    Nothing is done to targets. What is there already is kept, and what the list no longer names is removed, so that
    running it again brings the bundle up to date, also after it was interrupted.

    Elsewhere, a subscription with `url: file:///DIRECTORY/NAME` takes list and images from there.

    Exit codes: 0 done; 1 some images or lists failed; 2 usage or configuration error; 3 a list was refused; 5 no list
    could be fetched.
    """
    from imagesync.cli.passes import Wish, export_bundles

    options: Options = ctx.obj
    exports, code = export_bundles(options, Wish(lists=lists), directory.absolute())
    report = [_as_json(item) for item in exports]
    if as_json:
        write_json({"exit": int(code), "lists": report})
    else:
        _show(report)
    ctx.exit(code)


def _as_json(item: ListExport) -> dict[str, Any]:
    from imagesync.run.report import list_as_json

    seen = list_as_json(item.seen)
    return {
        "name": seen["name"],
        "verdict": seen["verdict"],
        "reason": str(item.error) if item.error else seen["reason"],
        "version": seen["version"],
        "path": str(item.path),
        "removed": item.removed,
        "images": [
            {
                "title": one.image.title,
                "sha512": one.image.sha512,
                "size": one.image.size,
                "outcome": str(one.outcome),
                "error": str(one.error) if one.error else None,
            }
            for one in item.images
        ],
    }


def _show(report: list[dict[str, Any]]) -> None:
    from imagesync.plan.render import printable

    for item in report:
        what = item["reason"] or f"version {item['version']}, in {item['path']}"
        click.echo(printable(f"list {item['name']}: {item['verdict']}, {what}"))
        for image in item["images"]:
            why = f"  ({image['error']})" if image["error"] else ""
            click.echo(printable(f"  {image['outcome']:<10}  {image['title']}, {image['size']} bytes{why}"))
        if item["removed"]:
            click.echo(f"  {item['removed']} removed that the list no longer names")
