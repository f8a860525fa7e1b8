"""The .rpm's specification names what the checkout has; whether the package is right is in test_rpm.py, and takes long."""

import re
from pathlib import Path

import pytest


@pytest.fixture
def spec(root: Path) -> str:
    """Return the specification with the macros of its own replaced."""
    text = (root / "packaging/rpm/imagesync.spec").read_text(encoding="utf-8")
    for name, value in re.findall(r"(?m)^%global (\w+) (.*)$", text):
        text = text.replace(f"%{{{name}}}", value)
    return text.replace("%{_prefix}", "/usr")


def _section(spec: str, name: str) -> list[str]:
    return re.split(r"(?m)^%(?=[a-z]+$)", spec.split(f"\n%{name}\n")[1])[0].splitlines()


def _settings(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def test_it_packs_every_unit_there_is(root: Path, spec: str) -> None:
    units = {path.name for kind in ("service", "timer") for path in (root / "packaging/systemd").glob(f"*.{kind}")}
    packed = {Path(line).name for line in _section(spec, "files") if line.startswith("/usr/lib/systemd/system/")}

    assert len(units) == 6
    assert packed == units


def test_its_directories_are_those_of_the_debian_package(root: Path, spec: str) -> None:
    made = re.findall(r"(?m)^%attr\((\d+),(\w+),(\w+)\) %dir (\S+)$", spec)

    assert sorted(f"d {path} {mode} {user} {group}" for mode, user, group, path in made) == sorted(
        _settings(root / "packaging/systemd/imagesync.tmpfiles")
    )


def test_its_user_is_that_of_the_debian_package(root: Path, spec: str) -> None:
    before = _section(spec, "pre")
    lines = before[before.index(next(line for line in before if "<<'SYSUSERS'" in line)) + 1 : before.index("SYSUSERS")]

    assert lines == _settings(root / "packaging/systemd/imagesync.sysusers")


def test_its_scripts_fail_for_no_service(spec: str) -> None:
    called = [line for line in spec.splitlines() if re.match(r"[^#]*\bsystem(ctl|d-sysusers|d-tmpfiles) ", line)]

    assert len(called) == 8
    assert [line for line in called if not line.endswith("|| :")] == []
