"""The daemon, run as a service manager runs it: a real process, a real notify socket, real signals."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager

import psutil
import pytest

from imagesync.testing.disks import Kind
from imagesync.testing.faults import Replaced, Slow, Status

HANG = 60


class Daemon:
    """A running daemon, and what it told its service manager."""

    def __init__(self, provider, link, process):
        self.provider, self.link, self.process = provider, link, process
        self.told = []

    def hear(self, text, timeout=HANG):
        """Wait until the daemon tells something that has ``text`` in it, and return that."""
        return self._hear(lambda line: text in line, timeout)

    def _hear(self, fits, timeout):
        due = time.monotonic() + timeout
        while time.monotonic() < due:
            self.link.settimeout(max(due - time.monotonic(), 0.01))
            try:
                message = self.link.recv(4096).decode()
            except TimeoutError:
                break
            self.told.append(message)
            if fits(message):
                return message
        raise TimeoutError(f"not told in time; told: {self.told}; log: {self.log()}")

    def idle(self):
        """Wait until nothing runs."""
        return self.hear("next: ")

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        self.signal(signal.SIGTERM)
        return self.process.wait(HANG)

    def log(self):
        return (self.provider.root / "daemon.log").read_text()

    def passes(self):
        with closing(sqlite3.connect(self.provider.root / "state.db")) as state:
            return {row[0]: row[1:] for row in state.execute("select subscription, code, failures from last_pass")}


@pytest.fixture
def start(provider, tmp_path):
    """Return a context manager that runs the daemon."""

    @contextmanager
    def start(*options, wait=True, **environment):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link, (tmp_path / "daemon.log").open("a") as log:
            address = tmp_path / "notify"
            address.unlink(missing_ok=True)
            link.bind(str(address))
            command = [sys.executable, "-m", "imagesync", "--config", str(provider.config), "daemon", *options]
            env = {**os.environ, "NOTIFY_SOCKET": str(address), **environment}
            process = psutil.Popen(command, env=env, stderr=log, stdin=subprocess.DEVNULL)
            daemon = Daemon(provider, link, process)
            try:
                if wait:
                    daemon.hear("READY=1")
                yield daemon
            finally:
                children = process.children(recursive=True) if process.is_running() else []
                if process.poll() is None:
                    process.kill()
                    process.wait()
                assert psutil.wait_procs(children, timeout=15)[1] == []

    return start


@pytest.fixture
def quiet(provider):
    """Two lists with an image each, and a daemon that looks at them every six hours."""
    provider.options["daemon"] = {"jitter": "0"}
    provider.configure()
    return provider


def until(truth):
    """Wait until something is true."""
    due = time.monotonic() + HANG
    while not truth():
        assert time.monotonic() < due
        time.sleep(0.05)


def slowly(provider):
    """Let the images of ``shaky`` take long."""
    for identifier in provider.shaky.images:
        provider.shaky.server.misbehave(provider.shaky.image_path(identifier), Slow(chunk=64 << 10, pause=0.2))


def test_it_looks_at_every_list_at_the_start_and_ends_on_sigterm(quiet, start):
    with start() as daemon:
        daemon.idle()
        assert daemon.passes() == {"shaky": (0, 0), "steady": (0, 0)}
        assert daemon.stop() == 0

    assert quiet.run("status", "--json").json["targets"][0]["images"][0]["state"] == "published"


def test_after_a_restart_what_is_fresh_is_left_alone(quiet, start):
    with start() as daemon:
        daemon.idle()
        daemon.stop()
    asked = len(quiet.shaky.server.requests)
    with start() as daemon:
        daemon.idle()

    assert len(quiet.shaky.server.requests) == asked


def test_a_list_that_failed_is_tried_again_later_and_counted(quiet, start):
    quiet.shaky.server.misbehave(quiet.shaky.path, Status(503))
    with start() as daemon:
        assert "shaky: ended with exit code 5" in daemon.idle()
        assert daemon.passes() == {"shaky": (5, 1), "steady": (0, 0)}

    assert quiet.titles() == ["steady-1", "steady-2"]


def test_a_good_configuration_is_taken_on_sighup_and_looked_at_at_once(quiet, start):
    with start() as daemon:
        daemon.idle()
        quiet.subscription_options["shaky"] = {"select": {"exclude": [{"title": "shaky-2"}]}}
        quiet.configure()
        daemon.signal(signal.SIGHUP)
        assert daemon.hear("RELOADING=1").startswith("RELOADING=1\nMONOTONIC_USEC=")
        daemon.hear("READY=1")
        daemon.hear("pass of shaky")
        daemon.idle()

    assert quiet.titles() == ["shaky-1", "steady-1", "steady-2"]


def test_with_a_bad_configuration_the_old_one_goes_on_and_status_says_so(quiet, start):
    with start() as daemon:
        daemon.idle()
        good = quiet.config.read_text()
        quiet.config.write_text("subscriptons: []\n")
        daemon.signal(signal.SIGHUP)
        assert "subscriptons" in daemon.hear("STATUS=configuration not reloaded: ")
        quiet.config.write_text(good + "on_unselected: keep\n")
        daemon.signal(signal.SIGHUP)
        daemon.idle()


def test_a_pass_works_with_what_was_validated_whatever_became_of_the_file(quiet, start):
    quiet.subscription_options["steady"] = {"every": "2s"}
    quiet.configure()
    with start() as daemon:
        daemon.idle()
        quiet.config.write_text("nonsense")
        quiet.steady.add(quiet.image("news"), title="news")
        quiet.steady.publish()
        daemon.hear("pass of steady")
        daemon.idle()

    assert "news" in quiet.titles()


def test_a_recall_counts_in_the_next_pass_without_a_reload(quiet, start):
    quiet.subscription_options["steady"] = {"every": "2s"}
    quiet.configure()
    with start() as daemon:
        daemon.idle()
        (recalled,) = [key for key, one in quiet.steady.images.items() if one.title == "steady-1"]
        assert quiet.run("revoke", "--identifier", recalled, "--reason", "found bad").code == 0
        daemon.idle()
        daemon.hear("pass of steady")
        daemon.idle()

    assert "steady-1" not in quiet.titles()


def test_sigterm_in_a_download_ends_everything_soon_and_leaves_nothing(quiet, start):
    slowly(quiet)
    with start() as daemon:
        daemon.hear("download shaky-")
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 30

    assert quiet.leftovers() == []


def test_sigterm_in_a_conversion_ends_qemu_img_too(quiet, start, tools):
    began = quiet.root / "began"
    quiet.shaky.add(quiet.image("converted", Kind.QCOW2), title="converted")
    quiet.shaky.publish()
    with start(PATH=tools(f"echo $$ > {began}; exec sleep 60")) as daemon:
        until(lambda: began.exists() and began.read_text())
        qemu = psutil.Process(int(began.read_text()))
        assert daemon.stop() == 0
        assert not qemu.is_running() or qemu.status() == psutil.STATUS_ZOMBIE

    assert quiet.leftovers() == []


def test_when_the_daemon_is_killed_its_pass_ends_too(quiet, start):
    slowly(quiet)
    with start() as daemon:
        daemon.hear("download shaky-")
        children = daemon.process.children(recursive=True)
        daemon.process.kill()
        daemon.process.wait()
        assert psutil.wait_procs(children, timeout=20)[1] == []


def test_a_pass_that_crashes_harms_nothing_else(quiet, start):
    slowly(quiet)
    with start() as daemon:
        daemon.hear("download shaky-")
        daemon.process.children()[0].kill()
        daemon.hear("shaky: was ended by SIGKILL")
        assert daemon.process.is_running()
        assert daemon.passes()["shaky"] == (-1, 1)


def test_a_pass_that_is_stuck_is_killed_and_said_to_be(quiet, start):
    quiet.options["daemon"] = {"jitter": "0", "silence": "3s"}
    quiet.configure()
    with start() as daemon:
        daemon.hear("pass of ")
        child = daemon.process.children()[0]
        child.suspend()
        assert "showed no sign of life for 3 s, and was killed" in daemon.hear("no sign of life")
        assert not child.is_running()
        assert daemon.stop() == 0


def test_a_one_shot_sync_may_run_beside_it(quiet, start):
    with start() as daemon:
        daemon.idle()
        assert quiet.sync().code in {0, 6}
        assert daemon.stop() == 0


def test_the_watchdog_is_fed(quiet, start):
    with start(WATCHDOG_USEC="3000000") as daemon:
        daemon.hear("WATCHDOG=1")
        daemon.hear("WATCHDOG=1")


def test_a_configuration_that_is_wrong_at_the_start_is_exit_2(quiet, start):
    quiet.config.write_text("subscriptons: []\n")
    with start(wait=False) as daemon:
        assert daemon.process.wait(HANG) == 2
        assert "subscriptons" in daemon.log()


def test_as_pid_1_of_a_container_it_passes_signals_on_and_reaps(quiet, tmp_path):
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-m", "imagesync"]
    process = psutil.Popen([*command, "--config", str(quiet.config), "daemon"], stderr=subprocess.PIPE, text=True)
    try:
        lines = iter(process.stderr.readline, "")
        assert any("daemon started" in line for line in lines)
        (init,) = process.children()
        (daemon,) = init.children()
        subprocess.run(["nsenter", "-t", str(init.pid), "-p", "-m", "sh", "-c", "sleep 0.2 & exec true"], check=True)
        deadline = time.monotonic() + 20
        while any(one.status() == psutil.STATUS_ZOMBIE for one in init.children() if one.pid != daemon.pid):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        init.terminate()
        assert process.wait(HANG) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stderr.close()


def messages(provider, name="ops"):
    """Return the events that a receiver was told, from the file that it writes."""
    path = provider.root / f"{name}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [event for line in lines for event in json.loads(line)["events"]]


def test_receivers_are_told_once_what_is_wrong_and_when_it_is_good_again(quiet, start):
    write = ["sh", "-c", f"cat >> {quiet.root / 'ops.jsonl'}; echo >> {quiet.root / 'ops.jsonl'}"]
    quiet.options["notifications"] = [
        {"name": "dead", "webhook": {"url": "http://127.0.0.1:1/"}},
        {"name": "ops", "command": write, "events": ["refused", "recovery", "failure"]},
    ]
    quiet.subscription_options["shaky"] = {"every": "1s"}
    quiet.configure()
    quiet.shaky.server.misbehave(quiet.shaky.path, Replaced(b"no list"))
    with start() as daemon:
        until(lambda: messages(quiet))
        daemon.signal(signal.SIGHUP)
        daemon.stop()
    quiet.shaky.server.behave(quiet.shaky.path)
    quiet.subscription_options["shaky"] = {"every": "2s"}
    quiet.configure()
    with start() as daemon:
        until(lambda: len(messages(quiet)) > 1)
        daemon.idle()

    assert [(event["kind"], event["subscription"]) for event in messages(quiet)] == [
        ("refused", "shaky"),
        ("recovery", "shaky"),
    ]


def test_handlers_of_vmcatcher_are_called_for_each_image(quiet, start):
    log = quiet.root / "handler"
    script = f'echo "$VMCATCHER_EVENT_TYPE $VMCATCHER_EVENT_DC_TITLE $VMCATCHER_EVENT_VO" >> {log}'
    quiet.options["notifications"] = [{"name": "old", "vmcatcher": ["sh", "-c", script]}]
    quiet.configure()
    with start() as daemon:
        until(lambda: log.exists() and len(log.read_text().splitlines()) == 4)
        daemon.stop()

    assert min(log.read_text().splitlines()) == f"AvailablePostfix shaky-1 {quiet.shaky.vo}"
