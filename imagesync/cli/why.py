"""``imagesync why``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagesync.cli.context import Options, as_json, write_json
from imagesync.errors import ConfigError

if TYPE_CHECKING:
    from imagesync.run.provenance import Endorsement, Story
    from imagesync.state import BootRecord, Evidence
    from imagesync.state.repository import Repository

_VERSIONS_SHOWN = 5
_EVENTS_SHOWN = 20
_LINES_SHOWN = 10


@click.command()
@click.argument("key")
@click.option(
    "--export",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the signed lists and what they were verified by there, for anybody with OpenSSL.",
)
@as_json
@click.pass_context
def why(ctx: click.Context, /, *, key: str, directory: Path | None, as_json: bool) -> None:
    """Tell who endorsed the image KEY, when, in which versions of its list, and what happened to it since.

    KEY is an identifier, an ad:mpuri, a title or a SHA-512, or a glob over these. Only the state is read: nothing is
    asked of a list server or a target. Signed lists are kept as long as history.

    Exit codes: 0 something is known; 1 nothing is known of such an image; 2 usage or configuration error; 5 the state
    cannot be read.
    """
    from imagesync.run.provenance import stories
    from imagesync.run.wiring import denials, open_configured_state

    options: Options = ctx.obj
    config = options.config()
    with open_configured_state(config, readonly=True) as state:
        found = stories(key, state, [target.name for target in config.targets], denials(config.deny))
        paths = cache(lambda sha256: _path(state, sha256))  # a version endorses many images
        told = [_story(story, paths) for story in found]
        commands = _export(found, state, directory) if directory is not None else []
    if as_json:
        write_json({"key": key, "exit": 0 if found else 1, "images": told, "verify": commands})
    else:
        _show(key, told)
        for line in commands:
            click.echo(line)
    ctx.exit(0 if found else 1)


# --- as values -------------------------------------------------------------------------------------------------------
def _path(state: Repository, message: str) -> list[dict[str, str]]:
    from imagesync.run.proof import path_of

    return [asdict(link) for link in path_of(state.evidence(message))]


def _story(story: Story, paths: Callable[[str], list[dict[str, str]]]) -> dict[str, Any]:
    from imagesync.plan.spec import timestamp

    return {
        "list": story.list,
        "identifier": story.image,
        "title": story.title,
        "denied": story.denied or None,
        "endorsements": [_endorsement(one, paths) for one in story.endorsements],
        "targets": [
            {
                "name": target,
                "key": str(record.key),
                "state": record.state,
                "reason": record.reason,
                "since": timestamp(record.since),
                "digest": record.digest,
                "format": record.format,
            }
            for target, record in story.standings
        ],
        "boot_checks": [_boot(one, story) for one in story.boots],
        "history": [
            {
                "at": timestamp(event.at),
                "run": event.run,
                "target": event.target,
                "kind": event.kind,
                "reason": event.reason,
                "outcome": event.outcome,
                "error": event.error or None,
            }
            for event in story.history
        ],
    }


def _boot(one: BootRecord, story: Story) -> dict[str, Any]:
    from imagesync.plan.spec import timestamp

    words = ("digest", "machine", "settings", "verdict", "rule", "why", "accelerator", "seconds", "console")
    on = [
        target
        for target, record in story.standings
        if (record.digest, story.asks[target, record.key]) == (one.digest, one.settings)
    ]
    return {"at": timestamp(one.at), "on": on} | {word: getattr(one, word) for word in words}


def _endorsement(one: Endorsement, paths: Callable[[str], list[dict[str, str]]]) -> dict[str, Any]:
    from imagesync.plan.spec import timestamp

    version, entry = one.version, one.entry
    return {
        "subscription": version.subscription,
        "version": version.version,
        "first_seen": timestamp(version.first_seen),
        "last_seen": timestamp(version.last_seen),
        "signer": {"dn": version.signer.dn, "ca": version.signer.ca},
        "chain": paths(version.message),
        "message_sha256": version.message,
        "title": entry.title,
        "image_version": entry.version,
        "mpuri": entry.mpuri,
        "sha512": entry.sha512,
        "expires": entry.expires or None,
    }


# --- as files --------------------------------------------------------------------------------------------------------
def _export(found: tuple[Story, ...], state: Repository, directory: Path) -> list[str]:
    """Write every list version that endorsed one of the images, and return the lines that verify them.

    Raises:
        ConfigError: it cannot be written.
    """
    versions = {one.version.message: one.version for story in found for one in story.endorsements}
    lines = []
    for sha256, version in versions.items():
        blob, pieces = state.message(sha256), state.evidence(sha256)
        if blob is not None and pieces:
            lines.append(_write(directory.absolute() / f"{version.subscription}-{sha256[:12]}", blob, pieces))
    return lines


def _write(directory: Path, blob: bytes, pieces: tuple[Evidence, ...]) -> str:
    from imagesync.files import replace_file
    from imagesync.run.proof import command, files

    line = command(directory, pieces)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in {**files(blob, pieces), "verify.sh": f"{line}\n".encode()}.items():
            replace_file(directory / name, content)
    except OSError as error:
        raise ConfigError(str(directory), f"cannot be written: {error.strerror}", "name another directory") from error
    return line


# --- as text ---------------------------------------------------------------------------------------------------------
def _show(key: str, told: list[dict[str, Any]]) -> None:
    if not told:
        _say(f"{key}: nothing is known of such an image")
    for story in told:
        _say(f"{story['title'] or '(no title)'}  {story['list']}/{story['identifier']}")
        if story["denied"]:
            _say(f"  {story['denied']}")
        for one in story["endorsements"][:_VERSIONS_SHOWN]:
            _show_endorsement(one)
        _rest(story["endorsements"], _VERSIONS_SHOWN, "earlier versions of the list")
        for one in story["targets"]:
            _say(f"  on {one['name']}: {one['state']} since {one['since']}: {one['reason']}")
        for one in {(one["digest"], one["settings"]): one for one in reversed(story["boot_checks"])}.values():
            _show_boot(one)
        for one in story["history"][:_EVENTS_SHOWN]:
            _say(f"  {one['at']} {one['target']}: {one['kind']} {one['outcome']}: {one['error'] or one['reason']}")
        _rest(story["history"], _EVENTS_SHOWN, "earlier events")


def _show_endorsement(one: Mapping[str, Any]) -> None:
    _say(f"  endorsed by version {one['version']} of {one['subscription']}, {one['first_seen']} to {one['last_seen']}")
    _say(f"    image version {one['image_version']}, sha512 {one['sha512'][:16]}…, {one['mpuri']}")
    for link in one["chain"] or [{"subject": one["signer"]["dn"], "not_after": "(certificate not kept)"}]:
        _say(f"    signed by {link['subject']}, good until {link['not_after']}")


def _show_boot(one: Mapping[str, Any]) -> None:
    where = f"on {', '.join(one['on'])}" if one["on"] else "on no target"
    how = f"under {one['accelerator']} for {one['seconds']:.0f} s"
    _say(f"  started {one['at']} {how}: {one['verdict']}: {one['why']} (file {one['digest'][:16]}…, {where})")
    _say(f"    in a machine by {one['settings']}")
    for line in one["console"].strip().split("\n")[-_LINES_SHOWN:]:
        _say(f"    | {line}")


def _rest(items: list[Any], shown: int, what: str) -> None:
    if len(items) > shown:
        _say(f"  and {len(items) - shown} {what} (--json has all)")


def _say(line: str) -> None:
    from imagesync.plan.render import short

    click.echo(short(line, 1000))
