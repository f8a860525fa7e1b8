"""Sending one message to one receiver. Each either returns, or raises ``DeliveryError``."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import selectors
import signal
import smtplib
import ssl
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from email.message import EmailMessage
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import urlsplit

import requests

from imagesync import __version__
from imagesync.config.notifications import Email, Receiver, Webhook
from imagesync.daemon.stop import Stop
from imagesync.errors import ConfigError, DeliveryError
from imagesync.plan.render import printable, short

SIGNATURE = "X-Imagesync-Signature"
"""``sha256=`` and the HMAC-SHA256 of the body in hexadecimal digits, as GitHub and others do."""

_LONGEST_SUBJECT = 120
_LONGEST_FACT = 8000
"""Characters of a variable: the system takes no more than 128 KiB in one."""

_TAIL = 500
_KEPT = 1 << 16
_TICK = 0.5
_VMCATCHER = {"published": "AvailablePostfix", "withdrawn": "ExpirePostfix"}

Message = Mapping[str, Any]
"""``instance``, ``run``, and ``events``: what a pass has to tell, as JSON values."""


@dataclass(frozen=True, slots=True)
class Hook:
    """How commands are run: their environment, and the stop that none of them outlives."""

    environment: Mapping[str, str]
    stop: Stop


def send(receiver: Receiver, message: Message, hook: Hook) -> None:
    """Send ``message``. Takes no longer than the receiver's ``timeout``, and for commands the ``hook``, allows.

    Raises:
        DeliveryError: it did not arrive, as far as can be told.
    """
    try:
        if receiver.webhook:
            _post(receiver.webhook, message, receiver.seconds)
        elif receiver.email:
            _mail(receiver.email, message, receiver.seconds)
        elif receiver.command:
            _run(receiver, receiver.command, hook, json.dumps(message).encode())
        elif receiver.vmcatcher:
            for event in message["events"]:
                _run_vmcatcher(receiver, event, hook)
    except ConfigError as error:
        raise DeliveryError(receiver.name, str(error), "correct the configuration") from error


# --- webhook ----------------------------------------------------------------------------------------------------------
def _post(webhook: Webhook, message: Message, seconds: float) -> None:
    body = json.dumps(message, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json", "User-Agent": f"imagesync/{__version__}"}
    if webhook.secret:
        digest = hmac.new(webhook.secret.value().encode(), body, hashlib.sha256).hexdigest()
        headers[SIGNATURE] = f"sha256={digest}"
    with requests.Session() as session:
        session.trust_env = False
        try:
            # The body of the answer is of no interest: it is not read.
            with session.post(
                webhook.url, data=body, headers=headers, timeout=seconds, allow_redirects=False, stream=True
            ) as answer:
                status = answer.status_code
        except (requests.RequestException, ValueError) as error:
            raise DeliveryError(_host(webhook.url), f"cannot be reached: {type(error).__name__}") from error
    if not 200 <= status < 300:
        raise DeliveryError(_host(webhook.url), f"answers with status {status}")


def _host(url: str) -> str:
    """Return what may be shown of a webhook's URL: its path is a secret for many services."""
    return urlsplit(url).netloc.rpartition("@")[2]


# --- e-mail -----------------------------------------------------------------------------------------------------------
def _mail(email: Email, message: Message, seconds: float) -> None:
    try:
        with smtplib.SMTP(email.host, email.port, timeout=seconds) as server:
            if email.starttls:
                server.starttls(context=ssl.create_default_context())
            if email.user and email.password:
                server.login(email.user, email.password.value())
            server.send_message(as_mail(email.sender, email.to, message))
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise DeliveryError(email.host, f"mail not taken: {printable(str(error))[:_TAIL]}") from error


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
def _run(receiver: Receiver, command: Sequence[str], hook: Hook, given: bytes) -> None:
    """Run a command to its end. What it leaves in the background ends with it, unless in a session of its own."""
    with TemporaryFile() as stdin:
        stdin.write(given)
        stdin.seek(0)
        try:
            child = subprocess.Popen(
                command,
                env=dict(hook.environment),
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise DeliveryError(receiver.name, f"cannot be run: {error.strerror}", "check the command") from error
    try:
        said, late = _heard(child, receiver.seconds, hook.stop)
    finally:
        _end(child)
    if late is not None:
        raise DeliveryError(receiver.name, f"was not done after {late:g} s, and was killed", "make it faster")
    if child.returncode:
        tail = printable(" ".join(said.decode(errors="replace").split()))[-_TAIL:]
        raise DeliveryError(receiver.name, f"ended with status {child.returncode}: {tail or 'without a word'}")


def _heard(child: subprocess.Popen[bytes], seconds: float, stop: Stop) -> tuple[bytes, float | None]:
    """Return the last words of a command when it has ended, or after how many seconds it has to be killed.

    It is not reaped yet. Whoever else holds its standard error is not waited for.
    """
    said, began = b"", time.monotonic()
    with selectors.DefaultSelector() as selector:
        ended, pipe = os.pidfd_open(child.pid), child.stderr.fileno() if child.stderr else -1
        try:
            os.set_blocking(pipe, False)
            selector.register(ended, selectors.EVENT_READ)
            selector.register(pipe, selectors.EVENT_READ)
            while (spent := time.monotonic() - began) < seconds and stop.patience():
                ready = {key.fd for key, _ in selector.select(min(_TICK, seconds - spent))}
                more = _read(pipe) if pipe in ready else b""
                said = (said + more)[-_KEPT:]
                if ended in ready:
                    return said, None
                if pipe in ready and not more:
                    selector.unregister(pipe)
        finally:
            os.close(ended)
    return said, round(min(spent, seconds), 1)


def _read(pipe: int) -> bytes:
    with suppress(BlockingIOError):
        return os.read(pipe, _KEPT)
    return b""


def _end(child: subprocess.Popen[bytes]) -> None:
    # While the leader is not reaped its number cannot be anybody else's.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stderr:
        child.stderr.close()


def _run_vmcatcher(receiver: Receiver, event: Mapping[str, Any], hook: Hook) -> None:
    kind = _VMCATCHER.get(event["kind"])
    if kind is None or not receiver.vmcatcher:
        return
    facts = {f"VMCATCHER_EVENT_{name}": short(value, _LONGEST_FACT) for name, value in event["details"].items()}
    told = {**hook.environment, **facts, "VMCATCHER_EVENT_TYPE": kind}
    _run(receiver, receiver.vmcatcher, replace(hook, environment=told), b"")
