"""When a daemon counts as alive, and is told so to the service manager."""

import socket
import time
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from imagesync.config.load import load, snapshot
from imagesync.daemon.due import FIRST_RETRY
from imagesync.daemon.passes import HOUSEKEEPING, Passes, Program, Site
from imagesync.daemon.service import Service
from imagesync.daemon.systemd import Notifier
from imagesync.errors import ConfigError
from imagesync.run.wiring import open_configured_state
from imagesync.state import PassRecord


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
def clock(now):
    """Return a clock that goes by what is in its ``ahead`` of the right time, and otherwise stands still."""

    def clock():
        return now + clock.ahead

    clock.ahead = timedelta()
    return clock


@pytest.fixture
def site(tmp_path):
    """Return a function that gives a configuration of one list, with other options in place of some."""

    def site(**options):
        endorser = {"dn": "/CN=a", "ca": "/CN=b"}
        listed = {"name": "list", "vo": "a", "url": "https://list.example/a", "endorsers": [endorser], "every": "6h"}
        config = {
            "state": f"sqlite:///{tmp_path / 'state.db'}",
            "cache": str(tmp_path / "cache"),
            "subscriptions": [listed],
            "daemon": {"jitter": "0", "listen": "off"},
        }
        file = tmp_path / "imagesync.yaml"
        file.write_text(yaml.safe_dump(config | options))
        return Site(load(file, {}), snapshot(file))

    return site


@pytest.fixture
def service(tmp_path, clock, manager, site):
    notifier = Notifier(str(tmp_path / "notify"), watchdog=3.0)
    service = Service(site(), Passes(Program(["false"], {}, clock)), site, notifier)
    service.schedule.start()
    yield service
    service.schedule.stop()
    service._outbox.stop()
    service._outbox.wait()


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


YEAR, HOUR, SECOND = timedelta(days=365), timedelta(hours=1), timedelta(seconds=1)


@pytest.fixture
def planned(service, clock, monkeypatch):
    """Let the list's last pass be a minute old by a clock, and return how to see for when the next one is planned."""
    moved = {}
    monkeypatch.setattr(service.schedule, "move", moved.__setitem__)
    monkeypatch.setattr(service.schedule, "wake", lambda at: moved.update(woken=at))

    def planned(ahead):
        clock.ahead = ahead
        moved.clear()
        service._look()
        return moved

    clock.ahead = YEAR
    for name in service.site.rhythms():
        last = PassRecord(name, clock() - timedelta(minutes=1), 0, 0, None, service.site.settings(name))
        service.passes.known[name] = last
    return planned


def test_nothing_is_planned_anew_while_the_clock_only_drifts(planned):
    planned(YEAR)

    assert planned(YEAR + timedelta(seconds=10)) == {}


def test_a_clock_that_was_set_back_lets_lists_be_due_at_once(planned, now):
    """Else they would wait for a time that is a year ahead now."""
    planned(YEAR)

    assert planned(timedelta()) == {"woken": now, "list": now, HOUSEKEEPING: now + SECOND}


def test_a_clock_that_was_set_ahead_lets_what_is_overdue_be_due_at_once(planned, now):
    planned(YEAR)

    then = now + 2 * YEAR
    assert planned(2 * YEAR) == {"woken": then, "list": then, HOUSEKEEPING: then + SECOND}


def test_a_clock_that_was_set_within_the_interval_changes_no_due_time(planned, now):
    planned(YEAR)

    assert planned(YEAR + timedelta(hours=1))["list"] == now + YEAR + timedelta(hours=6, minutes=-1)


# --- reading the configuration again ----------------------------------------------------------------------------------
def refuse(error):
    def read():
        raise error

    return read


def test_a_configuration_that_is_good_is_in_force(service, site):
    service._read = lambda: site(subscriptions=[])
    service._reload()

    assert service.site.config.subscriptions == ()
    assert service.complaint == ""


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConfigError("a", "is wrong"), "a: is wrong"),
        (ValueError("nobody thought of it"), "unexpected ValueError: nobody thought of it"),
    ],
)
def test_with_a_configuration_that_cannot_be_read_the_old_one_goes_on(service, error, why):
    before = service.site
    service._read = refuse(error)
    service._reload()

    assert service.site is before
    assert service.complaint == f"configuration not reloaded: {why}"


def test_with_a_configuration_that_cannot_be_put_in_force_the_old_one_goes_on(service, site, monkeypatch):
    arranged = []

    def arrange(jobs, jitter):
        arranged.append(sorted(jobs))
        if "list" not in jobs:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(service.schedule, "arrange", arrange)
    before, service._read = service.site, lambda: site(subscriptions=[])
    service._reload()

    assert service.site is before
    assert arranged == [["(housekeeping)"], ["(housekeeping)", "list"]]
    assert "unexpected RuntimeError: can't start new thread" in service.complaint


def test_another_state_is_refused_until_a_restart(service, site, tmp_path):
    """The lock that keeps a second daemon away is in the state."""
    before = service.site
    service._read = lambda: site(state=f"sqlite:///{tmp_path / 'other.db'}")
    service._reload()

    assert service.site is before
    assert "imagesync.yaml: state: is another one now: restart the daemon" in service.complaint
    assert not (tmp_path / "other.db").exists()


def test_since_when_the_newest_configuration_is_bad_is_known(service, site, clock, now):
    service._read = refuse(ConfigError("a", "is wrong"))
    service._reload()
    clock.ahead = timedelta(hours=1)
    service._reload()
    assert service._outlook().complaint_since == now

    service._read = site
    service._reload()
    assert service._outlook().complaint_since is None


def test_since_when_passes_fail_and_the_state_cannot_be_used_is_known(service, clock, now):
    for hours in (0, 1):
        clock.ahead = timedelta(hours=hours)
        service.passes.run("list", service.site)
        service.passes.inbox.complain("outbox", "is full", clock())

    seen = service._outlook()
    assert (seen.since, seen.state_since) == ({"list": now}, now)
    assert "the state cannot be used: is full" in service._text()


@pytest.mark.parametrize(
    ("ago", "wait"), [(None, SECOND), (25 * HOUR, SECOND), (HOUR, 23 * HOUR + SECOND), (-HOUR, SECOND)]
)
def test_housekeeping_counts_from_the_last_one_over_restarts_and_lets_lists_go_first(
    service, now, monkeypatch, ago, wait
):
    """Else a daemon that is restarted every day would never do it."""
    moved = {}
    monkeypatch.setattr(service.schedule, "move", moved.__setitem__)
    if ago is not None:
        with open_configured_state(service.site.config) as state:
            state.note_pass(PassRecord(HOUSEKEEPING, now - ago, 0, 0, None, service.site.settings(HOUSEKEEPING)))
    service.passes.recall(service.site)
    service._arrange(service.site)

    assert moved == {"list": now, HOUSEKEEPING: now + wait}


def test_housekeeping_that_failed_is_tried_again_as_lists_are(service, now):
    service.passes.run(HOUSEKEEPING, service.site)

    assert service.passes.due(HOUSEKEEPING, service.site, now) == now + FIRST_RETRY + SECOND
    with open_configured_state(service.site.config) as state:
        assert state.last_passes()[HOUSEKEEPING].failures == 1
