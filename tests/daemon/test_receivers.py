"""Messages reach real servers and programs, or the error says why not."""

import hashlib
import hmac
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest
from aiosmtpd.controller import Controller

from imagesync.config.notifications import Receiver
from imagesync.daemon.notify.receivers import SIGNATURE, Hook, send
from imagesync.daemon.stop import Budget, Stop
from imagesync.errors import DeliveryError

EVENT = {
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
    context = {"environment": {"SECRET": "s3cret"}, "directory": None}
    return Receiver.model_validate({"name": "ops", **how}, context=context)


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


def test_a_handler_of_vmcatcher_is_called_whatever_a_stranger_writes():
    event = {**EVENT, "kind": "published", "details": {"DC_DESCRIPTION": "long " * 100_000}}
    send(receiver(vmcatcher=["true"]), {**MESSAGE, "events": [event]}, hook_of(PATH="/usr/bin:/bin"))


def test_a_command_that_is_missing_is_said():
    with pytest.raises(DeliveryError, match="cannot be run"):
        send(receiver(command=["/nonexistent"]), MESSAGE, hook_of())


def test_a_handler_of_vmcatcher_gets_its_environment(tmp_path):
    event = {**EVENT, "kind": "published", "details": {"DC_TITLE": "One\x1b", "AD_MPURI": "https://x/1"}}
    command = ["sh", "-c", f"env | grep ^VMCATCHER_EVENT_ | sort > {tmp_path / 'got'}"]
    send(receiver(vmcatcher=command), {**MESSAGE, "events": [EVENT, event]}, hook_of(PATH="/usr/bin:/bin"))

    assert (tmp_path / "got").read_text().splitlines() == [
        "VMCATCHER_EVENT_AD_MPURI=https://x/1",
        "VMCATCHER_EVENT_DC_TITLE=One\N{REPLACEMENT CHARACTER}",
        "VMCATCHER_EVENT_TYPE=AvailablePostfix",
    ]
