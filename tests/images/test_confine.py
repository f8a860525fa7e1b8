"""How a child is started."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from imagesync.errors import ToolMissingError
from imagesync.images.confine import STANDARD_PATH, Limits, _sandbox, confine, environment

LIMITS = Limits(memory=1 << 30, cpu=60, file_size=1 << 30)


def tools(directory: Path, bwrap: str) -> str:
    directory.mkdir()
    for program in ("setpriv", "prlimit"):
        (directory / program).symlink_to(str(shutil.which(program, path=STANDARD_PATH)))
    if bwrap:
        (directory / "bwrap").write_text(f"#!/bin/sh\n{bwrap}\n")
        (directory / "bwrap").chmod(0o755)
    return str(directory)


@pytest.fixture(autouse=True)
def first_use() -> None:
    """Let each test be the first of its process that asks for a sandbox."""
    _sandbox.cache_clear()


def test_limits_alone_are_named_and_told_once_where_there_is_no_bubblewrap(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tools(tmp_path / "tools", "")
    for _ in range(2):
        assert confine(LIMITS, tmp_path / "in", tmp_path, path).name == "limits"
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert told == [("WARNING", "bubblewrap is not installed, limits alone are used: apt install bubblewrap")]


def test_a_bubblewrap_that_cannot_be_started_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tools(tmp_path / "tools", "exit 0")
    (tmp_path / "tools" / "bwrap").write_text("#!/nowhere/sh\n")
    assert confine(LIMITS, tmp_path / "in", tmp_path, path).name == "limits"
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("bubblewrap does not work here, limits alone are used: ")


def test_a_bubblewrap_that_does_not_work_here_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tools(tmp_path / "tools", "echo not allowed >&2; exit 1")
    assert confine(LIMITS, tmp_path / "in", tmp_path, path).name == "limits"
    assert caplog.messages == ["bubblewrap does not work here, limits alone are used: not allowed"]


def test_bubblewrap_is_used_where_it_works(tmp_path: Path) -> None:
    found = confine(LIMITS, tmp_path / "in", tmp_path, tools(tmp_path / "tools", "exit 0"))
    words = " ".join(found.prefix)
    assert found.name == "bubblewrap"
    assert "--unshare-all --die-with-parent --cap-drop ALL --ro-bind /usr /usr" in words
    assert words.endswith(f"--bind {tmp_path} {tmp_path} --ro-bind {tmp_path}/in {tmp_path}/in --chdir {tmp_path} --")


def test_of_devices_only_those_that_are_asked_for_are_in_the_sandbox(tmp_path: Path) -> None:
    path = tools(tmp_path / "tools", "exit 0")
    words = " ".join(confine(replace(LIMITS, devices=(Path("/dev/kvm"),)), tmp_path / "in", tmp_path, path).prefix)

    _, own, rest = words.partition(" --dev /dev ")
    assert own
    assert " --dev-bind /dev/kvm /dev/kvm " in rest
    assert "--dev-bind" not in confine(LIMITS, tmp_path / "in", tmp_path, path).prefix


def test_the_prefix_starts_a_program(tmp_path: Path) -> None:
    found = confine(LIMITS, tmp_path / "in", tmp_path, tools(tmp_path / "tools", ""))
    done = subprocess.run([*found.prefix, "/bin/echo", "hello"], env=environment(), capture_output=True, check=True)
    assert done.stdout == b"hello\n"


def test_bubblewrap_works_where_parts_of_proc_are_covered() -> None:
    """As ProtectKernelTunables= of systemd does it, and every container."""
    found = confine(LIMITS, Path("/usr/bin/true"), Path("/tmp"))
    nobody = 'setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all -- "$@"'
    cover = f"mount --bind /proc/sys /proc/sys && exec {nobody}"
    command = ["unshare", "--mount", "sh", "-c", cover, "sh", *found.prefix, "/bin/ls", "/"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (found.name, done.stderr, done.returncode) == ("bubblewrap", "", 0)
    assert {"usr", "dev"} < set(done.stdout.split())


@pytest.mark.parametrize("missing", ["setpriv", "prlimit"])
def test_a_missing_tool_is_named(missing: str, tmp_path: Path) -> None:
    path = tools(tmp_path / "tools", "")
    (tmp_path / "tools" / missing).unlink()
    with pytest.raises(ToolMissingError, match=f"{missing}.*apt install util-linux"):
        confine(LIMITS, tmp_path / "in", tmp_path, path)
