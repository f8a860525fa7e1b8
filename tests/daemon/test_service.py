"""When a daemon counts as alive, and is told so to the service manager."""

import socket
import time
from datetime import UTC, datetime

import pytest

from imagesync.config.load import load, snapshot
from imagesync.daemon.passes import Passes, Program, Site
from imagesync.daemon.service import Service
from imagesync.daemon.systemd import Notifier


@pytest.fixture
def now():
    return datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.bind(str(tmp_path / "notify"))
        link.settimeout(0.2)
        yield link


@pytest.fixture
def service(tmp_path, now, manager):
    file = tmp_path / "imagesync.yaml"
    file.write_text(f"state: sqlite:///{tmp_path}/state.db\ncache: {tmp_path}/cache\n")
    site = Site(load(file, {}), snapshot(file))
    notifier = Notifier(str(tmp_path / "notify"), watchdog=3.0)
    service = Service(site, Passes(Program(["false"], {}, lambda: now)), lambda: site, notifier)
    service.schedule.start()
    yield service
    service.schedule.stop()


def fed(service, manager):
    """Return whether looking around once tells the watchdog that all is well."""
    service._state.fed = 0.0
    service._look()
    told = b""
    while True:
        try:
            told += manager.recv(1000)
        except TimeoutError:
            return b"WATCHDOG=1" in told


def test_it_lives_while_nothing_is_to_be_done(service, manager):
    service._state.moved = time.monotonic() - 1000

    assert fed(service, manager)
    assert service.is_alive()


def test_it_lives_while_a_pass_runs(service, manager, now):
    service.schedule._begun["a"] += 1
    service.passes.live.begin("a", now)
    service._state.moved = time.monotonic() - 1000

    assert fed(service, manager)


def test_a_turn_that_is_no_pass_for_long_is_death(service, manager):
    """As when what is over cannot be noted, because the state does not answer."""
    service.schedule._begun["a"] += 1
    assert fed(service, manager)

    service._state.moved = time.monotonic() - 1000
    assert not fed(service, manager)
    assert not service.is_alive()


def test_a_scheduler_that_stands_still_is_death(service, manager):
    service.schedule._beat = time.monotonic() - 1000
    service.schedule._pulse = lambda: None

    assert not service.is_alive()
    assert not fed(service, manager)
