"""``imagesync revoke``: take an image off every target, whatever its list says, and keep it off."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagesync.cli.context import Options, as_json, clock, whoami, write_json
from imagesync.errors import ConfigError, StateError

if TYPE_CHECKING:
    from imagesync.config.schema import Config

_HEAD = "# Written by imagesync revoke. To lift it: imagesync revoke --lift {name}, or delete this file.\n"


@click.command()
@click.option("--identifier", metavar="GLOB", help="The image's identifier.")
@click.option("--mpuri", metavar="GLOB", help="The image's marketplace URI (ad:mpuri).")
@click.option("--sha512", metavar="GLOB", help="The SHA-512 of its file, as published or as converted for a target.")
@click.option("--signer", metavar="GLOB", help="Who signed its list: the DN in slash form.")
@click.option("--list", metavar="GLOB", help="The identifier of its list.")
@click.option("--list-version", metavar="GLOB", help="The version of its list.")
@click.option("--reason", metavar="TEXT", help="Why; shown wherever the image is. Required.")
@click.option("--by", metavar="WHO", help="Who recalls it.  [default: this user and host]")
@click.option("--now", "at_once", is_flag=True, help="Retire it on the targets at once, asking no list server.")
@click.option("--lift", metavar="NAME", help="Instead, take back the recall that deny.d/NAME.yaml holds.")
@as_json
@click.pass_context
def revoke(ctx: click.Context, /, **chosen: Any) -> None:  # noqa: ANN401 - as declared by the options
    """Recall images: they are retired in the next pass, also while their list is unknown, and stay so.

    All patterns that are given must match; they are globs, and case does not matter. The recall is a file in deny.d
    beside the configuration, so that losing the state does not publish the image again. The guard does not apply.

    Exit codes: 0 written, and with --now done; 1 not done on every target; 2 usage or configuration error; 5 no target
    answered; 6 a target is locked. Whatever the code, what was written takes effect in the next pass.
    """
    options: Options = ctx.obj
    lift, at_once, json_wanted = chosen.pop("lift"), chosen.pop("at_once"), chosen.pop("as_json")
    if lift is not None:
        ctx.exit(_lift(options, lift, any(chosen.values()) or at_once, as_json=json_wanted))
    ctx.exit(_revoke(options, chosen, at_once=at_once, as_json=json_wanted))


def _revoke(options: Options, chosen: Mapping[str, str | None], *, at_once: bool, as_json: bool) -> int:
    from imagesync.cli import show
    from imagesync.cli.passes import recall

    config = options.config()
    entry = _entry(chosen, clock())
    entries = [entry, *_bytes_of(config, entry)]
    path = _write(config.path.parent / "deny.d", entries)
    click.echo(f"{path}: effective in the next pass", err=True)
    result: dict[str, Any] = {"file": str(path), "entries": entries, "exit": 0, "targets": []}
    if at_once:
        result |= recall(options)
    if as_json:
        write_json(result)
        return int(result["exit"])
    click.echo(f"recalled, until imagesync revoke --lift {path.stem}")
    show.targets(result)
    return int(result["exit"])


def _entry(chosen: Mapping[str, str | None], now: datetime) -> dict[str, str]:
    """Return what the file says.

    Raises:
        ConfigError: it would recall nothing or everything, or does not say why.
    """
    from pydantic import ValidationError

    from imagesync.config.selection import DenyEntry

    if not (chosen["reason"] or "").strip():
        raise ConfigError("revoke", "does not say why", "give --reason; it is shown wherever the image is")
    given = {name: value for name, value in chosen.items() if value}
    given |= {"at": f"{now:%Y-%m-%dT%H:%M:%SZ}", "by": given.get("by") or whoami()}
    try:
        DenyEntry.model_validate(given)
    except ValidationError as error:
        detail = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError("revoke", detail, "see imagesync revoke --help") from error
    return given


def _bytes_of(config: Config, entry: Mapping[str, str]) -> list[dict[str, str]]:
    """Return entries for the bytes that an ``--mpuri`` has named in any list that was accepted and is still kept.

    AppDB gives every image a new one at each publication, changed or not: alone it would recall until then, and one
    of before nothing at all. The other patterns go on counting.
    """
    from imagesync.config.selection import DENY_FIELDS

    try:
        digests = _named(config, entry)
    except StateError as error:  # a recall must not wait for it
        click.echo(f"only what was named is recalled, which bytes that means is not known: {error}", err=True)
        return []
    if not digests and "sha512" not in entry:  # which may be that of a converted file
        click.echo("no image of a list that was accepted is meant: check the names, unless it is to come", err=True)
    if "mpuri" not in entry:
        return []
    others = {name: value for name, value in entry.items() if name not in {"mpuri", "sha512"}}
    names = [name for name in others if name in DENY_FIELDS]
    about = {name: others[name] for name in (*names, "reason", "at", "by")}
    return [{"sha512": digest} | about for digest in sorted(digests)]


def _named(config: Config, entry: Mapping[str, str]) -> set[str]:
    """Return the SHA-512 of each image that ``entry`` names, as published.

    Raises:
        StateError: the state cannot be read.
    """
    from imagesync.config.selection import DenyEntry
    from imagesync.run.denial import denial_of, listed_entries
    from imagesync.run.wiring import denials, open_configured_state

    wanted = denials([DenyEntry.model_validate(dict(entry))])
    with open_configured_state(config, readonly=True) as state:
        found = {
            one.sha512.lower()
            for version in state.versions()
            for one in listed_entries(state.message(version.message) or b"")
            if denial_of(one, version, wanted)
        }
    # Others would be globs, by the word of a stranger.
    return {digest for digest in found if re.fullmatch(r"[0-9a-f]{128}", digest)}


def _write(directory: Path, entries: Sequence[Mapping[str, str]]) -> Path:
    import yaml

    from imagesync.files import replace_file

    text = yaml.safe_dump({"deny": [dict(entry) for entry in entries]}, sort_keys=False, allow_unicode=True)
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    name = f"{entries[0]['at'].replace('-', '').replace(':', '')}-{digest}"
    path = directory / f"{name}.yaml"
    try:
        directory.mkdir(exist_ok=True)
        replace_file(path, (_HEAD.format(name=name) + text).encode("utf-8"))
    except (OSError, UnicodeEncodeError) as error:
        raise ConfigError(str(path), f"cannot be written: {error}", "nothing was recalled: check the folder") from error
    return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False


def _lift(options: Options, name: str, more: object, *, as_json: bool) -> int:
    """Remove a file of ``deny.d``: the next pass offers again what it recalled, if its list still does."""
    if more:
        raise ConfigError("revoke", "--lift goes with no other option", "lift first, then recall anew")
    directory = options.config_path.absolute().parent / "deny.d"
    path = directory / f"{name.removesuffix('.yaml')}.yaml"
    if path.parent != directory or not _is_file(path):
        known = ", ".join(sorted(file.stem for file in directory.glob("[!.]*.yaml"))) or "none"
        raise ConfigError(name, f"is no recall in {directory}", f"there are: {known}")
    try:
        path.unlink()
    except OSError as error:
        raise ConfigError(str(path), f"cannot be removed: {error.strerror}", "check the folder") from error
    if as_json:
        write_json({"lifted": str(path), "exit": 0})
    else:
        click.echo(f"{path}: lifted, effective in the next pass")
    return 0
