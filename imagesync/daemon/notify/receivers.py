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
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

import requests

from imagesync import __version__
from imagesync.config.notifications import Email, Receiver, Webhook
from imagesync.errors import ConfigError, DeliveryError
from imagesync.plan.render import printable

SIGNATURE = "X-Imagesync-Signature"
"""``sha256=`` and the HMAC-SHA256 of the body in hexadecimal digits, as GitHub and others do."""

_LONGEST_SUBJECT = 120
_TAIL = 500
_VMCATCHER = {"published": "AvailablePostfix", "withdrawn": "ExpirePostfix"}

Message = Mapping[str, Any]
"""``instance``, ``run``, and ``events``: what a pass has to tell, as JSON values."""


def send(receiver: Receiver, message: Message, environment: Mapping[str, str]) -> None:
    """Send ``message``; ``environment`` is that of commands. Takes no longer than the receiver's ``timeout`` allows.

    Raises:
        DeliveryError: it did not arrive, as far as can be told.
    """
    try:
        if receiver.webhook:
            _post(receiver.webhook, message, receiver.seconds)
        elif receiver.email:
            _mail(receiver.email, message, receiver.seconds)
        elif receiver.command:
            _run(receiver.name, receiver.command, environment, json.dumps(message).encode(), receiver.seconds)
        elif receiver.vmcatcher:
            for event in message["events"]:
                _run_vmcatcher(receiver, event, environment)
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
def _run(name: str, command: Sequence[str], environment: Mapping[str, str], given: bytes, seconds: float) -> None:
    try:
        child = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise DeliveryError(name, f"cannot be run: {error.strerror}", "check the command") from error
    try:
        _, said = child.communicate(given, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise DeliveryError(name, f"was not done after {seconds:g} s, and was killed", "make it faster") from None
    finally:
        _end(child)
    if child.returncode:
        tail = printable(" ".join(said.decode(errors="replace").split()))[-_TAIL:]
        raise DeliveryError(name, f"ended with status {child.returncode}: {tail or 'without a word'}")


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    for pipe in (child.stdin, child.stderr):
        if pipe:
            pipe.close()


def _run_vmcatcher(receiver: Receiver, event: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    kind = _VMCATCHER.get(event["kind"])
    if kind is None or not receiver.vmcatcher:
        return
    facts = {f"VMCATCHER_EVENT_{name}": printable(value) for name, value in event["details"].items()}
    told = {**environment, **facts, "VMCATCHER_EVENT_TYPE": kind}
    _run(receiver.name, receiver.vmcatcher, told, b"", receiver.seconds)
