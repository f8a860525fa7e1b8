"""The locked dependencies are those that pyproject.toml asks for, complete, hashed, and from nowhere in particular."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ENTRY = re.compile(r"^(?P<pin>[^\s#].*?) \\\n(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)
LOCKS = ("requirements.txt", "requirements-build.txt")


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, dict[str, object]]:
    """Return what pyproject.toml says."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def _text(root: Path, lock: str) -> str:
    return (root / "packaging" / lock).read_text(encoding="utf-8")


def _pins(root: Path, lock: str) -> dict[str, Version]:
    found = [Requirement(match["pin"]) for match in ENTRY.finditer(_text(root, lock))]
    return {canonicalize_name(one.name): Version(next(iter(one.specifier)).version) for one in found}


def _unmet(asked: list[str], pins: dict[str, Version]) -> list[str]:
    wanted = (Requirement(one) for one in asked)
    return [str(one) for one in wanted if pins.get(canonicalize_name(one.name), Version("0")) not in one.specifier]


def test_the_lock_satisfies_what_the_project_asks_for(root: Path, project: dict) -> None:
    asked = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["postgresql"]]

    assert _unmet(asked, _pins(root, "requirements.txt")) == [], "run `make lock` and commit what it changed"


def test_the_lock_of_the_tools_satisfies_what_a_release_needs(root: Path, project: dict) -> None:
    asked = [*project["dependency-groups"]["release"], *project["build-system"]["requires"]]

    assert _unmet(asked, _pins(root, "requirements-build.txt")) == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_hashed_exact_versions_and_nothing_else(root: Path, lock: str) -> None:
    rest = ENTRY.sub("", _text(root, lock))

    assert re.sub(r"^ *#.*\n", "", rest, flags=re.MULTILINE) == ""
    assert "://" not in rest
    assert len(_pins(root, lock)) > 30


def test_the_lock_names_what_its_libraries_need_in_turn(root: Path) -> None:
    pins = _pins(root, "requirements.txt")
    needed = {name: _needs(name) for name in pins}

    assert sum(map(len, needed.values())) > 60
    assert {name: missing for name, needs in needed.items() if (missing := needs - set(pins))} == {}


def _needs(name: str) -> set[str]:
    """Return what a library of this environment needs, without extras; nothing if it is not here."""
    try:
        found = [Requirement(one) for one in requires(name) or ()]
    except PackageNotFoundError:
        return set()
    return {canonicalize_name(one.name) for one in found if not one.marker or one.marker.evaluate({"extra": ""})}
