"""Messages reach real servers and programs, or the error says why not."""

import errno
import hashlib
import hmac
import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest
from aiosmtpd.controller import Controller

from imagesync.config.notifications import Receiver
from imagesync.daemon.notify.commands import Hook
from imagesync.daemon.notify.receivers import SIGNATURE, send
from imagesync.daemon.stop import Budget, Stop
from imagesync.errors import DefectError, DeliveryError

EVENT = {
    "id": "0123456789abcdef01234567",
    "kind": "failure",
    "at": "2026-03-01T12:00:00Z",
    "text": "list vo refused: bad \x1b[31msignature\nBcc: all@x",
    "subscription": "vo",
    "target": "",
    "key": "",
    "title": "",
    "details": {},
}
MESSAGE = {"instance": "imagesync", "run": "r1", "events": [EVENT]}


def hook_of(stop=None, **environment):
    return Hook(environment, stop or Stop())


def receiver(**how):
    environment = how.pop("environment", {"SECRET": "s3cret"})
    return Receiver.model_validate({"name": "ops", **how}, context={"environment": environment, "directory": None})


# --- webhook ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def hook():
    """Return a server that keeps what it got; its status and pause can be set."""

    class Exchange(BaseHTTPRequestHandler):
        def do_POST(self):
            size = int(self.headers["Content-Length"])
            server.got.append((self.path, dict(self.headers), self.rfile.read(size)))
            server.pause.wait(server.delay)
            self.send_response(server.status)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Exchange)
    server.got, server.status, server.delay, server.pause = [], 200, 0, threading.Event()
    server.url = f"http://127.0.0.1:{server.server_address[1]}/secret-path"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.pause.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_gets_json_that_is_signed(hook):
    send(receiver(webhook={"url": hook.url, "secret": {"env": "SECRET"}}), MESSAGE, hook_of())

    path, headers, body = hook.got[0]
    assert (path, json.loads(body)) == ("/secret-path", MESSAGE)
    assert headers[SIGNATURE] == "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()


def test_without_a_secret_nothing_is_signed(hook):
    send(receiver(webhook={"url": hook.url}), MESSAGE, hook_of())

    assert SIGNATURE not in hook.got[0][1]


@pytest.mark.parametrize("status", [301, 404, 500])
def test_any_status_but_2xx_is_no_delivery_and_redirects_are_not_followed(hook, status):
    hook.status = status
    with pytest.raises(DeliveryError, match=f"status {status}") as caught:
        send(receiver(webhook={"url": hook.url}), MESSAGE, hook_of())

    assert "secret-path" not in str(caught.value)
    assert len(hook.got) == 1


def test_a_slow_webhook_is_left(hook):
    hook.delay = 30
    began = time.monotonic()
    with pytest.raises(DeliveryError, match="cannot be reached"):
        send(receiver(webhook={"url": hook.url}, timeout="0.3s"), MESSAGE, hook_of())

    assert time.monotonic() - began < 10


def test_nobody_at_the_port_is_no_delivery():
    with pytest.raises(DeliveryError, match=r"127\.0\.0\.1:1: cannot be reached"):
        send(receiver(webhook={"url": "http://127.0.0.1:1/x"}), MESSAGE, hook_of())


def test_a_secret_that_cannot_be_read_is_said(hook):
    with pytest.raises(DeliveryError, match="NONE"):
        send(receiver(webhook={"url": hook.url, "secret": {"env": "NONE"}}), MESSAGE, hook_of())


def test_an_address_may_be_a_secret_itself(hook):
    send(receiver(webhook={"url_from": {"env": "CHAT"}}, environment={"CHAT": hook.url}), MESSAGE, hook_of())

    assert [path for path, _, _ in hook.got] == ["/secret-path"]


@pytest.mark.parametrize(
    "url", ["secret-path", "ftp://chat.example/secret-path", "https://[secret-path", "https://a@b/"]
)
def test_a_secret_that_is_no_address_is_said_and_not_shown(url):
    with pytest.raises(DeliveryError, match="env CHAT: is no URL to post to") as caught:
        send(receiver(webhook={"url_from": {"env": "CHAT"}}, environment={"CHAT": url}), MESSAGE, hook_of())

    assert url not in str(caught.value)


@pytest.mark.parametrize("webhook", [{}, {"url": "https://chat.example/", "url_from": {"env": "SECRET"}}])
def test_a_webhook_has_exactly_one_address(webhook):
    with pytest.raises(ValueError, match="needs exactly one of url, url_from"):
        receiver(webhook=webhook)


def test_an_address_that_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match="is no URL to post to: write"):
        receiver(webhook={"url": "https://[chat.example/"})


@contextmanager
def dripping(*words):
    """Return the port of a server that says the first of ``words`` at once, and then the second again and again."""
    ended = threading.Event()

    def talk(server):
        with suppress(OSError):
            connection, _ = server.accept()
            with connection:
                connection.sendall(words[0])
                while not ended.wait(0.05):
                    connection.sendall(words[1])

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=talk, args=(server,))
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            thread.join()


@pytest.mark.parametrize(
    "words", [(b"HTTP/1.1 200 OK\r\nX: ", b"a"), (b"", b"HTTP/1.1 100 Continue\r\n\r\n")], ids=["header", "continue"]
)
def test_a_webhook_that_never_comes_to_an_end_is_left(words):
    began = time.monotonic()
    with dripping(*words) as port, pytest.raises(DeliveryError, match=r"not done after 0\.4 s"):
        send(receiver(webhook={"url": f"http://127.0.0.1:{port}/"}, timeout="0.4s"), MESSAGE, hook_of())

    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "words", [(b"220-hi\r\n", b"220-hi\r\n"), (b"220 hi\r\n", b"250-x\r\n")], ids=["banner", "answer"]
)
def test_a_mail_server_that_never_comes_to_an_end_is_left(words):
    began = time.monotonic()
    with dripping(*words) as port, pytest.raises(DeliveryError, match=r"mail not taken: not done after 0\.4 s"):
        email = {"to": ["ops@example.org"], "sender": "imagesync@example.org", "host": "127.0.0.1", "port": port}
        send(receiver(email=email, timeout="0.4s"), MESSAGE, hook_of())

    assert time.monotonic() - began < 10


def test_text_that_no_encoding_has_is_sent_all_the_same(hook, tmp_path):
    message = {
        **MESSAGE,
        "events": [{**EVENT, "kind": "published", "text": "a\ud800b", "details": {"X": "a\ud800\0b"}}],
    }
    send(receiver(webhook={"url": hook.url}), message, hook_of())
    send(receiver(command=["true"]), message, hook_of(PATH="/usr/bin:/bin"))
    send(receiver(vmcatcher=["true"]), message, hook_of(PATH="/usr/bin:/bin"))

    assert json.loads(hook.got[0][2])["events"][0]["text"] == "a?b"


class _OnAnyPort(Controller):
    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


# --- e-mail -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def mailbox():
    """Return a mail server that keeps what it got."""

    class Box:
        def __init__(self):
            self.mails = []

        async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd's name and signature
            self.mails.append((envelope.rcpt_tos, envelope.content.decode()))
            return "250 OK"

    box = Box()
    controller = _OnAnyPort(box, hostname="127.0.0.1", port=0)
    controller.start()
    box.port = controller.port
    yield box
    controller.stop()


def test_people_get_a_mail_with_a_line_per_event_and_nothing_of_a_list_becomes_a_header(mailbox):
    email = {"to": ["ops@example.org"], "sender": "imagesync@example.org", "host": "127.0.0.1", "port": mailbox.port}
    send(receiver(email=email), MESSAGE, hook_of())

    ((to, text),) = mailbox.mails
    head, _, body = text.replace("\r\n", "\n").partition("\n\n")
    assert to == ["ops@example.org"]
    assert "Subject: [imagesync] list vo refused" in head or "Subject: =?utf-8?" in head
    assert "\nBcc:" not in text
    assert "\x1b" not in text
    assert "Auto-Submitted: auto-generated" in head
    assert body


def test_a_mail_server_that_is_down_is_no_delivery():
    email = {"to": ["ops@example.org"], "sender": "imagesync@example.org", "host": "127.0.0.1", "port": 1}
    with pytest.raises(DeliveryError, match="mail not taken"):
        send(receiver(email=email), MESSAGE, hook_of())


def _ends(pid):
    """Return whether a process that was killed is gone soon."""
    due = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < due
        time.sleep(0.01)
    return True


# --- commands ---------------------------------------------------------------------------------------------------------
def test_a_command_gets_the_message_on_standard_input(tmp_path):
    script = f"import sys; open({str(tmp_path / 'got')!r}, 'w').write(sys.stdin.read())"
    send(receiver(command=[sys.executable, "-c", script]), MESSAGE, hook_of())

    assert json.loads((tmp_path / "got").read_text()) == MESSAGE


def test_a_command_that_does_not_read_is_as_good():
    send(receiver(command=["true"]), {**MESSAGE, "events": [EVENT] * 5000}, hook_of(PATH="/usr/bin:/bin"))


def test_a_command_that_fails_says_its_last_words():
    with pytest.raises(DeliveryError, match=r"ended with status 3: no such \S+ channel"):
        send(
            receiver(command=["sh", "-c", "printf 'no such \\033 channel' >&2; exit 3"]), MESSAGE, hook_of(PATH="/bin")
        )


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path):
    script = f"sleep 60 & echo $! > {tmp_path / 'pid'}; wait"
    with pytest.raises(DeliveryError, match=r"was not done after 0\.5 s"):
        send(receiver(command=["sh", "-c", script], timeout="0.5s"), MESSAGE, hook_of(PATH="/bin"))

    assert _ends(int((tmp_path / "pid").read_text()))


def test_what_a_command_leaves_in_the_background_ends_with_it_and_is_no_failure(tmp_path):
    script = f"sleep 60 & echo $! > {tmp_path / 'pid'}"
    began = time.monotonic()
    send(receiver(command=["sh", "-c", script]), MESSAGE, hook_of(PATH="/bin"))

    assert time.monotonic() - began < 20
    assert _ends(int((tmp_path / "pid").read_text()))


def test_a_command_that_says_very_much_is_heard_at_its_end():
    script = "head -c 30000000 /dev/zero >&2; echo the end >&2; exit 3"
    with pytest.raises(DeliveryError, match="ended with status 3: .*the end") as caught:
        send(receiver(command=["sh", "-c", script]), MESSAGE, hook_of(PATH="/usr/bin:/bin"))

    assert len(str(caught.value)) < 1000


def test_a_command_ends_with_the_daemon():
    stop = Stop(Budget(0.2, 1))
    stop.ask()
    with pytest.raises(DeliveryError, match="was killed"):
        send(receiver(command=["sleep", "60"]), MESSAGE, hook_of(stop, PATH="/usr/bin:/bin"))


def test_a_command_is_killed_when_the_daemon_is(tmp_path):
    pid = tmp_path / "pid"
    code = (
        "import sys; from imagesync.config.notifications import Receiver; from imagesync.daemon.stop import Stop\n"
        "from imagesync.daemon.notify.commands import Hook, run\n"
        f"command = ['sh', '-c', 'echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 60']\n"
        "run(Receiver(name='x', command=command), command, Hook({'PATH': '/usr/bin:/bin'}, Stop()), b'')\n"
    )
    daemon = subprocess.Popen([sys.executable, "-c", code])
    due = time.monotonic() + 30
    while not pid.exists():
        assert time.monotonic() < due
        time.sleep(0.01)
    daemon.kill()
    daemon.wait()

    assert _ends(int(pid.read_text()))


def test_a_handler_of_vmcatcher_is_called_whatever_a_stranger_writes():
    event = {**EVENT, "kind": "published", "details": {"DC_DESCRIPTION": "long " * 100_000}}
    send(receiver(vmcatcher=["true"]), {**MESSAGE, "events": [event]}, hook_of(PATH="/usr/bin:/bin"))


def test_a_command_that_is_missing_is_said():
    with pytest.raises(DeliveryError, match="cannot be run"):
        send(receiver(command=["/nonexistent"]), MESSAGE, hook_of())


@pytest.mark.parametrize("call", ["memfd_create", "pidfd_open"])
def test_a_command_that_no_descriptor_is_left_for_is_said(monkeypatch, call):
    def refuse(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(f"imagesync.daemon.notify.commands.os.{call}", refuse)
    with pytest.raises(DeliveryError, match="ops: cannot be run: .*Too many open files"):
        send(receiver(command=["sleep", "600"]), MESSAGE, hook_of(PATH="/usr/bin:/bin"))


def test_what_nobody_thought_of_is_no_delivery():
    with pytest.raises(DefectError, match="ops: unexpected TypeError: .*report it with the log") as caught:
        send(receiver(command=["true"]), {**MESSAGE, "run": object()}, hook_of())
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_handler_of_vmcatcher_gets_its_environment(tmp_path):
    event = {**EVENT, "kind": "published", "details": {"DC_TITLE": "One\x1b", "AD_MPURI": "https://x/1"}}
    command = ["sh", "-c", f"env | grep _EVENT_ | sort > {tmp_path / 'got'}"]
    send(receiver(vmcatcher=command), {**MESSAGE, "events": [EVENT, event]}, hook_of(PATH="/usr/bin:/bin"))

    assert (tmp_path / "got").read_text().splitlines() == [
        f"IMAGESYNC_EVENT_ID={event['id']}",
        "VMCATCHER_EVENT_AD_MPURI=https://x/1",
        "VMCATCHER_EVENT_DC_TITLE=One\N{REPLACEMENT CHARACTER}",
        "VMCATCHER_EVENT_TYPE=AvailablePostfix",
    ]
