"""What happened reaches receivers once: through a real state, whatever ends in between."""

import json
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from structlog.testing import capture_logs

from imagesync.config.load import load
from imagesync.daemon.notify.commands import Hook
from imagesync.daemon.notify.events import Passed
from imagesync.daemon.notify.inbox import Inbox
from imagesync.daemon.notify.outbox import LAST_RETRY, Outbox
from imagesync.daemon.notify.writing import GIVE_UP, tell, tell_changes
from imagesync.daemon.stop import Budget, Stop
from imagesync.state import ChangeRecord, MessageRecord, open_state

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HANG = 90
TARGETS = [{"name": "site", "error": None, "actions": []}]


def until(truth):
    due = time.monotonic() + HANG
    while not truth():
        assert time.monotonic() < due
        time.sleep(0.01)


@pytest.fixture(scope="session")
def empty(tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "state.db"
    with open_state(f"sqlite:///{path}"):
        return path


@dataclass
class Place:
    root: Path

    def config(self, *receivers):
        file = self.root / "imagesync.yaml"
        config = {"state": f"sqlite:///{self.root}/state.db", "cache": str(self.root / "cache")}
        config["subscriptions"] = [
            {
                "name": "vo",
                "vo": "vo.example",
                "url": "https://l.example/",
                "endorsers": [{"dn": "/CN=a", "ca": "/CN=b"}],
            }
        ]
        config["targets"] = [{"name": "site", "backend": "directory", "path": str(self.root / "site")}]
        file.write_text(yaml.safe_dump({**config, "notifications": list(receivers)}))
        return load(file, {})

    def writes(self, **more):
        """Return a receiver that appends what it gets to a file."""
        return {"name": "ops", "command": ["sh", "-c", f"cat >> {self.root}/got; echo >> {self.root}/got"], **more}

    def got(self):
        file = self.root / "got"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def texts(self):
        return [event["text"] for message in self.got() for event in message["events"]]

    def open(self):
        return open_state(f"sqlite:///{self.root}/state.db")

    def change(self, text, run="r1", *, ended=True, at=NOW, key="p:list/one", kind="published"):
        with self.open() as state:
            state.begin_run(run, "sync", at)
            state.record("site", [], [ChangeRecord(kind, at, "vo", "site", key, "One", text)])
            if ended:
                state.finish_run(run, at, 0, {"run": run, "lists": [], "targets": TARGETS})

    def outbox(self, inbox=None, *, idle=True, clock=lambda: NOW, budget=None):
        hook = Hook({"PATH": "/usr/bin:/bin"}, Stop(budget or Budget()))
        return Outbox(clock, hook, inbox or Inbox(), lambda: idle)


@pytest.fixture
def place(tmp_path, empty):
    shutil.copy(empty, tmp_path / "state.db")
    return Place(tmp_path)


@pytest.fixture
def at_work(place):
    """Return a function that starts delivering, which ends with the test."""
    boxes = []

    def start(*receivers, **how):
        box = place.outbox(**how)
        boxes.append(box)
        box.arrange(place.config(*receivers))
        return box

    yield start
    for box in boxes:
        box._hook.stop.ask()
        box.stop()
        box.wait()


def waiting(state, receiver="ops", now=NOW):
    message = state.next_message(receiver, now, LAST_RETRY)
    return [event["text"] for event in message.content["events"]] if message else None


def waiting_for(state, receiver, now):
    return state.next_message(receiver, now, LAST_RETRY) is not None


# --- from what happened to messages -----------------------------------------------------------------------------------
def test_what_a_pass_did_is_told_with_its_troubles_in_one_message(place):
    config = place.config(place.writes())
    place.change("register One on site: new")
    place.change("register Two on site: new", run="r2")
    lists = [{"name": "vo", "verdict": "refused", "reason": "bad"}]
    with place.open() as state:
        assert tell(config, Passed("vo", NOW, {"run": "r1", "lists": lists, "targets": TARGETS}), state)
        assert waiting(state) == ["list vo refused: bad", "register One on site: new"]
        assert [change.run for change in state.changes(9, ended=False)] == ["r2"]


def test_what_was_done_before_the_daemon_died_or_by_hand_is_told_by_run_once(place):
    config = place.config(place.writes())
    place.change("one", run="r1")
    place.change("two", run="r2")
    with place.open() as state:
        assert tell_changes(config, state, NOW, ended=True)
        assert not tell_changes(config, state, NOW, ended=True)
        messages = [state.next_message("ops", NOW, LAST_RETRY)]
        state.drop_message(messages[0].number)
        messages.append(state.next_message("ops", NOW, LAST_RETRY))
        assert [message.content["run"] for message in messages] == ["r1", "r2"]


def test_a_pass_that_goes_on_has_not_said_all_and_one_that_was_killed_has(place):
    config = place.config(place.writes())
    place.change("one", ended=False)
    with place.open() as state:
        assert not tell_changes(config, state, NOW, ended=True)
        assert tell_changes(config, state, NOW, ended=False)
        assert waiting(state) == ["one"]


def test_what_is_too_old_is_not_told(place):
    config = place.config(place.writes())
    place.change("old", at=NOW - GIVE_UP - timedelta(hours=1))
    with place.open() as state:
        tell_changes(config, state, NOW, ended=True)
        assert waiting(state) is None
        assert state.changes(9, ended=False) == ()


def test_what_cannot_be_written_is_told_later(place):
    config = place.config(place.writes())
    place.change("one")
    with place.open() as state, closing(sqlite3.connect(place.root / "state.db")) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'full'); END")
        with pytest.raises(Exception, match="full"):
            tell_changes(config, state, NOW, ended=True)
        other.execute("DROP TRIGGER full")
        tell_changes(config, state, NOW, ended=True)
        assert waiting(state) == ["one"]


def look_again(box):
    """Let the one receiver's thread look three times."""
    (post,) = box._posts
    for _ in range(3):
        post.news.set()
        until(lambda: not post.news.is_set())


# --- delivery ---------------------------------------------------------------------------------------------------------
def test_what_the_state_has_is_delivered_without_a_pass(place, at_work):
    place.change("one")
    at_work(place.writes())
    until(lambda: place.texts() == ["one"])


def test_a_pass_is_told_when_the_outbox_is_woken(place, at_work):
    inbox = Inbox()
    box = at_work(place.writes(), inbox=inbox)
    inbox.put(Passed("vo", NOW, crash="was ended by SIGKILL"))
    box.wake()
    until(lambda: place.texts() == ["pass over vo: was ended by SIGKILL"])


def test_of_one_image_handlers_learn_in_order_and_of_others_at_once(place):
    config = place.config({"name": "old", "vmcatcher": ["true"]})
    for text, key, kind in (
        ("came", "p:list/one", "published"),
        ("other", "p:list/two", "published"),
        ("went", "p:list/one", "withdrawn"),
    ):
        place.change(text, run=text, key=key, kind=kind)
    with place.open() as state:
        tell_changes(config, state, NOW, ended=True)
        first = state.next_message("old", NOW, LAST_RETRY)
        state.postpone_message(first.number, NOW + timedelta(hours=1))
        assert waiting(state, "old") == ["other"]
        state.drop_message(state.next_message("old", NOW, LAST_RETRY).number)
        assert waiting(state, "old") is None
        assert waiting(state, "old", NOW + timedelta(hours=1)) == ["came"]
        state.drop_message(first.number)
        assert waiting(state, "old") == ["went"]


def test_messages_for_somebody_who_is_not_told_any_more_are_forgotten(place, at_work):
    with place.open() as state:
        state.tell((), (), [MessageRecord("former", {"events": []}, NOW, NOW)])
        at_work(place.writes())
        until(lambda: state.next_message("former", NOW, LAST_RETRY) is None)


def test_a_message_that_cannot_be_dropped_is_not_delivered_again(place, at_work):
    place.change("one")
    with closing(sqlite3.connect(place.root / "state.db")) as other:
        other.execute("CREATE TRIGGER full BEFORE DELETE ON outbox BEGIN SELECT RAISE(ABORT, 'full'); END")
        box = at_work(place.writes())
        until(lambda: place.texts() == ["one"])
        until(lambda: "full" in box._inbox.complaint)
        look_again(box)
        other.execute("DROP TRIGGER full")
        box._wake_posts()
        until(lambda: not box._inbox.complaint)

    assert place.texts() == ["one"]


def test_what_cannot_be_delivered_is_tried_again_later_and_later(place, at_work):
    times = [NOW]
    broken = {"name": "ops", "command": ["sh", "-c", f"echo >> {place.root}/tries; test -e {place.root}/mended"]}
    place.change("one")
    box = at_work(broken, clock=lambda: times[-1])

    def tries():
        file = place.root / "tries"
        return len(file.read_text()) if file.exists() else 0

    for number, wait in enumerate((30, 60, 120), start=1):
        until(lambda number=number: tries() == number)
        with place.open() as state:
            until(lambda state=state: waiting(state, now=times[-1]) is None)
            assert waiting(state, now=times[-1] + timedelta(seconds=wait - 1)) is None
            assert waiting(state, now=times[-1] + timedelta(seconds=wait)) == ["one"]
        times.append(times[-1] + timedelta(seconds=wait))
        (place.root / "mended").touch() if number == 3 else None
        box._wake_posts()
    with place.open() as state:
        until(lambda: waiting(state, now=NOW + timedelta(days=1)) is None)

    assert tries() == 4


def test_what_cannot_be_delivered_for_days_is_given_up_and_logged(place, at_work):
    place.change("one")
    with place.open() as state, capture_logs() as lines:
        box = at_work({"name": "ops", "command": ["false"]})
        until(lambda: waiting(state, now=NOW + timedelta(hours=1)) == ["one"] and waiting(state) is None)
        box._posts[0]._clock = lambda: NOW + GIVE_UP + timedelta(seconds=1)
        box._wake_posts()
        until(lambda: waiting(state, now=NOW + timedelta(days=30)) is None)

    assert [line["event"] for line in lines].count("notification given up") == 1


def test_a_slow_receiver_delays_no_other(place, at_work):
    place.change("one")
    slow = {"name": "slow", "command": ["sh", "-c", f"echo > {place.root}/begun; sleep 600"], "timeout": "600s"}
    at_work(slow, place.writes(), budget=Budget(0.2, 1))
    until((place.root / "begun").exists)
    place.change("two", run="r2")
    until(lambda: place.texts() == ["one", "two"])


def test_that_the_state_cannot_be_written_is_told_past_it_once_and_when_it_is_over(place, at_work):
    inbox = Inbox(lasting=0)
    box = at_work(place.writes(events=["failure", "recovery"]), inbox=inbox)
    inbox.complain("pass", "state.db: cannot be written: database or disk is full", NOW)
    look_again(box)
    until(place.texts)
    look_again(box)
    inbox.complain("pass", "", NOW)
    look_again(box)
    until(lambda: len(place.texts()) > 1)

    full = "the state cannot be used: state.db: cannot be written: database or disk is full"
    assert place.texts() == [full, f"good again: {full}"]


def test_a_state_that_is_out_of_order_for_a_moment_is_not_told():
    for lasting, alarm in ((60, ""), (0, "is busy")):
        inbox = Inbox(lasting)
        inbox.complain("pass", "is busy", NOW)
        assert (inbox.complaint, inbox.alarm) == ("is busy", alarm)
        inbox.complain("pass", "", NOW)
        assert inbox.alarm == ""


def test_since_when_the_state_is_out_of_order_is_known_until_all_can_use_it_again():
    inbox = Inbox()
    assert inbox.since is None
    inbox.complain("pass", "is busy", NOW)
    inbox.complain("outbox", "is full", NOW + timedelta(minutes=1))
    inbox.complain("pass", "", NOW + timedelta(minutes=2))
    assert inbox.since == NOW
    inbox.complain("outbox", "", NOW + timedelta(minutes=3))
    assert inbox.since is None


# --- what nobody thought of -------------------------------------------------------------------------------------------
def test_images_that_cannot_be_told_hold_up_no_others_and_are_given_up(place, at_work):
    times = [NOW]
    place.change("never", run="r1", kind="unheard-of")
    place.change("two", run="r2")
    with capture_logs() as lines:
        box = at_work(place.writes(), clock=lambda: times[-1])
        until(lambda: place.texts() == ["two"])
        until(lambda: "ValueError" in box._inbox.complaint)
        box._inbox.put(Passed("vo", NOW, crash="was ended by SIGKILL"))
        box.wake()
        until(lambda: place.texts() == ["two", "pass over vo: was ended by SIGKILL"])
        times.append(NOW + GIVE_UP + timedelta(seconds=1))
        box.wake()
        until(lambda: not box._inbox.complaint)

    with place.open() as state:
        assert state.changes(9, ended=False) == ()
    assert [type(line["exc_info"]) for line in lines if line["event"] == "state cannot be used"] == [ValueError]


def test_a_pass_that_cannot_be_told_waits_for_the_next_over_its_list_and_holds_up_no_other(place, at_work):
    inbox = Inbox()
    inbox.put(Passed("other", NOW, {"run": "r1", "lists": [{}]}))
    inbox.put(Passed("vo", NOW, crash="was ended by SIGKILL"))
    box = at_work(place.writes(), inbox=inbox)
    until(lambda: place.texts() == ["pass over vo: was ended by SIGKILL"])
    until(lambda: "notifications of the pass over other: unexpected KeyError" in inbox.complaint)
    inbox.put(Passed("other", NOW, crash="had no memory"))
    box.wake()
    until(lambda: place.texts()[1:] == ["pass over other: had no memory"])
    until(lambda: not inbox.complaint)


def test_images_that_cannot_be_told_do_not_silence_what_is_wrong(place):
    config = place.config(place.writes())
    place.change("never", kind="unheard-of")
    lists = [{"name": "vo", "verdict": "refused", "reason": "bad"}]
    with place.open() as state:
        assert tell(config, Passed("vo", NOW, {"run": "r1", "lists": lists, "targets": TARGETS}), state)
        assert waiting(state) == ["list vo refused: bad"]


def test_a_delivery_that_fails_in_an_unheard_of_way_is_put_off_as_any_other(place, at_work):
    with place.open() as state, capture_logs() as lines:
        state.tell((), (), [MessageRecord("old", {"events": [{}]}, NOW, NOW)])
        box = at_work({"name": "old", "vmcatcher": ["true"]})
        until(lambda: waiting_for(state, "old", NOW + timedelta(seconds=30)) and not waiting_for(state, "old", NOW))
        assert box._posts[0].is_alive()

    (line,) = [line for line in lines if line["event"] == "notification not delivered"]
    assert "unexpected KeyError" in line["reason"]
    assert isinstance(line["exc_info"], KeyError)


def test_a_receiver_that_cannot_go_on_complains_and_is_tried_again(place, at_work):
    place.change("one")
    box = at_work(place.writes())
    until(lambda: place.texts() == ["one"])
    (post,) = box._posts
    deliver, post._deliver = post._deliver, lambda _: 1 / 0
    post.news.set()
    until(lambda: "ZeroDivisionError" in box._inbox.complaint)
    post._deliver = deliver
    place.change("two", run="r2")
    box.wake()
    until(lambda: place.texts() == ["one", "two"])
    until(lambda: not box._inbox.complaint)


def test_threads_that_ended_are_replaced_when_the_configuration_is_read_again(place, at_work):
    box = at_work(place.writes())
    for thread in (box._teller, *box._posts):
        thread.end()
        thread.join()
    box.arrange(place.config(place.writes()))
    place.change("one")
    box.wake()
    until(lambda: place.texts() == ["one"])


def test_the_last_pass_over_a_list_is_the_one_that_counts():
    inbox = Inbox()
    first, second = (Passed("vo", NOW, crash=text) for text in ("one", "two"))
    inbox.put(first)
    inbox.put(second)
    inbox.drop(first)

    assert inbox.waiting() == (second,)


@pytest.fixture
def slow():
    """Return a server that answers when it is let go on, and counts what it got."""

    class Exchange(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            server.got += 1
            server.go_on.wait(HANG)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Exchange)
    server.got, server.go_on = 0, threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_neither_a_reload_nor_a_restart_delivers_twice(place, at_work, slow):
    hook = {"name": "ops", "webhook": {"url": f"http://127.0.0.1:{slow.server_address[1]}/"}}
    place.change("one")
    box = at_work(hook)
    until(lambda: slow.got)
    box.arrange(place.config({**hook, "timeout": "20s"}))
    box.stop()
    ending = threading.Thread(target=box.wait)
    ending.start()
    slow.go_on.set()
    ending.join()
    again = at_work(hook)
    with place.open() as state:
        until(lambda: state.next_message("ops", NOW, LAST_RETRY) is None)
        again._wake_posts()

    assert slow.got == 1
