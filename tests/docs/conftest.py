"""The documents, what blocks they hold, and a shell that does what a reader would type."""

import os
import subprocess
import sys
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
def commands(blocks: Callable[[Path, str], list[str]]) -> Callable[[Path], list[tuple[str, str]]]:
    """Return a function from a document to its console commands and what they print, in order.

    ``$`` begins a command, a backslash continues it; the lines up to the next one are its output.
    """

    def find(document: Path) -> list[tuple[str, str]]:
        return [command for text in blocks(document, "console") for command in _commands(text)]

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


def _commands(text: str) -> Iterator[tuple[str, str]]:
    for part in f"\n{text}".replace("\\\n", "").split("\n$ ")[1:]:
        line, _, output = part.partition("\n")
        yield line, output.strip("\n")
