"""Sending one message to one receiver. Each either returns, or raises ``DeliveryError``.

The receiver's ``timeout`` is for all of it, however slowly a server talks: a watchdog ends the connection.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

import requests

from imagesync import __version__
from imagesync.config.notifications import Email, Receiver, Webhook
from imagesync.daemon.notify.boundary import bounded
from imagesync.daemon.notify.commands import Hook, run
from imagesync.errors import ConfigError, DeliveryError
from imagesync.http.address import Address
from imagesync.http.connect import open_session
from imagesync.http.watchdog import Watchdog
from imagesync.plan.render import printable, short

SIGNATURE = "X-Imagesync-Signature"
"""``sha256=`` and the HMAC-SHA256 of the body in hexadecimal digits, as GitHub and others do."""

_LONGEST_SUBJECT = 120
_LONGEST_FACT = 8000
"""Characters of a variable: the system takes no more than 128 KiB in one."""

_TAIL = 500
_VMCATCHER = {"published": "AvailablePostfix", "withdrawn": "ExpirePostfix"}

Message = Mapping[str, Any]
"""``instance``, ``run``, and ``events``: what a pass has to tell, as JSON values."""


def send(receiver: Receiver, message: Message, hook: Hook) -> None:
    """Send ``message``. Takes no longer than the receiver's ``timeout``, and for commands the ``hook``, allows.

    Raises:
        DeliveryError: it did not arrive, as far as can be told.
    """
    try:
        with bounded(receiver.name):
            _send(receiver, message, hook)
    except ConfigError as error:
        raise DeliveryError(receiver.name, str(error), "correct the configuration") from error


def _send(receiver: Receiver, message: Message, hook: Hook) -> None:
    if receiver.webhook:
        _post(receiver.webhook, message, receiver.seconds)
    elif receiver.email:
        _mail(receiver.email, message, receiver.seconds)
    elif receiver.command:
        run(receiver, receiver.command, hook, json.dumps(message).encode())
    elif receiver.vmcatcher:
        for event in message["events"]:
            _run_vmcatcher(receiver, event, hook)


@contextmanager
def _watched(seconds: float) -> Iterator[Watchdog]:
    with Watchdog() as watchdog:
        watchdog.set(time.monotonic() + seconds, f"not done after {seconds:g} s")
        yield watchdog


# --- webhook ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Gate:
    """Lets every connection through, because the operator named it, but not for ever."""

    watchdog: Watchdog

    def address(self, host: str, address: Address) -> None:  # noqa: ARG002 - the gate's signature
        if self.watchdog.expired:
            raise TimeoutError(self.watchdog.expired)

    def connected(self, connection: socket.socket) -> None:
        self.watchdog.guard(connection)


def _post(webhook: Webhook, message: Message, seconds: float) -> None:
    url = webhook.address()
    body = json.dumps(message, ensure_ascii=False).encode("utf-8", "replace")
    headers = {"Content-Type": "application/json", "User-Agent": f"imagesync/{__version__}"}
    if webhook.secret:
        digest = hmac.new(webhook.secret.value().encode(), body, hashlib.sha256).hexdigest()
        headers[SIGNATURE] = f"sha256={digest}"
    with _watched(seconds) as watchdog, open_session(_Gate(watchdog), _Gate(watchdog), None) as session:
        try:
            # The body of the answer is of no interest: it is not read.
            with session.post(
                url, data=body, headers=headers, timeout=seconds, allow_redirects=False, stream=True
            ) as answer:
                status = answer.status_code
        except (requests.RequestException, OSError, ValueError) as error:
            why = watchdog.expired or type(error).__name__
            raise DeliveryError(_host(url), f"cannot be reached: {why}") from error
    if watchdog.expired:  # in the middle of the headers, which look complete then
        raise DeliveryError(_host(url), f"has not answered: {watchdog.expired}")
    if not 200 <= status < 300:
        raise DeliveryError(_host(url), f"answers with status {status}")


def _host(url: str) -> str:
    """Return what may be shown of a webhook's URL: its path is a secret for many services."""
    return urlsplit(url).netloc.rpartition("@")[2]


# --- e-mail -----------------------------------------------------------------------------------------------------------
class _MailServer(smtplib.SMTP):
    """A connection to a mail server that is watched from its beginning."""

    def __init__(self, watchdog: Watchdog, email: Email, seconds: float) -> None:
        self._watchdog = watchdog
        super().__init__(email.host, email.port, timeout=seconds)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = socket.create_connection((host, port), timeout)
        self._watchdog.guard(connection)
        return connection


def _mail(email: Email, message: Message, seconds: float) -> None:
    with _watched(seconds) as watchdog:
        try:
            server = _MailServer(watchdog, email, seconds)
            try:
                if email.starttls:
                    server.starttls(context=ssl.create_default_context())
                if email.user and email.password:
                    server.login(email.user, email.password.value())
                server.send_message(as_mail(email.sender, email.to, message))
                with suppress(OSError, smtplib.SMTPException):  # it has the mail, however it says good-bye
                    server.quit()
            finally:
                server.close()
        except (OSError, smtplib.SMTPException, ValueError) as error:
            why = watchdog.expired or printable(str(error))[:_TAIL]
            raise DeliveryError(email.host, f"mail not taken: {why}") from error


def as_mail(sender: str, to: Sequence[str], message: Message) -> EmailMessage:
    """Return a message for people: the worst in the subject, and a line per event."""
    events = message["events"]
    mail = EmailMessage()
    more = f" (and {len(events) - 1} more)" if len(events) > 1 else ""
    mail["Subject"] = f"[{message['instance']}] {printable(events[0]['text'])[:_LONGEST_SUBJECT]}{more}"
    mail["From"], mail["To"] = sender, ", ".join(to)
    mail["Auto-Submitted"] = "auto-generated"
    lines = [f"{event['at']}  {event['kind']:<9}  {printable(event['text'])}" for event in events]
    mail.set_content("\n".join([*lines, "", f"run {message['run']}, imagesync {__version__}", ""]))
    return mail


# --- commands ---------------------------------------------------------------------------------------------------------
def _run_vmcatcher(receiver: Receiver, event: Mapping[str, Any], hook: Hook) -> None:
    kind = _VMCATCHER.get(event["kind"])
    if kind is None or not receiver.vmcatcher:
        return
    facts = {f"VMCATCHER_EVENT_{name}": short(value, _LONGEST_FACT) for name, value in event["details"].items()}
    told = {**hook.environment, **facts, "VMCATCHER_EVENT_TYPE": kind, "IMAGESYNC_EVENT_ID": event["id"]}
    run(receiver, receiver.vmcatcher, replace(hook, environment=told), b"")
