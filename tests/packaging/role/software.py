"""What the tests of the role need besides this checkout, made once, in a cache that all work trees share."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from cloud.software import NotInstalledError, Software, cache, exclusive, software
from cloud.software import install as install_software

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
_REQUIREMENTS = HERE / "requirements-ansible.txt"


@dataclass(frozen=True, slots=True)
class Wheels:
    """The wheels that imagesync depends on. They are complete once ``stamp`` exists."""

    home: Path

    @property
    def stamp(self) -> Path:
        """Return the file that is written last."""
        return self.home / "complete"

    @property
    def files(self) -> list[Path]:
        """Return the wheels."""
        return sorted(self.home.glob("*.whl"))

    def check(self) -> None:
        """Raise NotInstalledError unless they are complete."""
        if not self.stamp.exists():
            raise NotInstalledError(f"{self.home} is missing: run .ci/ansible, or make test-packaging")


def ansible() -> Software:
    """Return where Ansible and its linter are, or will be."""
    return software(_REQUIREMENTS)


def wheels() -> Wheels:
    """Return where the wheels of the declared dependencies are, or will be."""
    text = "\0".join((sys.version, *_dependencies()))
    return Wheels(cache() / f"wheels-{hashlib.sha256(text.encode()).hexdigest()[:16]}")


def install() -> None:
    """Make what is missing; two processes may do so at once."""
    install_software(_REQUIREMENTS)
    wanted = wheels()
    with exclusive(wanted.home.with_suffix(".lock")):
        if not wanted.stamp.exists():
            shutil.rmtree(wanted.home, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, f"--wheel-dir={wanted.home}", *_dependencies()], check=True)
            wanted.stamp.touch()


def _dependencies() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["dependencies"])
