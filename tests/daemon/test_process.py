"""A child is watched, heard, and never left behind."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from threading import Thread

import psutil
import pytest

from imagesync.daemon.process import Launch, Patience, _Watched, supervise
from imagesync.daemon.stop import Stop

PATIENT = Patience(30, 30)

PREAMBLE = """
    import json, os, signal, subprocess, sys, time
    events = int(sys.argv[sys.argv.index("--events") + 1])
    files = int(sys.argv[sys.argv.index("--files") + 1])
    def tell(**event):
        os.write(events, json.dumps(event).encode() + b"\\n")
"""


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a child which does what a text says; what it told is in ``run.told``."""

    def run(text, patience=PATIENT, stop=None, files="text"):
        script = tmp_path / "child.py"
        script.write_text(dedent(PREAMBLE) + dedent(text))
        run.told = []
        launch = Launch([sys.executable, str(script)], dict(os.environ), files)
        return supervise(launch, patience, stop or Stop(), run.told.append)

    run.told = []
    return run


def test_events_are_heard_and_the_last_words_kept(run):
    ending = run("""
        tell(event="task", task=1)
        tell(event="end", exit=4)
        sys.exit(4)
    """)

    assert (ending.code, ending.why) == (4, "")
    assert ending.report == {"event": "end", "exit": 4}
    assert [event["event"] for event in run.told] == ["task", "end"]


def test_the_configuration_arrives_whatever_its_size(run):
    ending = run('tell(event="end", size=len(os.fdopen(files).read()))', files="x" * 3_000_000)

    assert ending.report["size"] == 3_000_000


def test_a_child_without_last_words_is_told(run):
    assert run("sys.exit(3)").why == "ended with code 3 without a report"


def test_a_crash_is_named(run):
    ending = run("os.kill(os.getpid(), signal.SIGSEGV)")

    assert (ending.code, ending.why) == (None, "was ended by SIGSEGV")


def test_what_is_no_event_is_left_out(run):
    run("""
        os.write(events, b"nonsense\\n[1]\\n\\xff\\n")
        tell(event="end")
    """)

    assert [event["event"] for event in run.told] == ["end"]


def test_a_line_without_end_does_not_fill_the_memory(run):
    ending = run("""
        for _ in range(50):
            os.write(events, b"x" * (1 << 20))
        os.write(events, b"\\n")
        tell(event="end")
    """)

    assert ending.report == {"event": "end"}


def test_a_silent_child_is_killed_with_all_of_its_group(run, tmp_path):
    ending = run(
        f"""
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        tell(event="alive")
        time.sleep(60)
        """,
        Patience(1, 30),
    )

    assert (ending.code, ending.why) == (None, "showed no sign of life for 1 s, and was killed")
    assert gone(int((tmp_path / "pid").read_text()))


def test_any_event_is_a_sign_of_life(run):
    ending = run(
        """
        for _ in range(8):
            tell(event="alive")
            time.sleep(0.25)
        tell(event="end")
        """,
        Patience(1, 30),
    )

    assert ending.why == ""


def test_nothing_runs_for_ever(run):
    ending = run('\nwhile True: tell(event="alive"); time.sleep(0.1)', Patience(30, 1))

    assert ending.why == "was not done after 1 s, and was killed"


def test_stopping_lets_the_child_end_itself(run):
    stop = Stop()

    def ask_when_it_listens():
        while not run.told:
            time.sleep(0.01)
        stop.ask()

    Thread(target=ask_when_it_listens, daemon=True).start()
    ending = run(
        """
        def end(*_):
            tell(event="end", exit=130)
            os._exit(130)
        signal.signal(signal.SIGTERM, end)
        tell(event="alive")
        time.sleep(60)
        """,
        stop=stop,
    )

    assert (ending.code, ending.report["exit"]) == (130, 130)


def test_the_lifeline_ends_with_the_parent(tmp_path):
    script = tmp_path / "child.py"
    script.write_text(dedent(PREAMBLE) + "print(os.getpid(), flush=True)\nsys.stdin.read()\n")
    parent = f"""
        import os
        from imagesync.daemon.process import Launch, Patience, _Watched, supervise
        from imagesync.daemon.stop import Stop
        launch = Launch([{sys.executable!r}, {str(script)!r}], dict(os.environ), "")
        supervise(launch, Patience(60, 60), Stop(), print)
    """
    process = psutil.Popen([sys.executable, "-c", dedent(parent)])
    child = _child_of(process)
    process.kill()
    process.wait()

    assert gone(child.pid)


def _child_of(process):
    for _ in range(200):
        if found := process.children():
            return found[0]
        time.sleep(0.05)
    raise TimeoutError


def gone(pid):
    """Return whether a process ends soon."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        with suppress(psutil.TimeoutExpired):
            process.wait(10)
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def test_no_descriptor_is_left_open(run):
    run('tell(event="end")')
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        run('tell(event="end")')

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_program_that_is_missing_is_an_error_of_the_system_and_leaves_nothing(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        supervise(Launch([str(tmp_path / "none")], {}, ""), PATIENT, Stop(), print)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


class Undying(subprocess.Popen):
    """Stands for a child that the system itself holds, as a dead disk does, which cannot be had here."""

    def wait(self, timeout=None):
        raise subprocess.TimeoutExpired(self.args, timeout)


def test_a_child_that_cannot_be_killed_is_told_and_not_waited_for():
    child = Undying([sys.executable, "-c", ""], start_new_session=True)
    watched = _Watched(child, Patience(1, 1), Stop(), lambda event: None)
    watched.end()

    assert "showed no life, and cannot be killed: a disk" in watched.ending("showed no life").why
    super(Undying, child).wait()
