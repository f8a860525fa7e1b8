"""A signal ends what the main thread waits for, whenever and to whichever thread it comes."""

import subprocess
import sys
from textwrap import dedent

import pytest

HANG = 150


def waiting(kill, step="pass"):
    """Run a process whose main thread waits for a lock, and whose other thread sends the signal."""
    text = f"""
        import os, signal, threading, time
        from imagesync.cli.stopping import stopping

        lock, asked = threading.Lock(), []
        lock.acquire()

        def other():
            time.sleep(0.3)
            {kill}

        with stopping(lambda: asked.append(1)):
            threading.Thread(target=other, daemon=True).start()
            try:
                lock.acquire()
            except KeyboardInterrupt:
                print("woken", bool(asked))
                {step}
        print("ended")
    """
    command = [sys.executable, "-c", dedent(text)]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_to_another_thread_wakes_the_main_thread(number):
    # The kernel may choose any thread; then nothing ends the wait of the main thread.
    process = waiting(f"signal.pthread_kill(threading.get_ident(), signal.{number})")

    assert (process.returncode, process.stdout) == (0, "woken True\nended\n"), process.stderr


def test_a_second_signal_does_not_interrupt_the_cleaning_up():
    process = waiting("[os.kill(os.getpid(), signal.SIGINT) or time.sleep(0.1) for _ in range(3)]", "time.sleep(1)")

    assert (process.returncode, process.stdout) == (0, "woken True\nended\n"), process.stderr


def test_what_does_not_end_in_the_grace_is_left_to_the_next_run():
    process = waiting("os.kill(os.getpid(), signal.SIGTERM)", "lock.acquire()")

    assert process.returncode == 130
    assert process.stderr == "interrupted; the next run cleans up\n"


def test_receivers_are_as_before():
    text = """
        import signal
        from imagesync.cli.stopping import stopping

        before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        with stopping(print):
            assert signal.getsignal(signal.SIGTERM) != before[0]
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
        assert signal.set_wakeup_fd(-1) == -1
    """
    subprocess.run([sys.executable, "-c", dedent(text)], timeout=HANG, check=True)
