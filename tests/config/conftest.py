from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from imagesync.config.load import load
from imagesync.config.schema import Config
from imagesync.errors import ConfigError

MINIMAL = """\
state: sqlite:////var/lib/x/state.db
cache: /var/cache/x
subscriptions:
  - name: fedcloud
    vo: fedcloud.egi.eu
    url: https://lists.example.org/image.list
    endorsers: [{dn: /DC=org/CN=endorser, ca: /DC=org/CN=ca}]
targets:
  - {name: site, backend: directory, path: images}
"""


class Files:
    """A directory with a configuration in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.main = directory / "imagesync.yaml"

    def write(self, text: str, name: str = "imagesync.yaml") -> Path:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def load(self, **environment: str) -> Config:
        return load(self.main, {"HOME": "/home/x"} | environment)

    def problems(self) -> list[str]:
        """Return the problems, without the directory's name; none if it loads."""
        try:
            self.load()
        except ConfigError as error:
            return [problem.replace(f"{self.directory}/", "") for problem in error.problems]
        return []


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def minimal() -> str:
    """The text of a small configuration without problems."""
    return MINIMAL


@pytest.fixture
def loaded(files: Files) -> Callable[..., Config]:
    """Load the small configuration with more lines at its end."""

    def load_with(more: str = "", **environment: str) -> Config:
        files.write(MINIMAL + more)
        return files.load(**environment)

    return load_with


@pytest.fixture
def problems(files: Files) -> Callable[..., list[str]]:
    """Return the problems of the small configuration with text replaced, or with more lines at its end."""

    def problems_with(more: str = "", *, old: str = "", new: str = "") -> list[str]:
        assert old in MINIMAL
        files.write(MINIMAL.replace(old, new, 1) + more if old else MINIMAL + more)
        return files.problems()

    return problems_with
