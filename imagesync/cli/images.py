"""``imagesync image``: look at an image file as a pass would."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from imagesync.cli.boot import boot
from imagesync.cli.context import Options, as_json, write_json

if TYPE_CHECKING:
    from imagesync.config.schema import Config, Target
    from imagesync.http import HttpPolicy
    from imagesync.images.examine import Examination, Room

REFUSED = 3


@click.group()
def image() -> None:
    """Look at image files."""


image.add_command(boot)


@image.command()
@click.argument("source")
@click.option("--allow-private-addresses", "private", is_flag=True, help="A URL may lead to a private address.")
@click.option("--subscription", metavar="NAME", default="", help="Ask a URL as for an image of this subscription.")
@as_json
@click.pass_context
def inspect(ctx: click.Context, source: str, *, private: bool, subscription: str, as_json: bool) -> None:
    """Say what the image SOURCE, a path or a URL, is, whether it is safe, and what each target would make of it.

    Only rules about the bytes are applied: whether anybody endorsed them is another question, which `list verify`
    answers. The limits, the proxies and the targets are those of the configuration, where there is one; which
    certificates, addresses and token hold for a URL depends on the subscription. What is downloaded or
    unpacked goes to the directory for temporary files (TMPDIR), as far as cache_reserve_bytes stay free there, and is
    removed.

    Exit codes: 0 accepted, and taken by every target; 1 there is no room to look at it; 3 refused, by the rules or by a
    target; 5 it could not be read.
    """
    from imagesync.cli.stopping import stopping

    options: Options = ctx.obj
    config = options.config() if options.config_path.exists() else None
    options.start_logging("warning")
    policy = _policy(config, subscription, private=private)
    with stopping(lambda: None), TemporaryDirectory(prefix="imagesync-") as name:
        work = Path(name)
        with _file(source, work, config, policy) as path:
            report = _report(source, examined(path, work, source, config), config)
    refused = report["verdict"] == "refused" or any(target["outcome"] == "refused" for target in report["targets"])
    code = REFUSED if refused else 0
    if as_json:
        write_json(report | {"exit": code})
    else:
        _show(report)
    ctx.exit(code)


def _policy(config: Config | None, subscription: str, *, private: bool) -> HttpPolicy:
    """Return how a URL is asked for."""
    from imagesync.errors import ConfigError
    from imagesync.http import HttpPolicy

    if config is None:
        if subscription:
            raise ConfigError(subscription, "there is no configuration that could have it", "see --config")
        return HttpPolicy(allow_private=private)
    from imagesync.run.wiring import asking

    policy = asking(config, subscription)
    return replace(policy, allow_private=policy.allow_private or private)


@contextmanager
def _file(source: str, work: Path, config: Config | None, policy: HttpPolicy) -> Iterator[Path]:
    """Yield the path of the file, downloaded if SOURCE is a URL.

    Raises:
        SourceError: it cannot be had.
        NoSpaceError: there is no room for it.
    """
    from imagesync.config.sections import Limits
    from imagesync.errors import TooLargeError
    from imagesync.images.download import fetch

    if "://" in source:
        limit = (config.limits if config else Limits()).max_image_bytes
        place = room(work, config)
        place.ask(1)
        path, free = work / "download", place.free()
        try:
            fetch(source, policy, min(limit, free), path)
        except TooLargeError:
            if free < limit:
                place.ask(free + 1)
            raise
    else:
        path = Path(source)
    check_readable(path, source)
    yield path


def check_readable(path: Path, source: str) -> None:
    """See that a regular file can be read; ``source`` is what the user called it.

    Raises:
        UnreachableError: it cannot, or it is a device or pipe, which may have no end.
    """
    from imagesync.errors import UnreachableError

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreachableError(source, "cannot be read: it is no regular file", "copy it to a file first")
        path.open("rb").close()
    except OSError as error:
        hint = "check the path and its permissions"
        raise UnreachableError(source, f"cannot be read: {(error.strerror or '').lower()}", hint) from error


def room(directory: Path, config: Config | None) -> Room:
    """Return what asks for room in a directory, and leaves as much free there as the configuration says."""
    from imagesync.images.examine import Room
    from imagesync.images.store import GIB

    return Room(directory, config.cache_reserve_bytes if config else GIB)


def examined(path: Path, work: Path, source: str, config: Config | None) -> Examination:
    """Return what the file is, by the limits of the configuration.

    Raises:
        NoSpaceError: there is no room to look at it.
        UnreachableError: it cannot be read.
    """
    from imagesync.config.sections import Limits
    from imagesync.errors import NoSpaceError, UnreachableError
    from imagesync.http import redact
    from imagesync.images.diskerrors import FULL, text
    from imagesync.images.examine import examine

    limits = config.limits if config else Limits()
    inside = work / "inside"
    inside.mkdir()
    try:
        return examine(
            path,
            room(inside, config),
            subject=redact(source) if "://" in source else path.name,
            max_virtual_size=limits.max_virtual_size,
            unpack_ratio=limits.unpack_ratio,
        )
    except OSError as error:
        detail = f"cannot be read or unpacked: {text(error)}"
        kind = NoSpaceError if error.errno in FULL else UnreachableError
        raise kind(source, detail, "check the file, and that TMPDIR has room for what is inside") from error


def _report(source: str, examined: Examination, config: Config | None) -> dict[str, Any]:
    from imagesync.http import redact

    found, refusal = examined.found, examined.refusal
    return {
        "source": redact(source) if "://" in source else source,
        "verdict": "refused" if refusal else "accepted",
        "reason": refusal.detail if refusal else "",
        "hint": refusal.hint if refusal else "",
        "size": examined.size,
        "sha512": examined.sha512,
        "archive": examined.wrapper,
        "format": found.format if found else None,
        "virtual_size": found.virtual_size if found else None,
        "features": list(found.features) if found else [],
        "targets": [_at(target, examined) for target in config.targets] if config and found else [],
    }


def _at(target: Target, examined: Examination) -> dict[str, Any]:
    """Return what a target would make of an image that the rules accept."""
    from imagesync.errors import UnsupportedFormatError
    from imagesync.images.artifact import ConversionOptions
    from imagesync.images.prepare import choose
    from imagesync.model import UNPACKED

    if examined.found is None:
        raise AssertionError
    options = ConversionOptions(target.convert.compress)
    wrapped = examined.wrapper is not None
    try:
        choice = choose(target.formats, options, examined.found.format, wrapped=wrapped, subject=target.name)
    except UnsupportedFormatError as error:
        return {"name": target.name, "outcome": "refused", "format": None, "reason": error.detail, "hint": error.hint}
    outcome = {None: "as published", UNPACKED: "unpacked"}.get(choice.tag, "converted")
    return {"name": target.name, "outcome": outcome, "format": choice.format, "reason": "", "hint": ""}


def _show(report: dict[str, Any]) -> None:
    from imagesync.plan.render import printable

    lines = [f"{report['verdict']}  {report['source']}"]
    if report["reason"]:
        lines += [f"  {report['reason']}", f"  what to do: {report['hint']}"]
    around = f", inside {report['archive']}" if report["archive"] else ""
    if report["format"]:
        lines.append(f"format   {report['format']}{around}, virtual size {report['virtual_size']} bytes")
    if report["features"]:
        lines.append(f"features {', '.join(report['features'])}")
    lines += [f"size     {report['size']} bytes", f"sha512   {report['sha512']}"]
    for target in report["targets"]:
        what = target["reason"] or f"{target['outcome']}, as {target['format']}"
        lines.append(f"target {target['name']}: {what}")
    click.echo("\n".join(printable(line) for line in lines))
