"""The ``imagesync`` command: options of every command, errors to exit codes.

Start-up is fast because nothing but click is imported here and at the top of the command modules; what a command
needs is imported when it runs.
"""

from __future__ import annotations

import gc
import importlib
import sys
from pathlib import Path

import click

from imagesync import __version__
from imagesync.cli.context import INTERRUPTED, Options, complain, write_json
from imagesync.errors import (
    ConfigError,
    ImagesyncError,
    LockedError,
    SourceError,
    StateError,
    TrustError,
    TrustStoreUnusableError,
)

COMMANDS = {
    "sync": "imagesync.cli.sync:sync",
    "plan": "imagesync.cli.plan:plan",
    "status": "imagesync.cli.status:status",
    "why": "imagesync.cli.why:why",
    "probe": "imagesync.cli.probe:probe",
    "revoke": "imagesync.cli.revoke:revoke",
    "pause": "imagesync.cli.pause:pause",
    "resume": "imagesync.cli.pause:resume",
    "list": "imagesync.cli.lists:lists",
    "image": "imagesync.cli.images:image",
    "store": "imagesync.cli.store:store",
    "state": "imagesync.cli.state:state",
    "bundle": "imagesync.cli.bundle:bundle",
    "config": "imagesync.cli.config:config",
    "backends": "imagesync.cli.backends:backends",
    "prune": "imagesync.cli.prune:prune",
    "daemon": "imagesync.cli.daemon:daemon",
    "pass": "imagesync.cli.supervised:supervised",
    "demo": "imagesync.cli.demo:demo",
}
"""The commands in the order of ``--help``, each as ``module:function``."""


class _Commands(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Documentation: docs/ of the source, or README.rst for the first ten minutes.",
)
@click.version_option(__version__, prog_name="imagesync")
@click.option(
    "-c",
    "--config",
    "config_path",
    metavar="FILE",
    envvar="IMAGESYNC_CONFIG",
    default="/etc/imagesync/imagesync.yaml",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The configuration; conf.d/*.yaml and deny.d/*.yaml beside it are read too.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    envvar="IMAGESYNC_LOG_LEVEL",
    help="The least severe messages on standard error.  [default: info for sync and plan, warning on a terminal]",
)
@click.option("--log-json", is_flag=True, help="Log as one JSON object a line.")
@click.pass_context
def cli(ctx: click.Context, config_path: Path, log_level: str | None, *, log_json: bool) -> None:
    """Keep a cloud's VM image catalogue equal to what signed HEPiX image lists say.

    imagesync fetches the lists that you subscribe to, verifies who signed them, downloads and checks the images,
    converts them, and registers, replaces or retires them on your targets. What it could not verify in this run it
    does not touch.

    Begin with `imagesync demo`, or with `imagesync config init > imagesync.yaml` and `imagesync -c imagesync.yaml
    plan`.
    """
    ctx.obj = Options(config_path, log_level, log_json=log_json)


def run() -> None:
    """Run the command line and exit with its code."""
    # A pass makes many objects that stay and hardly a cycle. A pass with nothing to do over a thousand images makes
    # 140,000; looking for cycles every 700 of them costs a tenth of it, and still a twentieth every 50,000.
    gc.set_threshold(200_000)
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = INTERRUPTED
    except ImagesyncError as error:
        _show(error)
        code = code_of(error)
    # The interpreter's last look for cycles would go through all of it, to free what ends with the process anyway.
    gc.freeze()
    sys.exit(code if isinstance(code, int) else 0)


def code_of(error: ImagesyncError) -> int:
    """Return the exit code for an error that ended a command."""
    match error:
        case ConfigError() | TrustStoreUnusableError():
            return 2
        case LockedError():
            return 6
        case TrustError():
            return 3
        case SourceError() | StateError():
            return 5
        case _:
            return 1


def _show(error: ImagesyncError) -> None:
    problems = error.problems if isinstance(error, ConfigError) else (str(error),)
    for problem in problems:
        complain(f"imagesync: {problem}")
    if "--json" in sys.argv:
        write_json({"exit": code_of(error), "problems": list(problems)})
