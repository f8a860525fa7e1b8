"""What every command has at hand: the common options, and what follows from them when it is asked for."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from imagesync.config.schema import Config

INTERRUPTED = 130
"""The exit code after SIGTERM or Ctrl-C."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options that stand before the command.

    A pass of the daemon also has the text of the configuration's ``files`` and the id of its run, and is told of each
    line of the log.
    """

    config_path: Path
    log_level: str | None
    log_json: bool
    files: Mapping[str, str] | None = None
    on_log: Callable[[], None] | None = None
    run_id: str = ""

    def config(self) -> Config:
        """Return the configuration.

        Raises:
            ConfigError: with every problem found.
        """
        from imagesync.config.load import load

        return load(self.config_path, os.environ, self.files)

    def start_logging(self, level: str = "") -> str:
        """Configure logging to standard error for one run, and return the run's id, which every line carries.

        ``level`` is used when the command line names none. Without it that is ``info``, or ``warning`` on a terminal,
        where progress is drawn and a summary follows.
        """
        from imagesync.cli.logs import configure

        run_id = self.run_id or new_run_id()
        usual = "warning" if sys.stderr.isatty() else "info"
        configure(self.log_level or level or usual, json_lines=self.log_json, run=run_id, on_line=self.on_log)
        return run_id


def new_run_id() -> str:
    """Return a name for a run that begins now."""
    return f"{clock():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def clock() -> datetime:
    """Return the current time. Commands read it once and pass it on."""
    return datetime.now(UTC)


def environment() -> Mapping[str, str]:
    """Return the process's environment. Nothing below the command line reads it."""
    return os.environ


def is_journal() -> bool:
    """Return whether standard error leads to the journal (systemd.exec(5), ``JOURNAL_STREAM``)."""
    try:
        there = os.fstat(2)
    except OSError:
        return False
    return environment().get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"


def complain(text: str) -> None:
    """Say on standard error what went wrong, to the journal as an error (sd-daemon(3))."""
    click.echo(f"{'<3>' if is_journal() else ''}{text}", err=True)


def whoami() -> str:
    """Return who is at work, as far as the environment says."""
    from socket import gethostname

    known = environment()
    user = known.get("SUDO_USER") or known.get("LOGNAME") or known.get("USER") or "unknown"
    return f"{user}@{gethostname()}"


def write_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write ``value`` to standard output as indented JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=not _is_utf8())
    click.echo(text.encode("utf-8", "backslashreplace").decode())  # a file's name may have bytes that are no UTF-8


def _is_utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


as_json = click.option("--json", "as_json", is_flag=True, help="Write the result to standard output as JSON.")
"""The option that every command has."""
