"""The example units are units that systemd takes and that run a command that exists."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from imagesync.boot.machine import MIB, OVERHEAD, choose
from imagesync.config.sections import Limits

SERVICES = ("imagesync-sync.service", "imagesync-sync@.service", "imagesync.service", "imagesync@.service")
UNITS = (*SERVICES, "imagesync-sync.timer", "imagesync-sync@.timer")
SHARED = "# --- the same in every service"
EXPOSURE = 2.3
"""What systemd-analyze may say at most."""


@pytest.fixture
def units(root: Path, tmp_path: Path) -> Path:
    """Return a copy of the units whose program is present, so that what is judged is the rest of the file."""
    for name in UNITS:
        text = (root / "packaging" / "systemd" / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("/usr/bin/imagesync", "/usr/bin/true"))
    return tmp_path


def test_systemd_finds_nothing_to_say_about_the_units(units: Path) -> None:
    # Without --recursive-errors a misspelt key is a mere warning.
    command = [
        "systemd-analyze",
        "verify",
        "--man=no",
        "--recursive-errors=yes",
        *(str(units / name) for name in UNITS),
    ]
    judged = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert (judged.returncode, judged.stderr) == (0, "")


@pytest.mark.parametrize("service", SERVICES)
def test_the_service_is_exposed_as_documented_and_not_beyond_what_it_needs(
    root: Path, units: Path, service: str
) -> None:
    said = _exposure(units / service)
    (measured,) = re.findall(r"Overall exposure level for \S+: ([\d.]+) ", said)
    (documented,) = re.findall(
        r"``systemd-analyze security imagesync\.service`` says ([\d.]+) ", (root / "docs/installation.rst").read_text()
    )

    assert measured == documented
    assert float(measured) <= EXPOSURE, said


@pytest.mark.parametrize("service", SERVICES)
def test_the_service_says_why_each_point_that_is_left_stays(units: Path, service: str) -> None:
    points = [one["name"] for one in json.loads(_exposure(units / service, "--json=short")) if one["exposure"]]
    comment = (units / service).read_text().partition("still counts, and why it stays:\n")[2].partition("\nAmbient")[0]
    reasons = [line.partition("   ") for line in re.sub(r"(?m)^#   ?", "", comment).splitlines() if line[0] != " "]

    named = {word.removeprefix("SystemCallFilter ") for words, _, _ in reasons for word in words.split(", ")}
    assert named == {word for point in points for word in _words(point)}
    assert all(reason for _, _, reason in reasons)


def _words(point: str) -> list[str]:
    """Return what the units call a point that systemd-analyze counts: the setting, or what it leaves open."""
    point = point.replace("AF_(INET|INET6)", "AF_INET AF_INET6")
    return re.findall(r"@\w+|AF_\w+", point) or [re.split("[=/]", point)[0]]


def _exposure(unit: Path, *options: str) -> str:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", *options, str(unit)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("service", SERVICES)
def test_the_service_runs_a_command_that_exists(root: Path, service: str) -> None:
    text = (root / "packaging" / "systemd" / service).read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    program, *arguments = shlex.split(line.removeprefix("ExecStart="))

    command = [str(Path(sys.executable).with_name("imagesync")), *arguments, "--help"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert Path(program).name == "imagesync"
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_services_differ_in_nothing_that_keeps_them_in(root: Path) -> None:
    texts = [(root / "packaging" / "systemd" / service).read_text(encoding="utf-8") for service in SERVICES]

    (shared,) = {text[text.index(SHARED) :].partition("\n[Install]")[0].strip() for text in texts}
    assert "SystemCallFilter=" in shared


@pytest.mark.parametrize(("service", "directory"), [("imagesync", "imagesync"), ("imagesync@", "imagesync/%i")])
def test_a_daemon_may_have_the_socket_that_is_documented(root: Path, service: str, directory: str) -> None:
    assert "unix:/run/imagesync/" in (root / "docs" / "monitoring.rst").read_text(encoding="utf-8")
    settings = _settings(root / "packaging" / "systemd" / f"{service}.service")

    assert {f"RuntimeDirectory={directory}", "RuntimeDirectoryPreserve=yes"} <= set(settings)


@pytest.mark.parametrize("service", SERVICES)
def test_all_that_runs_at_once_fits_into_the_service_s_memory(root: Path, service: str) -> None:
    limits, most = Limits(), choose({}, (), ram=1 << 30).memory
    conversions = limits.parallel_conversions * limits.convert_memory
    guests = limits.parallel_boots * (most * MIB + OVERHEAD)
    (line,) = [one for one in _settings(root / "packaging/systemd" / service) if one.startswith("MemoryMax=")]

    assert int(line.removeprefix("MemoryMax=").removesuffix("G")) << 30 >= conversions + guests + (1 << 30)


@pytest.mark.parametrize("service", SERVICES)
def test_the_service_may_do_what_its_sandboxes_are_built_with(root: Path, service: str) -> None:
    # bubblewrap around each program that reads an image; QEMU's own filter in a boot check.
    needed = {"clone", "mount", "pivot_root", "prctl", "prlimit64", "seccomp", "umount2", "unshare"}
    (line,) = [one for one in _settings(root / "packaging/systemd" / service) if one.startswith("SystemCallFilter=")]

    allowed = {call for word in line.partition("=")[2].split() for call in _calls(word)}

    assert needed <= allowed


def _calls(word: str) -> set[str]:
    """Return the system calls of what a unit's filter names: one of them, or a set, which may hold others."""
    if not word.startswith("@"):
        return {word}
    command = ["systemd-analyze", "--no-pager", "syscall-filter", word]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    words = [line.strip() for line in listed.splitlines()[1:]]
    return {call for one in words if one and not one.startswith("#") for call in _calls(one)}


@pytest.mark.parametrize("kind", ["service", "timer"])
def test_an_instance_differs_from_the_only_one_in_its_paths_alone(root: Path, kind: str) -> None:
    for name in ("imagesync", "imagesync-sync"):
        if kind == "timer" and name == "imagesync":
            continue
        one, several = (_settings(root / "packaging" / "systemd" / f"{name}{at}.{kind}") for at in ("", "@"))
        several = [
            line.replace(" (%i)", "").replace("%i.yaml", "imagesync.yaml").replace("imagesync/%i", "imagesync")
            for line in several
        ]
        assert several == one


def _settings(unit: Path) -> list[str]:
    return [line for line in unit.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def test_the_user_and_the_directories_are_as_systemd_takes_them(root: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for program, file in (("sysusers", "imagesync.sysusers"), ("tmpfiles", "imagesync.tmpfiles")):
        action = ["--create"] if program == "tmpfiles" else []
        command = [f"systemd-{program}", *action, f"--root={tmp_path}", str(root / "packaging" / "systemd" / file)]
        made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert made.returncode == 0, made.stderr

    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "etc/imagesync").iterdir()}
    assert "imagesync" in (tmp_path / "etc/passwd").read_text()
    assert modes == {"conf.d": 0o750, "deny.d": 0o770, "credentials": 0o700}
