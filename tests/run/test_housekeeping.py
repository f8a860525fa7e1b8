"""What is trimmed once a day, and that a wrong clock trims no history."""

from datetime import UTC, datetime, timedelta

import pytest

from imagesync.config.load import load
from imagesync.run.housekeeping import keep_house
from imagesync.run.wiring import open_configured_state
from imagesync.state import Pruned

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "imagesync.yaml"
    file.write_text(f"state: sqlite:///{tmp_path}/state.db\ncache: {tmp_path}/cache\ncache_reserve_bytes: 0\n")
    return load(file, {})


@pytest.fixture
def ran(config):
    """Return a function that notes a run which ended, with what it made of its clock."""

    def ran(at, clock="trusted", kind="sync"):
        with open_configured_state(config) as state:
            name = f"run-{len(state.run_heads(100))}"
            state.begin_run(name, kind, at - HOUR)
            state.finish_run(name, at, 0, {"clock": clock})

    return ran


def test_old_runs_go_and_new_ones_stay(config, ran):
    for at in (NOW - config.history - DAY, NOW - DAY, NOW - HOUR):
        ran(at)

    assert keep_house(config, NOW) == (Pruned(1, 0), 0)


def test_without_a_pass_nothing_is_known_of_the_clock(config, ran):
    ran(NOW - 9000 * DAY, kind="revoke")
    ran(NOW - HOUR, kind="revoke")

    assert keep_house(config, NOW)[0] == Pruned(0, 0)


@pytest.mark.parametrize(
    ("clock", "now"),
    [
        pytest.param("clock", NOW, id="the last pass did not believe it"),
        pytest.param("trusted", NOW + 5000 * DAY, id="it jumped since"),
        pytest.param("trusted", NOW - DAY, id="it went back since"),
    ],
)
def test_a_clock_that_is_not_believed_trims_no_history(config, ran, clock, now):
    ran(NOW - 9000 * DAY)
    ran(NOW - HOUR, clock)

    assert keep_house(config, now)[0] == Pruned(0, 0)


def test_a_last_pass_with_the_wrong_clock_counts_wherever_it_lies(config, ran):
    ran(NOW - 9000 * DAY)
    ran(NOW - HOUR)
    ran(NOW - 60 * DAY, "clock")

    assert keep_house(config, NOW)[0] == Pruned(0, 0)


def test_what_broke_in_the_cache_goes_whatever_the_clock(config):
    broken = config.cache / "sources" / ("0" * 128)
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"x")

    assert keep_house(config, NOW) == (Pruned(0, 0), 1)
