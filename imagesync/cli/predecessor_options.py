"""The options of ``config init`` about other programs. Nothing but click is imported: every start reads this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click


def predecessor_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command; ``PredecessorOptions`` takes them."""
    path = click.Path(path_type=Path)
    several = [
        click.option(
            "--from-cloudkeeper", type=path, metavar="DIR", help="Write what cloudkeeper's directory says instead."
        ),
        click.option("--from-atrope", type=path, metavar="FILE", help="Write what atrope's file says instead."),
        click.option(
            "--into",
            type=path,
            metavar="DIR",
            help="Beside one of those: write into conf.d and secrets of this directory, and replace nothing there.",
        ),
        click.option(
            "--coexist", is_flag=True, help="Beside one of those: it is stopped for good, and its images may stay."
        ),
    ]
    for option in reversed(several):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class PredecessorOptions:
    """What the command line says about another program."""

    from_cloudkeeper: Path | None
    from_atrope: Path | None
    into: Path | None
    coexist: bool

    def given(self, *, from_list: str | None) -> bool:
        """Return whether another program's files are to be read.

        Raises:
            UsageError: several things are to be read, or options stand without what they are for.
        """
        sources = [one for one in (self.from_cloudkeeper, self.from_atrope, from_list) if one is not None]
        if len(sources) > 1:
            raise click.UsageError("give one of --from-list, --from-cloudkeeper and --from-atrope")
        if self.from_cloudkeeper or self.from_atrope:
            return True
        if self.into or self.coexist:
            raise click.UsageError("--into and --coexist stand beside --from-cloudkeeper or --from-atrope")
        return False
