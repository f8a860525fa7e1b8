"""Whoever builds the same source gets the same bytes, wherever and whenever it is done."""

import hashlib
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def elsewhere(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the source distribution unpacked in another place, by somebody stricter, long ago, and built from there."""
    place = tmp_path_factory.mktemp("elsewhere")
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    (tree,) = place.iterdir()
    for path in tree.rglob("*"):
        path.chmod(0o700 if path.is_dir() or path.stat().st_mode & 0o100 else 0o600)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", str(place / "dist")],
        cwd=tree, env={"PATH": os.defpath, "TZ": "Asia/Kathmandu", "LC_ALL": "C"},
        umask=0o077, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return place / "dist"


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_distribution_built_elsewhere_is_the_same(kind: str, elsewhere: Path, request: pytest.FixtureRequest) -> None:
    here: Path = request.getfixturevalue(kind)

    assert _digest(elsewhere / here.name) == _digest(here)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
