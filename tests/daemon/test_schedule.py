"""Jobs begin when they are due, one at a time, and the scheduler shows that it lives."""

import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from imagesync.daemon.schedule import Rhythm, Schedule

HOUR = timedelta(hours=1)
HANG = 90


@contextmanager
def running(run, **how):
    schedule = Schedule(run, **how)
    schedule.start()
    try:
        yield schedule
    finally:
        schedule.stop()


def until(truth):
    due = time.monotonic() + HANG
    while not truth():
        assert time.monotonic() < due
        time.sleep(0.01)


def now():
    return datetime.now(UTC)


def test_what_is_moved_to_now_runs_now_and_then_by_its_rhythm():
    ran = []
    with running(ran.append) as schedule:
        schedule.arrange({"a": Rhythm(HOUR)}, timedelta())
        schedule.move("a", now())
        until(lambda: ran == ["a"] and schedule.is_idle())

        assert timedelta(minutes=59) < schedule.next_times()["a"] - now() <= HOUR


def test_two_jobs_do_not_run_at_once():
    at_once, most = [], []

    def run(name):
        at_once.append(name)
        most.append(len(at_once))
        time.sleep(0.1)
        at_once.remove(name)

    with running(run) as schedule:
        schedule.arrange({name: Rhythm(HOUR) for name in "abc"}, timedelta())
        for name in "abc":
            schedule.move(name, now())
        until(lambda: len(most) == 3 and schedule.is_idle())

    assert most == [1, 1, 1]


def test_a_job_that_fails_runs_again():
    ran = []

    def run(name):
        ran.append(name)
        raise ValueError

    with running(run) as schedule:
        schedule.arrange({"a": Rhythm(HOUR)}, timedelta())
        for count in (1, 2):
            schedule.move("a", now())
            until(lambda count=count: len(ran) == count and schedule.is_idle())


def test_what_is_no_longer_arranged_is_gone_and_may_be_moved_without_harm():
    with running(print) as schedule:
        schedule.arrange({"a": Rhythm(HOUR), "b": Rhythm(HOUR)}, timedelta())
        schedule.arrange({"b": Rhythm(2 * HOUR)}, timedelta())
        schedule.move("a", now())

        assert schedule.next_times().keys() == {"b"}


def test_what_is_arranged_again_is_due_as_before():
    """Else what is rare would never begin where the configuration is reloaded more often than that."""
    soon = now() + HOUR / 2
    with running(print) as schedule:
        schedule.arrange({"a": Rhythm(HOUR)}, timedelta())
        schedule.move("a", soon)
        schedule.arrange({"a": Rhythm(HOUR)}, timedelta())

        assert schedule.next_times()["a"] == soon


def test_what_is_arranged_again_waits_no_longer_than_its_rhythm():
    with running(print) as schedule:
        schedule.arrange({"a": Rhythm(HOUR)}, timedelta())
        schedule.move("a", now() + 1000 * HOUR)  # as before the clock was set back
        schedule.arrange({"a": Rhythm(HOUR)}, timedelta())

        assert schedule.next_times()["a"] <= now() + HOUR


def test_what_was_missed_is_made_up_for_once():
    """As after a machine slept for ten hours, or its clock was set ahead."""
    ran = []
    with running(ran.append) as schedule:
        schedule.arrange({"a": Rhythm(HOUR)}, timedelta())
        schedule.move("a", now() - 10 * HOUR)
        until(lambda: ran and schedule.is_idle())

        assert ran == ["a"]
        assert now() < schedule.next_times()["a"] <= now() + HOUR


def test_what_still_runs_does_not_begin_again():
    gate, ran = threading.Event(), []

    def run(name):
        ran.append(name)
        gate.wait(HANG)

    with running(run) as schedule:
        schedule.arrange({"a": Rhythm(timedelta(seconds=1))}, timedelta())
        until(lambda: ran)
        time.sleep(2.5)  # two more are due
        schedule.arrange({"a": Rhythm(HOUR)}, timedelta())
        gate.set()
        until(schedule.is_idle)

    assert ran == ["a"]


def test_jitter_is_at_most_a_tenth_of_the_interval():
    trigger = Rhythm(timedelta(minutes=10)).trigger(HOUR)

    assert trigger.jitter == 60


def test_a_scheduler_that_does_nothing_is_not_alive():
    with running(print, beat=0.02) as schedule:
        until(schedule.is_alive)
        schedule.stop()
        until(lambda: not schedule.is_alive())


def test_a_long_pass_does_not_stop_the_pulse():
    gate = threading.Event()
    with running(lambda _: gate.wait(HANG), beat=0.02) as schedule:
        schedule.arrange({"a": Rhythm(HOUR)}, timedelta())
        schedule.move("a", now())
        time.sleep(0.5)
        alive = schedule.is_alive()
        gate.set()

    assert alive


def test_whoever_runs_can_be_moved_while_it_ends():
    began, gate = threading.Event(), threading.Event()

    def run(name):
        began.set()
        gate.wait(HANG)
        schedule.move(name, now())

    schedule = Schedule(run)
    schedule.start()
    schedule.arrange({"a": Rhythm(HOUR)}, timedelta())
    schedule.move("a", now())
    assert began.wait(HANG)
    ending = threading.Thread(target=schedule.stop)
    ending.start()
    gate.set()
    ending.join(HANG)

    assert not ending.is_alive()
