"""What pyproject.toml declares."""

import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RUNTIME_LIBRARIES = (
    "requests",
    "python-glanceclient",
    "keystoneauth1",
    "cryptography",
    "pyasn1",
    "qemu.qmp",
    "tenacity",
    "apscheduler",
)


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0].lower() for requirement in requirements}


def _entry_points() -> list[Any]:
    groups = {"console_scripts": PROJECT["scripts"], **PROJECT["entry-points"]}
    return [
        pytest.param(name, value, group, id=f"{group}:{name}")
        for group in groups
        for name, value in groups[group].items()
    ]


@pytest.mark.parametrize("library", RUNTIME_LIBRARIES)
def test_an_agreed_library_is_a_dependency(library: str) -> None:
    assert library in _names(PROJECT["dependencies"])


def test_pytest_comes_with_the_test_extra() -> None:
    assert "pytest" in _names(PROJECT["optional-dependencies"]["test"])


@pytest.mark.parametrize(("name", "value", "group"), _entry_points())
def test_an_entry_point_names_something_that_can_be_called(name: str, value: str, group: str) -> None:
    assert callable(EntryPoint(name, value, group).load())


def test_the_debian_package_suggests_what_the_boot_check_needs(root: Path) -> None:
    named = re.findall(
        r"``(qemu-(?:system|efi)-\w+|ovmf)``", (root / "docs/boot-check.rst").read_text(encoding="utf-8")
    )
    control = (root / "packaging/deb/debian/control").read_text(encoding="utf-8")
    suggested = re.split(r",\s+", control.partition("\nSuggests: ")[2].partition("\nDescription:")[0])

    assert len(set(named)) == 4
    assert set(named) <= set(suggested)
