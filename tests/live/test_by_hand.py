"""``make cloud`` gives a newcomer a Glance to synchronise to, and takes it away again."""

import os
import signal
import subprocess
import sys

import pytest
from cloud.api import Login, RefusedError
from cloud.processes import processes_of, wait_until
from cloud.software import HERE
from yaml import safe_load

LIMIT = 120


def run(directory):
    """Begin what the verb of the Makefile runs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "IMAGESYNC_"))}
    command = [sys.executable, "-m", "cloud", "run", str(directory)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**environment, "PYTHONPATH": str(HERE.parent)}, **pipes)


def until(process, last):
    """Return the printed lines up to the one with ``last`` in it."""
    lines = []
    while not lines or last not in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], process.communicate()[1]
    return lines


def images_of(directory, name):
    entry = safe_load((directory / "clouds.yaml").read_text())["clouds"][name]
    return Login(entry["auth_type"], entry["auth"]).account().images(entry["region_name"])


README = HERE.parents[2] / "README.rst"


def test_the_lines_that_are_printed_fill_the_cloud_and_interrupting_ends_it(tmp_path, blocks, prints):
    """They are those that README.rst shows, and print what it says."""
    directory = tmp_path / "build" / "cloud"
    printed, synced = blocks(README, "text")
    with run(directory) as process:
        guide = until(process, "Ctrl-C")
        assert prints(printed.partition("\n")[2], "".join(guide)), "".join(guide)
        lines = [line.strip() for line in guide if line.startswith("  ")]
        script = "\n".join(["set -e", *(line for line in lines if not line.startswith("openstack"))])

        done = subprocess.run(
            ["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT, check=False
        )

        assert done.returncode == 0, done.stderr
        assert prints(f"{synced}\n...", done.stdout), done.stdout
        titles = {image["vmcatcher_event_dc_title"] for image in images_of(directory, "site").list()}
        assert titles == {"Web server 1.0", "Compute node 1.0", "Storage node 1.0", "Desktop 1.0"}
        assert len(list(images_of(directory, "reader").list())) == 4
        with pytest.raises(RefusedError, match="403"):
            images_of(directory, "reader").add("refused")

        with run(directory) as second:
            assert "end that one with Ctrl-C first" in second.communicate(timeout=LIMIT)[1]

        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=LIMIT)[0] == "stopped\n"
    assert process.returncode == 0
    wait_until(lambda: not processes_of(directory))
