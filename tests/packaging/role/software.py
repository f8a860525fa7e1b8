"""What the tests of the role need besides this checkout, made once, in a cache that all work trees share."""

from __future__ import annotations

from pathlib import Path

from cloud.software import NotInstalledError, Software, software
from cloud.software import install as install_software

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
_REQUIREMENTS = HERE / "requirements-ansible.txt"
_WHEELS = ROOT / "build" / "wheels"


def ansible() -> Software:
    """Return where Ansible and its linter are, or will be."""
    return software(_REQUIREMENTS)


def locked() -> list[Path]:
    """Return the wheels that imagesync is released with, and the file that locks them.

    Raises:
        NotInstalledError: they were not fetched.
    """
    if not (_WHEELS / "complete").exists():
        raise NotInstalledError(f"{_WHEELS} is missing: run .ci/wheels, or make test-packaging")
    own = set(_WHEELS.glob("imagesync-*.whl"))
    return [_WHEELS / "requirements.txt", *sorted(set(_WHEELS.glob("*.whl")) - own)]


def install() -> None:
    """Install Ansible unless it is there; two processes may do so at once."""
    install_software(_REQUIREMENTS)
