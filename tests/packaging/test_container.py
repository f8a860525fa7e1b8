"""The container image is built, and a container of it does the job: a user without rights, on a root that is read-only."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from host.base import base

NAMESPACES = ("--net", "--mount", "--ipc", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.fixture(scope="module")
def seen(root: Path, blocks: Callable[[Path, str], list[str]]) -> dict[str, str]:
    """Return what was seen of one container over its life."""
    script = 'ip link set lo up && exec "$@"'
    _, _, running, saving, restoring, *_ = blocks(root / "docs/releases.rst", "text")
    # Not in pytest's directory: podman wants a path of at most 50 characters.
    with TemporaryDirectory(prefix="imagesync-") as work:
        what = [sys.executable, str(root / "tests/packaging/contained.py"), str(root), str(base().tree), work]
        ran = subprocess.run(
            ["unshare", *NAMESPACES, "sh", "-c", script, "sh", *what, running, saving, restoring],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True, text=True, check=False, timeout=1800,
        )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout))


def test_a_container_syncs_a_list_into_a_directory(seen: dict[str, str]) -> None:
    assert len(seen["images"]) == 2, seen["log"]
    assert seen["owners"] == [642]
    (target,) = json.loads(seen["state"])["targets"]
    assert target["counts"] == {"published": 2}


def test_its_health_check_succeeds(seen: dict[str, str]) -> None:
    assert seen["health"] == 0, seen["log"]
    assert seen["probe"].startswith("IMAGESYNC OK"), seen["probe"]


def test_the_daemon_is_its_first_process_and_nobody_special(seen: dict[str, str]) -> None:
    assert (seen["first"], seen["user"]) == ("imagesync", "642")


def test_its_root_cannot_be_written_to(seen: dict[str, str]) -> None:
    assert "Read-only file system" in seen["root"]


def test_an_image_is_recalled_from_within(seen: dict[str, str]) -> None:
    recall = json.loads(seen["recall"])

    assert recall["exit"] == 0
    assert [action["outcome"] for target in recall["targets"] for action in target["actions"]] == ["done", "done"]


def test_its_state_is_restored_as_documented(seen: dict[str, str]) -> None:
    saved, restored = json.loads(seen["state"]), json.loads(seen["restored"])

    assert [target["counts"] for target in restored["targets"]] == [{"published": 2}]
    assert [one["version"] for one in restored["lists"]] == [one["version"] for one in saved["lists"]]


def test_it_ends_when_it_is_stopped(seen: dict[str, str]) -> None:
    assert seen["exit"] == "0", seen["log"]
