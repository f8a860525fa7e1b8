"""What a service manager is told, through a real socket."""

import os
import socket

import pytest

from imagesync.daemon.systemd import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    name = str(tmp_path / "notify") if request.param == "path" else f"\0imagesync-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.bind(name)
        link.settimeout(5)
        yield link, name.replace("\0", "@")


def test_messages_arrive(manager):
    link, address = manager
    Notifier(address).tell("READY=1", "STATUS=fine")

    assert link.recv(100) == b"READY=1\nSTATUS=fine"


def test_a_status_is_one_line_of_bounded_length(manager):
    link, address = manager
    Notifier(address).status("a\nREADY=1\n" + "b" * 1000)

    text = link.recv(4096).decode()
    assert text.startswith("STATUS=a READY=1 bbb")
    assert len(text) == len("STATUS=") + 200


def test_nobody_listening_is_no_error(tmp_path):
    Notifier().tell("READY=1")
    Notifier(str(tmp_path / "nobody")).tell("READY=1")


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "30000000"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_the_watchdog_is_ours_or_not(environment, seconds):
    assert Notifier.of(environment, 7).watchdog == seconds
