"""Listening: where, when not, and beginning again."""

import http.client
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from imagesync.daemon.stop import Stop
from imagesync.daemon.web.server import CONNECTIONS
from imagesync.daemon.web.site import Web


def _free_port():
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


@pytest.fixture
def web(place):
    opened = Web(place.window())
    yield opened
    opened.end(Stop())


def _listening(place, listen, **more):
    place.options["daemon"] = {"listen": listen, **more}
    return place.site().config


def _ask(port, path="/healthz"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_it_answers_as_soon_as_it_is_arranged(place, web):
    port = _free_port()
    web.arrange(_listening(place, f"127.0.0.1:{port}"))

    assert (web.address, web.complaint) == (f"http://127.0.0.1:{port}", "")
    assert _ask(port) == 200


def test_it_moves_with_the_configuration(place, web):
    first, second = _free_port(), _free_port()
    web.arrange(_listening(place, f"127.0.0.1:{first}"))
    web.arrange(_listening(place, f"127.0.0.1:{second}"))

    assert _ask(second) == 200
    with pytest.raises(ConnectionRefusedError):
        _ask(first)


def test_it_can_be_off(place, web):
    web.arrange(_listening(place, False))

    assert (web.address, web.complaint) == ("", "")


def test_an_address_that_cannot_be_one_is_a_complaint(place, web):
    web.arrange(_listening(place, f"unix:{place.root}/a\0b"))

    assert "cannot listen on unix:" in web.complaint


def test_a_port_in_use_is_a_complaint_and_is_tried_again(place, web, monkeypatch):
    monkeypatch.setattr("imagesync.daemon.web.site.RETRY", 0.0)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        config = _listening(place, f"127.0.0.1:{other.getsockname()[1]}")
        web.arrange(config)
        assert "daemon.listen: cannot listen on 127.0.0.1:" in web.complaint
        assert "Address already in use" in web.complaint
    web.tend(config)

    assert web.complaint == ""
    assert _ask(int(web.address.rpartition(":")[2])) == 200


def test_a_page_that_ended_by_itself_is_opened_again(place, web, monkeypatch):
    monkeypatch.setattr("imagesync.daemon.web.site.RETRY", 0.0)
    config = _listening(place, f"127.0.0.1:{_free_port()}")
    web.arrange(config)
    web._server._server.should_exit = True
    web._server._thread.join(10)
    web.tend(config)

    assert _ask(int(web.address.rpartition(":")[2])) == 200


def test_a_secret_that_cannot_be_read_lets_nobody_in(place, web):
    web.arrange(_listening(place, f"127.0.0.1:{_free_port()}", auth={"file": str(place.root / "missing")}))

    assert "missing: cannot be read" in web.complaint
    assert web.address == ""


def test_a_unix_socket_is_for_owner_and_group_and_leaves_nothing(place, web):
    path = place.root / "page.socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))  # what a process that was killed leaves
    web.arrange(_listening(place, f"unix:{path}"))

    assert path.stat().st_mode & 0o777 == 0o660
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
        caller.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert caller.recv(100).startswith(b"HTTP/1.1 200")
    web.end(Stop())
    assert not path.exists()


def test_a_unix_socket_that_is_in_use_is_left_alone(place, web):
    path = place.root / "page.socket"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        web.arrange(_listening(place, f"unix:{path}"))

        assert "cannot listen" in web.complaint
        assert path.exists()


def test_silent_connections_keep_nobody_away_and_do_not_add_up(place, web):
    port = _free_port()
    web.arrange(_listening(place, f"127.0.0.1:{port}"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with ExitStack() as silent:
        for _ in range(CONNECTIONS + 50):
            silent.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        assert _ask(port) == 200
        assert _ask(port, "/metrics") == 200
        # Of both ends, of which this process has each: those of the page are bounded.
        assert len(list(Path("/proc/self/fd").iterdir())) - before <= 2 * CONNECTIONS + 60


def test_who_asks_for_nothing_is_let_go(place, web, monkeypatch):
    monkeypatch.setattr("imagesync.daemon.web.server.IDLE", 0.1)
    port = _free_port()
    web.arrange(_listening(place, f"127.0.0.1:{port}"))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as silent:
        silent.sendall(b"GET / HTTP/1.1\r\n")
        assert silent.recv(100) == b""


def test_who_asks_again_and_again_is_not_let_go(place, web, monkeypatch):
    monkeypatch.setattr("imagesync.daemon.web.server.IDLE", 0.05)
    port = _free_port()
    web.arrange(_listening(place, f"127.0.0.1:{port}"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.connect()
    used = connection.sock
    due = time.monotonic() + 0.5
    while time.monotonic() < due:
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"alive\n"
        assert connection.sock is used
    connection.close()
