"""The booted host itself: it is a machine of its own, has no way out, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from cloud.processes import wait_until
from host.machine import Host
from host.power import HostError

NEW_PROC = "bwrap --unshare-all --ro-bind / / --proc /proc -- true"
CANNOT = "bwrap: Can't mount proc on /newroot/proc: Operation not permitted\n"
BOOT = """
import signal
from host.base import base
from host.machine import open_host

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has it ignored
with open_host(base(), "short-lived") as host:
    print(host.power.leader, host.power.unit, host.power.home, flush=True)
    signal.pause()
"""


def test_it_is_a_machine_of_its_own_without_a_way_out(host: Host) -> None:
    assert host.read("/proc/1/comm") == "systemd\n"
    assert host.run("hostname") == f"{host.name}\n"
    assert host.run("ip", "route", "show", "default") == ""
    assert set(host.run("env", "-0").split("\0")) - {""} == {
        "HOME=/root",
        "LC_ALL=C.UTF-8",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }


def test_files_outlive_a_reboot_and_a_power_cut(host: Host, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_text("copied")
    before = host.power.leader

    host.copy(tmp_path / "folder", "/srv/here")
    host.write("/etc/secret/token", "written", mode=0o600)
    host.reboot()
    host.run("sync")
    host.power_cut()
    host.boot()

    assert host.power.leader != before
    assert (host.read("/srv/here/folder/file"), host.read("/etc/secret/token")) == ("copied", "written")
    assert host.run("stat", "--format=%a %U", "/etc/secret/token") == "600 root\n"


def test_a_command_that_fails_is_an_error_with_what_it_said(host: Host) -> None:
    with pytest.raises(HostError, match=r"(?s)sh -c .* ended with 3:.*out.*err"):
        host.run("sh", "-c", "echo out; echo err >&2; exit 3")


def test_another_proc_can_be_mounted_only_where_nothing_covers_the_own(host: Host) -> None:
    """As on a machine of its own: a sandbox in a hardened unit may have to get by without."""
    nobody = f"setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set=-all {NEW_PROC}"

    assert host.attempt("sh", "-c", nobody).returncode == 0
    covered = host.attempt("unshare", "--mount", "sh", "-euc", f"mount --bind /proc/sys /proc/sys; {nobody}")
    assert (covered.returncode, covered.stderr) == (1, CANNOT)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_of_a_host_whose_test_is_ended(end: signal.Signals) -> None:
    path = os.pathsep.join(sys.path)
    with (
        subprocess.Popen(
            [sys.executable, "-c", BOOT], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
        ) as test,
        ExitStack() as always,
    ):
        always.callback(test.kill)
        assert test.stdout is not None
        leader, unit, home = test.stdout.readline().split()
        test.send_signal(end)
        test.wait()

    wait_until(lambda: not Path("/proc", leader).exists())
    assert home not in Path("/proc/self/mountinfo").read_text()
    wait_until(lambda: not Path(f"/sys/class/net/ve-{unit}").exists())
    assert end == signal.SIGKILL or not Path(home).exists()
