"""A QEMU that does not do what it should is evidence, and it is dead afterwards: programs that play one badly."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from qemu.qmp import EventListener

from imagesync.boot.session import Launch, Patience, Seen, watch
from imagesync.boot.verdict import Verdict

QUICK = Patience(total=4.0, quiet=2.0, step=20.0, interval=0.05)
IMPATIENT = replace(QUICK, step=3.0)

# Speaks QMP well as far as it goes; `answer` and `greet` are what a test replaces.
PEER = """
import json, os, signal, socket, sys, time
wire = socket.socket(fileno=int(sys.argv[1]))
console, firmware = (socket.socket(fileno=int(number)) for number in sys.argv[2:4])
stream = wire.makefile("wb")
def commands():
    left = ""
    while data := wire.recv(65536):
        left += data.decode()
        while left.strip():
            try:
                command, end = json.JSONDecoder().raw_decode(left)
            except json.JSONDecodeError:
                break
            left = left[end:]
            yield command
def send(message):
    stream.write(json.dumps(message).encode() + b"\\r\\n")
    stream.flush()
def event(name, **data):
    send({"event": name, "data": data, "timestamp": {"seconds": 1, "microseconds": 0}})
def greet():
    send({"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}})
reads = 0
def usual(command):
    global reads
    reads += 1
    stats = {"rd_operations": reads, "rd_bytes": reads << 20}
    return {"query-status": {"status": "running"}, "query-blockstats": [{"device": "image", "stats": stats}]}.get(
        command["execute"], {})
def answer(command):
    send({"return": usual(command), "id": command.get("id")})
    if command["execute"] == "quit":
        sys.exit()
@REPLACED@
greet()
for command in commands():
    answer(command)
"""


@pytest.fixture
def played(tmp_path: Path) -> Callable[..., Seen]:
    def play(replaced: str, patience: Patience = QUICK, **options: object) -> Seen:
        script = PEER.replace("@REPLACED@", textwrap.dedent(replaced))
        launch = Launch(
            lambda wires: (sys.executable, "-c", script, str(wires.control), str(wires.console), str(wires.firmware)),
            os.environ,
            tmp_path,
            "tcg",
            ("MBR",),
            **options,  # type: ignore[arg-type]  # only the tick
        )
        seen = watch(launch, patience)
        assert psutil.Process().children() == []
        return seen

    return play


def trouble(seen: Seen) -> str:
    assert (seen.finding.verdict, seen.finding.rule) == (Verdict.INCONCLUSIVE, "qemu-trouble")
    return seen.finding.why


@pytest.mark.parametrize(
    ("replaced", "why"),
    [
        ("sys.exit('qemu: -device nonsense: no such device')", "ended with status 1: qemu: -device nonsense"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "QEMU was killed by SIGSEGV without a word"),
        ("def greet(): time.sleep(60)", "no answer from QEMU in 3 s"),
        ("def greet(): send({'hello': 1}); time.sleep(60)", "no answer from QEMU"),
        ("def greet(): stream.write(b'no JSON\\r\\n'); stream.flush(); time.sleep(60)", "no answer from QEMU"),
        ("def greet(): wire.shutdown(socket.SHUT_RDWR); time.sleep(60)", "no answer from QEMU"),
    ],
    ids=["refuses a device", "crashes", "hangs", "another greeting", "no JSON", "closes"],
)
def test_trouble_at_the_start_is_told(played: Callable[..., Seen], replaced: str, why: str) -> None:
    assert why in trouble(played(replaced, IMPATIENT))


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("os.kill(os.getpid(), signal.SIGABRT)", "QEMU was killed by SIGABRT"),
        (
            "signal.signal(signal.SIGXFSZ, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGXFSZ)",
            "the guest wrote more than the check keeps, 2 GiB",
        ),
        ("sys.stderr.write('assertion failed\\n'); sys.stderr.flush(); os._exit(3)", "status 3: assertion failed"),
        ("time.sleep(60)", "query-blockstats had no answer"),
        ("wire.shutdown(socket.SHUT_RDWR); time.sleep(60)", "QEMU stopped answering"),
        ("stream.write(b'[1, 2\\r\\n'); stream.flush(); time.sleep(60)", "QEMU stopped answering"),
        ("send({'return': 'text', 'id': command['id']}); time.sleep(60)", "QEMU stopped answering"),
        ("send({'return': [{'device': 'image'}], 'id': command['id']}); time.sleep(60)", "QEMU stopped answering"),
        ("send({'error': 'none', 'id': command['id']}); time.sleep(60)", "QEMU stopped answering"),
        ("send({'id': command['id']}); time.sleep(60)", "QEMU stopped answering"),
        ("send({'event': ['RESET'], 'data': 7}); time.sleep(60)", "QEMU stopped answering"),
        ("send({'return': [1], 'id': command['id']})", "QEMU stopped answering"),
        ("odd['data'] = [1]; send(odd); send({'return': [], 'id': command['id']})", "QEMU stopped answering"),
        ("raw(INFINITE % json.dumps(command['id']))", "QEMU stopped answering"),
        ("raw('[' * 60000); time.sleep(60)", "QEMU stopped answering"),
    ],
    ids=[
        "crash",
        "too much",
        "failure",
        "hang",
        "close",
        "no JSON",
        "text",
        "no numbers",
        "odd error",
        "nothing",
        "odd event",
        "numbers for blocks",
        "list for data",
        "infinite",
        "deep",
    ],
)
def test_trouble_in_the_middle_is_told(played: Callable[..., Seen], what: str, why: str) -> None:
    replaced = f"""
        INFINITE = '{{"return": [{{"device": "image", "stats": {{"rd_operations": 1e400, "rd_bytes": 1}}}}], "id": %s}}'
        odd = {{"event": "RESET", "timestamp": {{"seconds": 1, "microseconds": 0}}}}
        def raw(text):
            stream.write(text.encode() + b"\\r\\n")
            stream.flush()
        def answer(command):
            if command["execute"] == "query-blockstats":
                {what}
            else:
                send({{"return": usual(command), "id": command.get("id")}})
    """

    assert why in trouble(played(replaced, IMPATIENT))


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("query-blockstats", "send({'error': {'class': 'GenericError', 'desc': said}, 'id': command['id']})"),
        ("query-status", "event('BLOCK_IO_ERROR', reason=said); send({'return': usual(command), 'id': command['id']})"),
        ("query-status", "send({'return': {'status': said}, 'id': command['id']}); os._exit(1)"),
    ],
    ids=["error", "reason", "status"],
)
def test_what_comes_by_qmp_is_told_in_a_short_plain_line(played: Callable[..., Seen], command: str, what: str) -> None:
    seen = played(
        f"""
        said = "\\x1b[2J\\x1b]0;owned\\x07\\u202e\\n" + "y" * 50000
        def answer(command):
            if command["execute"] == {command!r}:
                {what}
            else:
                send({{"return": usual(command), "id": command.get("id")}})
    """,
        IMPATIENT,
    )

    reasons = [event.reason for event in seen.evidence.events]
    for said in (seen.finding.why, seen.evidence.trouble, seen.evidence.status, *reasons):
        assert said.isprintable()
        assert len(said) < 600
        assert "owned" not in said


def test_what_was_seen_before_qemu_broke_down_counts(played: Callable[..., Seen]) -> None:
    seen = played("""
        def greet(inner=greet):
            inner()
            console.sendall(b"Linux version 6.1\\n\\nguest login: ")
            time.sleep(0.1)
        def answer(command):
            if command["execute"] == "query-blockstats":
                os._exit(9)
            send({"return": usual(command), "id": command.get("id")})
    """)

    assert (seen.finding.verdict, seen.finding.why) == (Verdict.LOGIN, "guest login:")


def test_a_machine_that_ignores_its_power_button_and_quit_is_killed(played: Callable[..., Seen]) -> None:
    seen = played("""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        def greet(inner=greet):
            inner()
            console.sendall(b"guest login: ")
        def answer(command):
            if command["execute"] in ("system_powerdown", "quit"):
                time.sleep(600)
            send({"return": usual(command), "id": command.get("id")})
    """)

    assert seen.finding.verdict is Verdict.LOGIN


LISTENING = """
    def answer(command, inner=answer):
        with open("commands", "a") as file:
            print(command["execute"], file=file)
        inner(command)
        if command["execute"] == "system_powerdown":
            event("SHUTDOWN", guest=True, reason="guest-shutdown")
    def greet(inner=greet):
        inner()
        console.sendall(b"@SAID@")
"""


@pytest.mark.parametrize(
    ("said", "ends"),
    [("guest login: ", ["system_powerdown", "quit"]), ("Kernel panic - not syncing: x", ["quit"])],
    ids=["one that runs", "one that failed"],
)
def test_only_a_guest_that_runs_is_asked_to_switch_itself_off(
    said: str, ends: list[str], played: Callable[..., Seen], tmp_path: Path
) -> None:
    seen = played(LISTENING.replace("@SAID@", said))

    commands = (tmp_path / "commands").read_text().split()
    assert seen.finding.verdict.passed == (len(ends) == 2)
    assert [word for word in commands if word in {"system_powerdown", "quit"}] == ends
    assert commands[-1] == "quit"


def test_gigabytes_on_the_console_are_read_and_not_kept(played: Callable[..., Seen]) -> None:
    seen = played("""
        import threading
        def flood():
            while True:
                console.sendall(b"a flood of words\\n" * 4096)
        def greet(inner=greet):
            inner()
            console.sendall(b"Linux version 6.1\\n")
            threading.Thread(target=flood, daemon=True).start()
    """)

    assert (seen.finding.verdict, seen.finding.rule) == (Verdict.KERNEL, "kernel-text")
    assert len(seen.evidence.console) < 100_000
    assert seen.evidence.last.said > 1 << 20


def test_a_flood_of_events_is_bounded(played: Callable[..., Seen]) -> None:
    seen = played("""
        def greet(inner=greet):
            inner()
            wire.recv(65536)
            send({"return": {}})
            for _ in range(2000):
                event("WATCHDOG", action="none")
    """)

    assert [event.name for event in seen.evidence.events] == ["WATCHDOG"] * 100


@pytest.mark.parametrize("name", ["GUEST_CRASHLOADED", "RESET"])
def test_events_that_nobody_takes_are_not_kept(played: Callable[..., Seen], name: str) -> None:
    kept: list[int] = []

    def tick(_seconds: float) -> None:
        listeners = [one for one in gc.get_objects() if isinstance(one, EventListener)]
        kept.extend(len(one.history) for one in listeners)
        kept.extend(len(one.clear()) for one in listeners)

    played(
        f"""
        def answer(command, inner=answer):
            if command["execute"] == "query-status":
                while True:
                    event({name!r}, action="run")
            inner(command)
    """,
        IMPATIENT,
        tick=tick,
    )

    assert max(kept) <= 100


def test_the_firmware_s_words_and_events_are_kept(played: Callable[..., Seen]) -> None:
    seen = played("""
        def greet(inner=greet):
            inner()
            firmware.sendall(b"Booting from Hard Disk...")
        def answer(command, inner=answer):
            if command["execute"] == "query-status":
                event("SHUTDOWN", guest=True, reason="guest-shutdown")
            inner(command)
    """)

    assert (seen.finding.verdict, seen.evidence.firmware) == (Verdict.POWERED_OFF, "Booting from Hard Disk...")
    assert seen.evidence.events[0].reason == "guest-shutdown"


def test_a_link_in_place_of_the_screen_is_not_followed(played: Callable[..., Seen], tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"P6\n1 1\n255\n123")
    seen = played("""
        def answer(command, inner=answer):
            if command["execute"] == "screendump" and not os.path.lexists("screen.ppm"):
                os.symlink("secret", "screen.ppm")
            inner(command)
    """)

    assert (seen.picture, seen.evidence.screen, seen.finding.verdict) == (None, None, Verdict.READING)


def test_a_directory_in_place_of_the_screen_leaves_nothing_open(played: Callable[..., Seen]) -> None:
    before = psutil.Process().num_fds()

    seen = played("""
        def answer(command, inner=answer):
            if command["execute"] == "screendump" and not os.path.lexists("screen.ppm"):
                os.mkdir("screen.ppm")
            inner(command)
    """)

    assert (seen.picture, seen.evidence.screen, seen.finding.verdict) == (None, None, Verdict.READING)
    assert psutil.Process().num_fds() == before


def test_the_last_screen_with_something_on_it_is_kept(played: Callable[..., Seen]) -> None:
    seen = played(
        """
        looks = 0
        def answer(command, inner=answer):
            global looks
            if command["execute"] == "screendump":
                looks += 1
                drawn = {2: 40, 3: 41}.get(looks, 0)
                with open("screen.ppm", "wb") as file:
                    file.write(b"P6\\n100 60\\n255\\n" + b"\\xff" * 3 * drawn + bytes(3 * (6000 - drawn)))
                if looks == 5:
                    event("SHUTDOWN", guest=True, reason="guest-shutdown")
            inner(command)
    """,
        replace(QUICK, total=60.0),
    )

    assert seen.picture is not None
    assert (seen.picture.points.count(b"\xff"), seen.evidence.dark) == (3 * 41, True)
    assert seen.evidence.screen is not None
    assert seen.evidence.screen.ink == round(41 / 6000, 5)


def test_the_words_on_a_text_screen_count(played: Callable[..., Seen]) -> None:
    seen = played("""
        def answer(command, inner=answer):
            if command["execute"] == "screendump":
                with open("screen.ppm", "wb") as file:
                    file.write(b"P6\\n720 400\\n255\\n" + bytes(720 * 400 * 3 - 900) + b"\\xff" * 900)
            if command["execute"] == "pmemsave":
                with open("text", "wb") as file:
                    memory = bytearray(b" \\x07" * (1 << 14))
                    memory[160 * 180 : 160 * 180 + 26 : 2] = b"guest login: "  # far below what is shown at first
                    file.write(memory[: command["arguments"]["size"]])
            inner(command)
    """)

    assert (seen.finding.verdict, seen.finding.why) == (Verdict.LOGIN, "guest login:")
    assert seen.picture is not None
    assert seen.picture.width == 720


def test_what_the_caller_raises_ends_the_machine(played: Callable[..., Seen]) -> None:
    def tick(_seconds: float) -> None:
        raise KeyboardInterrupt("stopped")

    with pytest.raises(KeyboardInterrupt, match="stopped"):
        played("", tick=tick)

    assert psutil.Process().children() == []


def test_it_works_in_a_thread_of_its_own(played: Callable[..., Seen]) -> None:
    found: list[Seen] = []
    thread = threading.Thread(target=lambda: found.append(played("sys.exit('no')")))
    thread.start()
    thread.join()

    assert "status 1: no" in trouble(found[0])


def test_a_program_that_cannot_be_started_says_nothing_of_the_image(tmp_path: Path) -> None:
    launch = Launch(lambda _wires: ("/no/such/qemu",), {}, tmp_path, "tcg", ())

    assert trouble(watch(launch, QUICK)) == "QEMU cannot be started: No such file or directory"


def test_the_caller_is_heard_while_qemu_is_silent(played: Callable[..., Seen]) -> None:
    def tick(_seconds: float) -> None:
        raise KeyboardInterrupt("stopped")

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt, match="stopped"):
        played("def greet(): time.sleep(60)", tick=tick)

    assert time.monotonic() - begun < QUICK.step / 2


def test_an_event_is_of_the_time_that_qemu_gives(played: Callable[..., Seen]) -> None:
    seen = played("""
        def answer(command, inner=answer):
            if command["execute"] == "query-status":
                now = time.time()
                for at in (now - 1.0, now - 0.9, now):
                    stamp = {"seconds": int(at), "microseconds": int(at % 1 * 1e6)}
                    send({"event": "RESET", "data": {}, "timestamp": stamp})
            inner(command)
    """)

    first, second, third = (event.at for event in seen.evidence.events[-3:])
    assert (round(second - first, 1), round(third - second, 1)) == (0.1, 0.9)


def test_slow_answers_do_not_add_up_to_more_than_the_whole_and_some(played: Callable[..., Seen]) -> None:
    seen = played(
        """
        def answer(command, inner=answer):
            time.sleep(2.5)
            if command["execute"] == "screendump":
                with open("screen.ppm", "wb") as file:
                    file.write(b"P6\\n720 400\\n255\\n" + bytes(720 * 400 * 3))
            inner(command)
    """,
        replace(QUICK, total=1.0),
    )

    assert trouble(seen) == "QEMU stopped answering"
    assert seen.evidence.seconds < 10.5


def _name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return ""


def test_nothing_is_left_when_the_parent_is_killed(tmp_path: Path) -> None:
    code = f"""
import os, sys
from pathlib import Path
from imagesync.boot.session import Launch, Patience, watch
from imagesync.images.confine import Limits, confine
prefix = confine(Limits(1 << 33, 60, 1 << 20, niceness=5), Path("/etc/hostname"), Path({str(tmp_path)!r})).prefix
watch(Launch(lambda w: (*prefix, "sleep", "600"), os.environ, Path({str(tmp_path)!r}), "tcg", ()), Patience(step=60))
"""
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        children: list[psutil.Process] = []
        while not any(_name(child) == "sleep" for child in children):
            children = psutil.Process(parent.pid).children(recursive=True)
            assert parent.poll() is None
        parent.send_signal(signal.SIGKILL)

    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
