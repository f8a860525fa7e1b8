"""README.rst is true: its commands run, its output is what they print, its configuration is accepted.

In a ``console`` block, ``$`` begins a command; the lines after it, up to the next one, are its output, in which ``...``
stands for anything. A command without output lines must only succeed. Commands run in order in one directory that is also
the home; ``make`` runs at the top of the repository. ``make test`` is left out: this is a part of it.
"""

import doctest
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagesync.config.load import load

Blocks = Callable[[Path, str], list[str]]


@dataclass(frozen=True, slots=True)
class Command:
    """A line that a reader would type, and what it prints according to the document."""

    line: str
    output: str


def _commands(text: str) -> Iterator[Command]:
    for part in f"\n{text}".split("\n$ ")[1:]:
        line, _, output = part.partition("\n")
        yield Command(line, output.strip("\n"))


def _run(command: Command, root: Path, home: Path) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "IMAGESYNC_"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = kept | {"PATH": path, "HOME": str(home), "COLUMNS": "120"}
    where = root if command.line.startswith("make ") else home
    return subprocess.run(
        ["sh", "-c", command.line], cwd=where, env=environment, capture_output=True, text=True, check=False, timeout=280
    )


def test_the_commands_of_the_readme_run_and_print_what_it_says(root: Path, blocks: Blocks, tmp_path: Path) -> None:
    commands = [command for text in blocks(root / "README.rst", "console") for command in _commands(text)]
    same = doctest.OutputChecker().check_output

    assert len(commands) >= 5
    for command in commands:
        if command.line != "make test":
            ran = _run(command, root, tmp_path)
            assert ran.returncode == 0, f"{command.line}\n{ran.stdout}{ran.stderr}"
            if command.output:
                options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
                assert same(f"{command.output}\n", ran.stdout, options), f"{command.line} printed\n{ran.stdout}"


@pytest.mark.parametrize("document", ["README.rst", "docs/configuration.rst"])
def test_the_configuration_in_a_document_is_accepted(root: Path, blocks: Blocks, tmp_path: Path, document: str) -> None:
    (text,) = [text for text in blocks(root / document, "yaml") if "subscriptions:" in text]
    file = tmp_path / "imagesync.yaml"
    file.write_text(text)

    config = load(file, {})

    assert [target.name for target in config.targets] == ["library"]


def test_the_readme_names_only_files_that_exist(root: Path) -> None:
    words = (root / "README.rst").read_text(encoding="utf-8").split("``")[1::2]
    named = [word for word in words if word.startswith(("docs/", "packaging/", "tests/")) or word.endswith(".rst")]

    assert named
    assert [name for name in named if not (root / name).exists()] == []
