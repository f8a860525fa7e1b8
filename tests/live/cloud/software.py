"""The servers' own virtual environment: made once, in a cache that all work trees share."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
INSTALL = ".ci/cloud"


class NotInstalledError(Exception):
    """The servers are not there, and tests install nothing."""


@dataclass(frozen=True, slots=True)
class Software:
    """A virtual environment with pinned servers. It is complete once ``stamp`` exists."""

    home: Path

    @property
    def stamp(self) -> Path:
        """Return the file that is written last."""
        return self.home / "complete"

    def program(self, name: str) -> str:
        """Return the path of an installed program."""
        return str(self.home / "bin" / name)

    def check(self) -> None:
        """Raise NotInstalledError unless it is complete."""
        if not self.stamp.exists():
            raise NotInstalledError(f"{self.home} is missing: run {INSTALL}, or make test")


def cache() -> Path:
    """Return the directory that holds what is made once; ``XDG_CACHE_HOME`` moves it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "imagesync-tests"


def digest_of(paths: Iterable[Path]) -> str:
    """Return a short digest of the interpreter and the content of files."""
    found = hashlib.sha256(f"{sys.version}\0{sys.base_prefix}".encode())
    for path in paths:
        found.update(b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


def software(requirements: Path = HERE / "requirements.txt") -> Software:
    """Return where the servers of a requirements file are, or will be."""
    kind = requirements.stem.removeprefix("requirements").strip("-") or "cloud"
    return Software(cache() / f"{kind}-{digest_of([requirements])}")


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock that the kernel gives back when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def install(requirements: Path = HERE / "requirements.txt") -> Software:
    """Return the servers, installed when they are missing; two processes may do so at once."""
    wanted = software(requirements)
    with exclusive(wanted.home.with_suffix(".lock")):
        if not wanted.stamp.exists():
            shutil.rmtree(wanted.home, ignore_errors=True)
            _uv("venv", "--python", sys.executable, str(wanted.home))
            _uv("pip", "install", "--python", wanted.program("python"), "--requirements", str(requirements))
            wanted.stamp.touch()
    return wanted


def _uv(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "uv", "--quiet", *arguments], check=True)
