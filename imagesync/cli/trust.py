"""The options of the commands that judge one message. Nothing but click is imported: every start reads this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

USUAL_ANCHORS = Path("/etc/grid-security/certificates")


def trust_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--anchors``, ``--crls`` and ``--crl`` to a command; ``TrustOptions`` takes them."""
    directory = click.Path(path_type=Path)
    several = [
        click.option(
            "--anchors",
            type=directory,
            help=f"The trust anchors (IGTF layout).  [default: the configuration's, else {USUAL_ANCHORS}]",
        ),
        click.option(
            "--crls", type=directory, help="With --anchors: CRLs that a site fetched itself (crls below its cache)."
        ),
        click.option(
            "--crl",
            type=click.Choice(["require", "if-present", "off"]),
            help="What to do about certificate revocation lists.  [default: the configuration's, else require]",
        ),
    ]
    for option in reversed(several):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class TrustOptions:
    """What the command line says about trust."""

    anchors: Path | None
    crls: Path | None
    crl: str | None
