"""The documents, and what blocks they hold."""

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the top of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def blocks() -> Callable[[Path, str], list[str]]:
    """Return a function from a document and a language to the text of its code blocks, in order."""

    def find(document: Path, language: str) -> list[str]:
        lines = iter(document.read_text(encoding="utf-8").splitlines())
        heads = (line for line in lines if line.strip() == f".. code-block:: {language}")
        return [_block(lines, len(line) - len(line.lstrip())) for line in heads]

    return find


def _block(lines: Iterator[str], indent: int) -> str:
    taken: list[str] = []
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        taken.append(line)
    return textwrap.dedent("\n".join(taken)).strip("\n")
