"""``imagesync config init --from-cloudkeeper`` and ``--from-atrope``: their configuration in our words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imagesync.cli.context import write_json
from imagesync.cli.predecessor_options import PredecessorOptions
from imagesync.errors import ConfigError
from imagesync.plan.render import printable

if TYPE_CHECKING:
    from imagesync.config.predecessors.finds import Found

USUAL_PLACE = Path("/etc/imagesync")


def carry_over(options: PredecessorOptions, *, as_json: bool) -> None:
    """Show what another program's files say in our words, or write it into a directory.

    Raises:
        ConfigError: theirs cannot be read, or ours cannot be written.
    """
    found = _read(options)
    if options.into is not None:
        _write(found, options.into)
    if as_json:
        secrets = [{"file": str(secret.file), "from": secret.place} for secret in found.secrets]
        write_json({**found.content, "secrets": secrets, "not_carried_over": list(found.remarks)})
    else:
        click.echo(as_text(found), nl=False)


def _read(options: PredecessorOptions) -> Found:
    from imagesync.config.predecessors.atrope import read_atrope
    from imagesync.config.predecessors.cloudkeeper import read_cloudkeeper

    secrets = (options.into or USUAL_PLACE).absolute() / "secrets"
    if options.from_cloudkeeper is not None:
        return read_cloudkeeper(options.from_cloudkeeper, secrets, coexist=options.coexist)
    return read_atrope(options.from_atrope or Path(), secrets, coexist=options.coexist)


def as_text(found: Found) -> str:
    """Return a file for ``conf.d``, with what could not be carried over as a comment."""
    import yaml

    lines = [
        f"Made from the configuration of {found.program}. Images are uploaded anew; those that it made stay as",
        f"they are. The two must not work at the same time on one project: stop {found.program} first.",
        "",
        "Not carried over, or to be done by hand:" if found.remarks else "Everything could be carried over.",
        *(f"* {remark}" for remark in found.remarks),
        *(("", "Secrets have files of their own:") if found.secrets else ()),
        *(f"* {secret.file}, from {secret.place}" for secret in found.secrets),
    ]
    head = "".join(f"# {printable(line)}".rstrip() + "\n" for line in lines)
    return head + yaml.safe_dump(dict(found.content), sort_keys=False, allow_unicode=True)


# --- files -----------------------------------------------------------------------------------------------------------
def _write(found: Found, into: Path) -> None:
    """Write the secrets and then the file that names them. Nothing is replaced; on failure nothing is left."""
    texts = {secret.file: (f"{secret.value}\n", 0o600) for secret in found.secrets}
    texts[into / "conf.d" / f"from-{found.program}.yaml"] = (as_text(found), 0o640)
    made: list[Path] = []
    for path, (text, mode) in texts.items():
        try:
            _directory(into, into.parent)
            _directory(path.parent, into)
            _create(path, text, mode, made)
        except OSError as error:
            for one in made:
                one.unlink()
            hint = "move it away first" if isinstance(error, FileExistsError) else "nothing was left behind"
            raise ConfigError(str(path), f"cannot be made: {error.strerror}", hint) from error


def _directory(path: Path, above: Path) -> None:
    """Make a directory of the group that the one above is of: where root writes, the service may look."""
    if not path.exists():
        path.mkdir(mode=0o750, parents=True)
        os.chown(path, -1, above.stat().st_gid)


def _create(path: Path, text: str, mode: int, made: list[Path]) -> None:
    """Make a file of its directory's group, which may read it if that is not the group of whoever writes."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    made.append(path)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - takes over the descriptor
        group = path.parent.stat().st_gid
        if group != os.getegid():
            os.fchown(descriptor, -1, group)
            os.fchmod(descriptor, 0o640)
        file.write(text)
