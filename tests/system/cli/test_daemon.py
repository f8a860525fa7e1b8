"""The daemon, run as a service manager runs it: a real process, a real notify socket, real signals."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import psutil

from imagesync.daemon.passes import HOUSEKEEPING
from imagesync.run.wiring import DAEMON
from imagesync.state import PassRecord, open_state
from imagesync.testing.faults import Held, Replaced, Slow, Status

HANG = 150


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
        lines = [line for line in daemon.log().splitlines() if "list=shaky" in line]
        assert len(lines) >= 3  # it began, what the pass said, that it failed
        assert len({re.search(r"run=(\S+)", line)[1] for line in lines}) == 1

    assert quiet.titles() == ["steady-1", "steady-2"]


def test_a_target_that_is_away_is_tried_again_soon_also_beside_an_image_that_waits(quiet, start):
    (quiet.root / "away").touch()
    quiet.targets.append({"name": "away", "backend": "directory", "path": str(quiet.root / "away")})
    quiet.configure()
    quiet.shaky.server.misbehave(quiet.shaky.image_path(next(iter(quiet.shaky.images))), Status(404))
    with start() as daemon:
        daemon.idle()
        assert daemon.passes() == {"shaky": (1, 1), "steady": (1, 1)}


def test_a_good_configuration_is_taken_on_sighup_and_looked_at_at_once(quiet, start):
    with start() as daemon:
        daemon.idle()
        quiet.subscription_options["shaky"] = {"select": {"exclude": [{"title": "shaky-2"}]}}
        quiet.configure()
        daemon.signal(signal.SIGHUP)
        assert daemon.hear("RELOADING=1").startswith("RELOADING=1\nMONOTONIC_USEC=")
        daemon.hear("READY=1")
        until(lambda: quiet.titles() == ["shaky-1", "steady-1", "steady-2"])


def test_with_a_bad_configuration_the_old_one_goes_on_and_status_says_so(quiet, start):
    with start() as daemon:
        daemon.idle()
        good = quiet.config.read_text()
        bad = {
            "subscriptons: []\n": "subscriptons",
            good + "x: !!int x\n": "is no int that can be read",
            good.replace("state.db", "other.db"): "restart the daemon",
        }
        for text, why in bad.items():
            quiet.config.write_text(text)
            daemon.signal(signal.SIGHUP)
            assert why in daemon.hear("STATUS=configuration not reloaded: ")
        quiet.config.write_text(good + "on_unselected: keep\n")
        daemon.signal(signal.SIGHUP)
        daemon.idle()


def test_a_configuration_that_changes_during_a_pass_is_used_right_after_it(quiet, start):
    held = Held(100)
    quiet.shaky.server.misbehave(quiet.shaky.path, held)
    with start() as daemon:
        assert held.reached.wait(HANG)
        quiet.subscription_options["shaky"] = {"select": {"exclude": [{"title": "shaky-2"}]}}
        quiet.configure()
        daemon.signal(signal.SIGHUP)
        daemon.hear("RELOADING=1")
        daemon.hear("READY=1")
        quiet.shaky.server.behave()
        held.release.set()
        until(lambda: quiet.titles() == ["shaky-1", "steady-1", "steady-2"])


def test_a_list_that_is_followed_no_more_leaves_no_trouble(quiet, start):
    quiet.shaky.server.misbehave(quiet.shaky.path, Status(503))
    with start() as daemon:
        assert "shaky: ended with exit code 5" in daemon.idle()
        quiet.options["subscriptions"] = [one for one in quiet.subscriptions() if one["name"] == "steady"]
        quiet.configure()
        daemon.signal(signal.SIGHUP)
        daemon.hear("RELOADING=1")
        assert "shaky" not in daemon.hear("STATUS=next: ")


def test_the_probe_sees_that_nobody_is_at_work_also_after_a_pass_was_killed(quiet):
    now = datetime.now(UTC)
    with open_state(f"sqlite:///{quiet.root / 'state.db'}", None) as state:
        state.note_pass(PassRecord("shaky", now - timedelta(days=2), 0, 0, None, ""))
        state.begin_run("killed", "sync", now - timedelta(hours=1))
        assert "daemon is not at work" in quiet.given("probe").out
        with state.lock(DAEMON, now):
            assert "daemon is not at work" not in quiet.given("probe").out


def test_a_configuration_that_a_reload_would_refuse_is_refused_at_the_start(quiet, start):
    quiet.targets[0]["backend"] = "nonsense"
    quiet.configure()
    with start(wait=False) as daemon:
        assert daemon.process.wait(HANG) == 2
        assert "nonsense" in daemon.log()


def test_what_may_come_in_time_keeps_no_daemon_from_starting(quiet, start):
    quiet.configure()
    quiet.config.write_text(quiet.config.read_text().replace(str(quiet.trust.anchors), str(quiet.root / "not-yet")))
    with start() as daemon:
        assert daemon.process.is_running()


def test_of_two_daemons_one_is_at_work(quiet, start):
    with start() as daemon:
        second = quiet.run("daemon")
        assert (second.code, "(daemon): is locked by process" in second.err) == (6, True)
        assert daemon.process.is_running()


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


def test_a_pass_that_crashes_harms_nothing_else(quiet, start):
    slowly(quiet)
    with start() as daemon:
        daemon.hear("download shaky-")
        daemon.process.children()[0].kill()
        daemon.hear("shaky: was ended by SIGKILL")
        assert daemon.process.is_running()
        assert daemon.passes()["shaky"] == (-1, 1)


def test_a_pass_that_is_stuck_is_killed_and_said_to_be(quiet, start):
    quiet.options["daemon"] = {"listen": "off", "jitter": "0", "silence": "3s"}
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
        assert quiet.sync().code == 0
        assert daemon.stop() == 0


def test_it_forgets_what_is_old_by_itself(quiet, start):
    quiet.options["daemon"] |= {"housekeeping": "1s"}
    quiet.configure()
    long_ago = datetime.now(UTC) - timedelta(days=3000)
    with open_state(f"sqlite:///{quiet.root / 'state.db'}", None) as state:
        state.begin_run("old", "sync", long_ago)
        state.finish_run("old", long_ago, 0, {})
        with start():
            until(lambda: state.run("old") is None)


def test_housekeeping_is_done_once_a_day_however_often_the_daemon_is_restarted(quiet, start):
    with open_state(f"sqlite:///{quiet.root / 'state.db'}", None) as state:
        with start() as daemon:
            until(lambda: HOUSEKEEPING in state.last_passes())
            daemon.stop()
        with start() as daemon:
            assert HOUSEKEEPING not in daemon.idle()
            daemon.stop()
        assert state.last_passes()[HOUSEKEEPING].code == 0
    assert [HOUSEKEEPING in quiet.given(*words).out for words in (("status", "--from-state"), ("probe",))] == [
        False
    ] * 2


def test_lines_have_a_priority_in_the_journal(quiet, start, tmp_path):
    (tmp_path / "daemon.log").touch()
    there = (tmp_path / "daemon.log").stat()
    quiet.shaky.server.misbehave(quiet.shaky.path, Replaced(b"no list"))
    with start(JOURNAL_STREAM=f"{there.st_dev}:{there.st_ino}") as daemon:
        daemon.idle()
        lines = daemon.log().splitlines()

    assert any(line.startswith("<6>timestamp=") and "pass began" in line for line in lines)
    assert any(line.startswith("<3>timestamp=") and "pass failed" in line for line in lines)
    assert all(line[0] == "<" for line in lines)

    quiet.config.write_text("subscriptons: []\n")
    with start(wait=False, JOURNAL_STREAM=f"{there.st_dev}:{there.st_ino}") as daemon:
        daemon.process.wait(HANG)
        assert daemon.log().splitlines()[-1].startswith("<3>imagesync: ")


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
    quiet.shaky.withdraw(next(key for key, one in quiet.shaky.images.items() if one.title == "shaky-1"))
    quiet.shaky.publish()
    quiet.subscription_options["shaky"] = {"every": "1h"}
    quiet.configure()
    with start():
        until(lambda: len(log.read_text().splitlines()) == 5)

    assert log.read_text().splitlines()[-1] == f"ExpirePostfix shaky-1 {quiet.shaky.vo}"


def test_a_page_that_cannot_be_opened_is_said_and_stops_no_pass(quiet, start):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        quiet.options["daemon"] = {"jitter": "0", "listen": f"127.0.0.1:{other.getsockname()[1]}"}
        quiet.configure()
        with start() as daemon:
            assert "daemon.listen: cannot listen on 127.0.0.1:" in daemon.idle()
            assert daemon.passes() == {"shaky": (0, 0), "steady": (0, 0)}
            assert "the status page is not available, passes go on" in daemon.log()
            assert daemon.stop() == 0
