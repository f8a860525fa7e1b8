"""Writes the completions for bash, zsh and fish beside this script, or into a folder that is named: ``make man``."""

import sys
from pathlib import Path

from click.shell_completion import get_completion_class

from imagesync.cli.main import cli

FILES = {"bash": "imagesync.bash", "zsh": "_imagesync", "fish": "imagesync.fish"}
"""The file for each shell, named as that shell looks for it; bash's loses its suffix where it is installed."""


def script(shell: str) -> str:
    """Return the completion for a shell.

    It asks the program itself, so that it also fits a version of the program that it was not made by.
    """
    completion = get_completion_class(shell)
    if completion is None:
        raise ValueError(f"click knows no completion for {shell}")
    return completion(cli, {}, "imagesync", "_IMAGESYNC_COMPLETE").source().strip() + "\n"


def main() -> None:
    """Write the completions into the folder on the command line."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for shell, name in FILES.items():
        (folder / name).write_text(script(shell), encoding="utf-8")


if __name__ == "__main__":
    main()
