"""README.rst is true: its commands run, its output is what they print, its configuration is accepted.

A command without output lines must only succeed. Commands run in order and keep what they change of the environment,
so that what the README says about the PATH is what makes the program found. ``make`` and what names a file of the
repository run at its top, the others in an empty directory that is also the home. ``make test`` is left out: this is a
part of it.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from imagesync.config.load import load

Blocks = Callable[[Path, str], list[str]]


def test_the_commands_of_the_readme_run_and_print_what_it_says(
    root: Path,
    tmp_path: Path,
    commands: Callable[[Path], list[tuple[str, str]]],
    shell: Callable[[str, Path], subprocess.CompletedProcess[str]],
    prints: Callable[[str, str], bool],
) -> None:
    found = commands(root / "README.rst")

    assert len(found) >= 6
    for line, output in found:
        if line != "make test":
            ran = shell(line, root if line.startswith(("make ", ". ")) else tmp_path)
            assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
            assert prints(output, ran.stdout), f"{line} printed\n{ran.stdout}"


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
