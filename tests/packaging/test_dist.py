"""What the wheel and the source distribution hold, and that the wheel works without this checkout."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

PACKAGES = ("imagesync", "imagesync_directory", "imagesync_glance")


def _files(root: Path, *folders: str) -> set[str]:
    found = (path for folder in folders for path in (root / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(root)) for path in found if "__pycache__" not in path.parts}


def test_the_wheel_adds_three_names_to_site_packages(wheel: Path) -> None:
    names = {PurePosixPath(name).parts[0] for name in ZipFile(wheel).namelist()}

    assert {name for name in names if not name.endswith((".dist-info", ".data"))} == set(PACKAGES)


def test_the_wheel_holds_every_file_of_the_packages(root: Path, wheel: Path) -> None:
    sources = _files(root, "imagesync", "backends")

    assert {name.removeprefix("backends/") for name in sources} <= set(ZipFile(wheel).namelist())


def test_the_wheel_holds_man_pages_and_completions(wheel: Path) -> None:
    names = (PurePosixPath(name).parts for name in ZipFile(wheel).namelist())

    assert {"/".join(parts[2:]) for parts in names if parts[0].endswith(".data")} == {
        "share/man/man1/imagesync.1",
        "share/man/man5/imagesync.yaml.5",
        "share/bash-completion/completions/imagesync",
        "share/zsh/site-functions/_imagesync",
        "share/fish/vendor_completions.d/imagesync.fish",
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_that_it_is_typed(wheel: Path, package: str) -> None:
    assert f"{package}/py.typed" in ZipFile(wheel).namelist()


def test_the_source_distribution_holds_what_is_in_the_repository_and_nothing_else(root: Path, sdist: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no checkout")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}

    assert names - {"PKG-INFO"} == set(listed.stdout.split("\0")) - {""}


def test_the_source_distribution_can_run_its_own_tests(root: Path, sdist: Path) -> None:
    needed = _files(root, "imagesync", "backends", "tests", "fixtures", "packaging", "docs", ".ci")
    needed |= {"Makefile", "pyproject.toml", "README.rst", "CHANGELOG.rst", "CONTRIBUTING.rst", "LICENSE"}
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}

    assert needed - names == set()


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    """Return the programs of a throw-away environment: the wheel, with this environment's libraries behind it."""
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True, timeout=120)
    site = next((environment / "lib").glob("python*/site-packages"))
    # Editable installs are .pth files; those are not read in a folder that is itself named by a .pth file.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


def test_the_installed_wheel_runs_without_this_checkout(installed: Path, tmp_path: Path) -> None:
    clean = {"PATH": os.defpath, "HOME": str(tmp_path)}

    where = [installed / "python", "-c", "import imagesync; print(imagesync.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True, timeout=60)
    version = [installed / "imagesync", "--version"]
    ran = subprocess.run(version, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False, timeout=60)

    assert found.stdout.startswith(str(tmp_path))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "imagesync" in ran.stdout
