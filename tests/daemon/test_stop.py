"""A stop has one budget, and nothing exceeds it: not a pass that ignores it, a client that stays, or a hook that hangs."""

import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import psutil
import pytest
import yaml

from imagesync.cli import stopping
from imagesync.daemon.stop import Budget, Stop

UNIT = Path(__file__).parents[2] / "packaging" / "systemd" / "imagesync.service"
HANG = 90
CHILDREN, WHOLE = 1.5, 15.0
"""Seconds of the scaled budget."""

PREAMBLE = f"""
    import os, signal, subprocess, sys, threading, time
    from pathlib import Path
    from imagesync.cli.context import clock
    from imagesync.config.load import load, snapshot
    from imagesync.daemon.passes import Passes, Program, Site
    from imagesync.daemon.service import Service
    from imagesync.daemon.stop import Budget, Stop
    from imagesync.daemon.systemd import Notifier

    stop = Stop(Budget(children={CHILDREN}, whole={WHOLE}))
    stop.enforce(lambda: os._exit(9))
"""

DAEMON = """
    path = Path(sys.argv[1])
    files = snapshot(path)
    site = Site(load(path, os.environ, files), files)
    program = Program([sys.executable, sys.argv[2]], dict(os.environ), clock)
    Service(site, Passes(program, stop=stop), lambda: site, Notifier()).serve()
"""

DEAF = """
    import os, signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    while True:
        print(os.getpid(), other.pid, file=open(sys.argv[0] + ".pids", "w"), flush=True)
        os.write(int(sys.argv[sys.argv.index("--events") + 1]), b'{"event": "alive"}\\n')
        time.sleep(0.1)
"""


def free_port():
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


def until(truth):
    due = time.monotonic() + HANG
    while not truth():
        assert time.monotonic() < due
        time.sleep(0.02)


@pytest.fixture
def site(tmp_path):
    """Return a directory with a configuration of one list, a page, and a hook that hangs; and the page's port."""
    port = free_port()
    endorser = {"dn": "/CN=a", "ca": "/CN=b"}
    config = {
        "state": f"sqlite:///{tmp_path / 'state.db'}",
        "cache": str(tmp_path / "cache"),
        "subscriptions": [{"name": "a", "vo": "a", "url": "https://list.example/a", "endorsers": [endorser]}],
        "daemon": {"listen": f"127.0.0.1:{port}", "jitter": "0"},
        "notifications": [
            {
                "name": "ops",
                "command": ["sh", "-c", f"echo $$ > {tmp_path / 'hook'}; exec sleep 600"],
                "timeout": "600s",
            }
        ],
    }
    (tmp_path / "imagesync.yaml").write_text(yaml.safe_dump(config))
    return tmp_path, port


def started(root, child):
    (root / "daemon.py").write_text(dedent(PREAMBLE) + dedent(DAEMON))
    (root / "child.py").write_text(dedent(child))
    command = [sys.executable, str(root / "daemon.py"), str(root / "imagesync.yaml"), str(root / "child.py")]
    return psutil.Popen(command, stderr=subprocess.PIPE)


def is_gone(pid):
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def numbers(path):
    return [int(word) for word in path.read_text().split()] if path.exists() else []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_pass_that_ignores_it_and_a_client_that_stays_do_not_exceed_the_budget(site, number):
    root, port = site
    with started(root, DEAF) as daemon, socket.socket() as client:
        try:
            until(lambda: len(numbers(root / "child.py.pids")) == 2)
            until(lambda: client.connect_ex(("127.0.0.1", port)) == 0)
            client.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n")  # and no end of it
            began = time.monotonic()
            daemon.send_signal(number)
            assert daemon.wait(HANG) == 0, daemon.stderr.read()
            assert CHILDREN < time.monotonic() - began < WHOLE
            assert all(map(is_gone, numbers(root / "child.py.pids")))
        finally:
            if daemon.poll() is None:
                daemon.kill()


def test_a_hook_that_hangs_does_not_outlive_the_daemon(site):
    root, _ = site
    with started(root, "import sys; sys.exit(3)") as daemon:  # a crash, which is told
        try:
            until(lambda: numbers(root / "hook"))
            daemon.terminate()
            assert daemon.wait(HANG) == 0, daemon.stderr.read()
            assert is_gone(*numbers(root / "hook"))
        finally:
            if daemon.poll() is None:
                daemon.kill()


def test_whatever_still_hangs_is_abandoned_when_the_budget_is_spent():
    hung = """
        threading.Thread(target=time.sleep, args=(60,)).start()
        stop.budget = Budget(0.1, 0.3)
        stop.ask()
    """
    command = [sys.executable, "-c", dedent(PREAMBLE) + dedent(hung)]

    assert subprocess.run(command, timeout=HANG, check=False).returncode == 9


def test_asking_again_gives_nobody_more_time():
    stop = Stop(Budget(0.2, 0.3))
    stop.ask()
    until(lambda: not stop.patience())
    stop.ask()

    assert stop.patience() == 0


def test_without_being_asked_nothing_has_to_end():
    stop = Stop()

    assert not stop.is_set()
    assert stop.patience() > 10**9


def test_the_budget_fits_what_is_promised_and_what_the_unit_allows():
    allowed = float(re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)[1])

    assert stopping._GRACE < Budget().children < Budget().whole - 5 < min(allowed, 30) - 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_it_is_heard_also_while_the_main_thread_does_not_come_back_to_python(tmp_path, number):
    busy = f"""
        import sqlite3
        from imagesync.signals import hearing
        stop.budget = Budget(0.1, 0.3)
        signal.signal({int(number)}, lambda *_: None)
        holder, other = (sqlite3.connect({str(tmp_path / "state.db")!r}, timeout=60) for _ in range(2))
        holder.execute("BEGIN IMMEDIATE")
        threading.Timer(0.3, os.kill, (os.getpid(), {int(number)})).start()
        with hearing(lambda _: stop.ask()):
            other.execute("BEGIN IMMEDIATE")
    """
    command = [sys.executable, "-c", dedent(PREAMBLE) + dedent(busy)]

    assert subprocess.run(command, timeout=HANG, check=False).returncode == 9
