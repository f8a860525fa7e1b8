"""Nothing of a cloud is left behind, however its users end."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from cloud.cloud import Cloud
from cloud.processes import processes_of, wait_until
from cloud.software import HERE
from keystoneauth1.exceptions import ConnectFailure

HOLD = """
import sys
from pathlib import Path
from cloud.cloud import Cloud

with Cloud(Path(sys.argv[1])) as cloud:
    print(cloud.auth_url, flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_user(directory):
    """Another process that uses the cloud in a directory."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, "-c", HOLD, str(directory)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def only_logs(directory):
    return all(path.suffix in {".log", ".lock"} for path in directory.rglob("*"))


def test_the_last_to_leave_ends_everything(tmp_path):
    with Cloud(tmp_path) as cloud:
        with another_user(tmp_path) as process:
            assert process.stdout.readline().strip() == cloud.auth_url
        image = cloud.project().images().add("kept")
        assert image["status"] == "active"
        assert len(processes_of(tmp_path)) >= 6

    wait_until(lambda: not processes_of(tmp_path))
    assert only_logs(tmp_path)


@pytest.fixture
def starting(tmp_path):
    """A user whose cloud is about to start."""
    with another_user(tmp_path) as process:
        wait_until(lambda: len(processes_of(tmp_path)) >= 4)
        yield process


def test_a_user_that_is_killed_leaves_nothing(starting, tmp_path):
    starting.kill()

    wait_until(lambda: not processes_of(tmp_path))
    assert only_logs(tmp_path)


def test_servers_die_with_their_supervisor(starting, tmp_path):
    starting.kill()
    [supervisor] = [pid for pid in processes_of(tmp_path) if Path(os.readlink(f"/proc/{pid}/cwd")) == tmp_path]

    os.kill(supervisor, signal.SIGKILL)

    wait_until(lambda: not processes_of(tmp_path))


def test_a_keystone_that_was_killed_comes_back_with_what_it_knew(own_cloud):
    project = own_cloud.project()
    image = project.images().add("kept")

    own_cloud.keystone.kill()

    with pytest.raises(ConnectFailure):
        project.images()
        project.account().token  # noqa: B018 - reading it logs in
    own_cloud.keystone.start()
    assert project.images().show(image["id"])["name"] == "kept"
