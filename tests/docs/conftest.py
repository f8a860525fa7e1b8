"""The documents, what blocks they hold, and a shell that does what a reader would type."""

import doctest
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the top of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def blocks() -> Callable[[Path, str], list[str]]:
    """Return a function from a document and a language to the text of its code blocks, in order."""
    return _blocks


@pytest.fixture(scope="session")
def commands() -> Callable[[Path], list[tuple[str, str]]]:
    """Return a function from a document to its console commands and what they print, in order.

    ``$`` begins a command, a backslash continues it; the lines up to the next one are its output.
    """

    def find(document: Path) -> list[tuple[str, str]]:
        return [command for text in _blocks(document, "console") for command in _commands(text)]

    return find


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[str, Path], subprocess.CompletedProcess[str]]:
    """Return a function that runs a line in a directory, with the environment that the line before left.

    The program of this test's own Python is not on the PATH.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "IMAGESYNC_"))}
    path = ":".join(part for part in os.environ["PATH"].split(":") if part != str(PROGRAMS))
    environment = kept | {"PATH": path, "HOME": str(tmp_path), "COLUMNS": "120"}
    left = tmp_path / ".environment"

    def run(line: str, where: Path) -> subprocess.CompletedProcess[str]:
        script = f'{line}\ncode=$?\nenv -0 >"$1"\nexit $code'
        command = ["sh", "-c", script, "sh", str(left)]
        ran = subprocess.run(
            command, cwd=where, env=environment, capture_output=True, text=True, check=False, timeout=280
        )
        if left.exists():
            environment.clear()
            environment.update(entry.split("=", 1) for entry in left.read_text().split("\0") if entry)
        return ran

    return run


@pytest.fixture(scope="session")
def prints() -> Callable[[str, str], bool]:
    """Return whether a text is what a document says, in which ``...`` stands for anything."""

    def same(said: str, printed: str) -> bool:
        options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        return not said or doctest.OutputChecker().check_output(f"{said}\n", printed, options)

    return same


def _blocks(document: Path, language: str) -> list[str]:
    lines = iter(document.read_text(encoding="utf-8").splitlines())
    heads = (line for line in lines if line.strip() == f".. code-block:: {language}")
    return [_block(lines, len(line) - len(line.lstrip())) for line in heads]


def _block(lines: Iterator[str], indent: int) -> str:
    taken: list[str] = []
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        taken.append(line)
    return textwrap.dedent("\n".join(taken)).strip("\n")


def _commands(text: str) -> Iterator[tuple[str, str]]:
    for part in f"\n{text}".replace("\\\n", "").split("\n$ ")[1:]:
        line, _, output = part.partition("\n")
        yield line, output.strip("\n")
