"""Makes a pass cost a tenth: forks it from a process that has imported everything, instead of starting Python anew.

What a daemon starts as ``PYTHON -m imagesync ... pass`` is this file, run as a program: it hands its arguments and
descriptors to the nursery, and ends as the pass does that is forked there. One of twenty is started as always.
``python quick.py SOCKET`` is the nursery.
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys

ALWAYS = 20
_STANDARD = (0, 1, 2)


def main(address: str, real: str, arguments: list[str]) -> None:
    """Have ``arguments`` run, or become the real interpreter."""
    if os.getpid() % ALWAYS == 0:
        os.execv(real, [real, *arguments])
    kept = [int(arguments[arguments.index(name) + 1]) for name in ("--events", "--files")]
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
        link.connect(address)
        words = json.dumps({"arguments": arguments[2:], "kept": kept, "environment": dict(os.environ)})
        socket.send_fds(link, [words.encode()], [*_STANDARD, *kept])
        for descriptor in kept:
            os.close(descriptor)
        _watch_for_end(link)


def _watch_for_end(link: socket.socket) -> None:
    """End as the pass does, and pass on that it is asked to."""
    signal.signal(signal.SIGTERM, lambda *_: link.send(b"term"))
    code = int(link.recv(64) or b"1")
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


# --- the nursery -----------------------------------------------------------------------------------------------------
def nursery(address: str) -> None:
    """Import what passes need, and fork one for each caller, until killed."""
    import gc
    from importlib import import_module

    for name in ("run.report", "run.wiring", "run.sync", "cli.supervised", "cli.passes", "cli.display", "cli.events"):
        import_module(f"imagesync.{name}")
    import_module("imagesync_directory.backend")
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(address)
        listening.listen()
        while True:
            link, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _attend(link)
            link.close()


def _attend(link: socket.socket) -> None:
    """Fork a pass, say how it ended, and kill it if nobody waits for it any more. Does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    words, descriptors, _, _ = socket.recv_fds(link, 1 << 18, 8)
    asked = json.loads(words)
    child = os.fork()
    if child == 0:
        link.close()
        _become(asked, descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    ending = os.pidfd_open(child)
    while True:
        ready, _, _ = select.select([link, ending], [], [])
        if ending in ready:
            break
        _pass_on(child, signal.SIGTERM if link.recv(64) else signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        link.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _pass_on(child: int, number: int) -> None:
    try:
        os.killpg(child, number)
    except ProcessLookupError:  # it has no group of its own yet
        os.kill(child, number)


def _become(asked: dict[str, object], descriptors: list[int]) -> None:
    """Be the pass. Does not return."""
    from imagesync.cli.main import run

    os.setsid()
    high = [os.dup2(one, 200 + number) for number, one in enumerate(descriptors)]
    for one in descriptors:
        os.close(one)
    for one, wanted in zip(high, [*_STANDARD, *asked["kept"]], strict=True):
        os.dup2(one, wanted)
        os.close(one)
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["imagesync", *asked["arguments"]]
    code = 1
    try:
        run()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1 if error.code else 0
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        nursery(sys.argv[1])
    else:
        main(os.environ["SOAK_NURSERY"], os.environ["SOAK_PYTHON"], sys.argv[1:])
