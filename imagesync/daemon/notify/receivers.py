"""Sending one message to one receiver. Each either returns, or raises ``DeliveryError``."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import smtplib
import ssl
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

import requests

from imagesync import __version__
from imagesync.config.notifications import Email, Receiver, Webhook
from imagesync.daemon.stop import Stop
from imagesync.errors import ConfigError, DeliveryError
from imagesync.plan.render import printable

SIGNATURE = "X-Imagesync-Signature"
"""``sha256=`` and the HMAC-SHA256 of the body in hexadecimal digits, as GitHub and others do."""

_LONGEST_SUBJECT = 120
_TAIL = 500
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
    name = receiver.name
    try:
        child = subprocess.Popen(
            command,
            env=dict(hook.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise DeliveryError(name, f"cannot be run: {error.strerror}", "check the command") from error
    try:
        said = _finished(child, given, receiver.seconds, hook.stop)
    except subprocess.TimeoutExpired as late:
        raise DeliveryError(name, f"was not done after {late.timeout:g} s, and was killed", "make it faster") from None
    finally:
        _end(child)
    if child.returncode:
        tail = printable(" ".join(said.decode(errors="replace").split()))[-_TAIL:]
        raise DeliveryError(name, f"ended with status {child.returncode}: {tail or 'without a word'}")


def _finished(child: subprocess.Popen[bytes], given: bytes | None, seconds: float, stop: Stop) -> bytes:
    """Return what a command said when it has ended.

    Raises:
        subprocess.TimeoutExpired: it did not within ``seconds``, or not before the daemon's end.
    """
    began = time.monotonic()
    while (spent := time.monotonic() - began) < seconds and stop.patience():
        try:
            return child.communicate(given, timeout=min(_TICK, seconds - spent))[1]
        except subprocess.TimeoutExpired:
            given = None  # has begun to be written: communicate goes on with it
    raise subprocess.TimeoutExpired(child.args, round(min(spent, seconds), 1))


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    for pipe in (child.stdin, child.stderr):
        if pipe:
            pipe.close()


def _run_vmcatcher(receiver: Receiver, event: Mapping[str, Any], hook: Hook) -> None:
    kind = _VMCATCHER.get(event["kind"])
    if kind is None or not receiver.vmcatcher:
        return
    facts = {f"VMCATCHER_EVENT_{name}": printable(value) for name, value in event["details"].items()}
    told = {**hook.environment, **facts, "VMCATCHER_EVENT_TYPE": kind}
    _run(receiver, receiver.vmcatcher, replace(hook, environment=told), b"")
