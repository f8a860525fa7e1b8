"""What the next pass would do is asked of a process of its own, seldom, and nobody waits for it."""

import sys
from datetime import UTC, datetime, timedelta
from textwrap import dedent

import pytest

from imagesync.config.load import load, snapshot
from imagesync.daemon.passes import Program, Site
from imagesync.daemon.stop import Stop
from imagesync.daemon.web.plans import EVERY, Plans

HANG = 90
SECOND = timedelta(seconds=1)

CHILD = """
    import json, os, sys
    number = os.path.getsize(sys.argv[0] + ".count") + 1
    open(sys.argv[0] + ".count", "a").write("x")
    event = {"event": "end", "number": number, "command": sys.argv[1:3]}
    os.write(int(sys.argv[sys.argv.index("--events") + 1]), json.dumps(event).encode() + b"\\n")
"""


@pytest.fixture
def clock():
    """Return a clock that stands at its ``now``."""

    def clock():
        return clock.now

    clock.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    return clock


@pytest.fixture
def plans(tmp_path, clock):
    file = tmp_path / "imagesync.yaml"
    file.write_text(f"state: sqlite:///{tmp_path}/state.db\ncache: {tmp_path}/cache\n")
    site = Site(load(file, {}), snapshot(file))
    child = tmp_path / "child.py"
    child.write_text(dedent(CHILD))
    (tmp_path / "child.py.count").touch()
    plans = Plans(Program([sys.executable, str(child)], {}, clock), lambda: site, Stop())
    yield plans
    plans.wait(HANG)


def made(plans):
    """Look at the plan, and return the number of the one that is there when nothing is made any more."""
    plans.newest()
    plans.wait(HANG)
    return plans._plan.report.get("number")


def test_the_first_look_waits_for_nothing_and_lets_one_be_made(plans, clock):
    assert plans.newest() == (None, True)
    plans.wait(HANG)

    plan, going_on = plans.newest()
    assert plan.report["command"] == ["pass", "--plan"]
    assert (plan.at, plan.trouble, going_on) == (clock.now, "", False)


def test_it_is_made_again_only_when_it_is_old(plans, clock):
    assert made(plans) == 1
    clock.now += EVERY - SECOND
    assert [made(plans) for _ in range(5)] == [1] * 5

    clock.now += SECOND
    assert made(plans) == 2


def test_one_that_lies_ahead_because_the_clock_was_set_back_is_old(plans, clock):
    made(plans)
    clock.now -= SECOND

    assert made(plans) == 2


def test_one_that_failed_is_kept_as_long(plans, clock, tmp_path):
    (tmp_path / "child.py").write_text("raise SystemExit(3)")
    plans.newest()
    plans.wait(HANG)
    plan, going_on = plans.newest()

    assert (plan.trouble, going_on) == ("ended with code 3 without a report", False)


def test_none_is_made_while_the_daemon_ends(plans):
    plans._stop.ask()

    assert plans.newest() == (None, False)
