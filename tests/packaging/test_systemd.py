"""The example units are units that systemd takes and that run a command that exists."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = ("imagesync-sync.service", "imagesync-sync.timer", "imagesync.service")
SERVICES = ("imagesync-sync.service", "imagesync.service")


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
def test_the_service_is_not_exposed_beyond_what_it_needs(units: Path, service: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=40", str(units / service)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert judged.returncode == 0, judged.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_the_service_runs_a_command_that_exists(root: Path, service: str) -> None:
    text = (root / "packaging" / "systemd" / service).read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    program, *arguments = shlex.split(line.removeprefix("ExecStart="))

    command = [str(Path(sys.executable).with_name("imagesync")), *arguments, "--help"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert Path(program).name == "imagesync"
    assert (ran.returncode, ran.stderr) == (0, "")
