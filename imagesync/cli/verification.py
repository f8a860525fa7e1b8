"""What ``imagesync list verify`` and ``list show`` do: one message, judged or just read."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from imagesync.cli.context import Options, clock, write_json
from imagesync.errors import (
    ConfigError,
    ImagesyncError,
    SourceError,
    TooLargeError,
    TrustError,
    TrustStoreUnusableError,
    UnreachableError,
)
from imagesync.http import HttpPolicy
from imagesync.lists import envelope
from imagesync.lists.admit import AdmissionRules, admit
from imagesync.lists.anchors import CrlMode, load_anchors
from imagesync.lists.hepix import parse
from imagesync.lists.names import normalise
from imagesync.lists.smime import SignaturePolicy, verify
from imagesync.lists.source import Fetched, ListRequest, fetch
from imagesync.model import Identity, ImageList, ListId, SignedPayload
from imagesync.plan.render import printable
from imagesync.plan.spec import timestamp
from imagesync.run.report import signer_as_json

MAX_LIST_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Question:
    """What the command line asked about one message."""

    source: str
    anchors: Path
    crl: str
    endorser_dn: str | None
    endorser_ca: str | None
    vo: str | None
    identifier: str | None
    at: datetime | None

    @property
    def pinned(self) -> bool:
        """Return whether the endorser is to be checked."""
        return self.endorser_dn is not None

    def rules(self, content: ImageList) -> AdmissionRules:
        """Return rules that ask for what the command line names, and accept what it leaves open."""
        claimed = content.signer.identity
        endorser = (
            Identity(normalise(self.endorser_dn), normalise(self.endorser_ca or "")) if self.endorser_dn else claimed
        )
        return AdmissionRules(
            subscription=self.source,
            vo=self.vo or content.vo or "",
            endorsers=(endorser,),
            identifier=ListId(self.identifier) if self.identifier else (None if content.vo else content.identifier),
        )


def run(question: Question, *, as_json: bool) -> int:
    """Judge the message, write the verdict, and return the exit code.

    Raises:
        ConfigError: half an endorser was given, or the source is no path or URL that can be used.
        TrustStoreUnusableError: the anchors directory is missing, empty or unreadable.
    """
    if (question.endorser_dn is None) != (question.endorser_ca is None):
        raise ConfigError("list verify", "an endorser is a DN and a CA", "give both --endorser-dn and --endorser-ca")
    anchors = load_anchors(question.anchors)
    now = question.at or clock()
    payload: SignedPayload | None = None
    try:
        blob = read(question.source)
        payload = verify(blob, anchors, SignaturePolicy(CrlMode(question.crl), pinned=question.pinned), now)
        content = parse(payload)
        admit(content, question.rules(content), None, now)
    except TrustStoreUnusableError:
        raise
    except (TrustError, TooLargeError) as error:
        _refuse(question, payload, error, as_json=as_json)
        return 3
    except SourceError as error:
        _unreadable(question, error, as_json=as_json)
        return 5
    _trust(question, content, payload, as_json=as_json)
    return 0


def read(source: str) -> bytes:
    """Return the bytes of a message from a path, a URL, or ``-``.

    Raises:
        SourceError: it could not be read, or is too large.
    """
    if source == "-":
        blob = sys.stdin.buffer.read(MAX_LIST_BYTES + 1)
        if len(blob) > MAX_LIST_BYTES:
            raise TooLargeError("standard input", f"more than {MAX_LIST_BYTES} bytes", "an image list is smaller")
        return bytes(blob)
    url = source if "://" in source else Path(source).absolute().as_uri()
    answer = fetch(ListRequest(url, HttpPolicy(allow_private=True), MAX_LIST_BYTES))
    if not isinstance(answer, Fetched):
        raise UnreachableError(
            source, "the server answered 304 to a request that had no condition", "tell its operator"
        )
    return answer.blob


def unverified(source: str, options: Options) -> dict[str, Any]:
    """Return the JSON document of a message without judging it; ``source`` may be a subscription's name.

    Raises:
        SourceError: it could not be read.
        TrustError: there is no list in it.
    """
    blob = _stored(source, options) if not {"/", ":", "."} & set(source) and source != "-" else None
    text = envelope.split(blob if blob is not None else read(source)).json
    document: dict[str, Any] = json.loads(text)
    return document


def _stored(name: str, options: Options) -> bytes | None:
    from imagesync.run.wiring import open_configured_state

    if Path(name).exists():
        return None
    config = options.config()
    with open_configured_state(config, readonly=True) as state:
        listing = state.stored(name)
    if listing is None:
        raise ConfigError(
            name, "no list of this name was accepted yet, and there is no such file", "run `imagesync sync`"
        )
    return bytes(listing.blob)


def _trust(question: Question, content: ImageList, payload: SignedPayload, *, as_json: bool) -> None:
    if as_json:
        write_json(
            _result(question, "trusted", "", payload)
            | {"list": _list(content), "warnings": _warnings(content, payload)}
        )
        return
    signer = content.signer
    lines = [
        "trusted" if question.pinned else "trusted, endorser NOT checked",
        f"signer      {signer.identity.dn}",
        f"issued by   {signer.identity.ca}",
        f"certificate good until {timestamp(signer.not_after)}",
        f"list        {content.identifier}, VO {content.vo or '(none named)'}, version {content.version}",
        f"created     {timestamp(content.created)}, expires {timestamp(content.expires)}",
        f"images      {len(content.images)}" + (f", and {len(content.broken)} unusable" if content.broken else ""),
    ]
    lines += [f"  {image.identifier}  {image.title}" for image in content.images]
    lines += [f"  unusable: {image.title or image.identifier}: {image.reason}" for image in content.broken]
    lines += [f"warning: {warning}" for warning in _warnings(content, payload)]
    click.echo("\n".join(printable(line) for line in lines))


def _refuse(question: Question, payload: SignedPayload | None, error: ImagesyncError, *, as_json: bool) -> None:
    if as_json:
        write_json(_result(question, "refused", f"{error.reason}: {error}", payload) | {"list": None, "warnings": []})
        return
    click.echo(printable(f"refused: {error.reason}: {error}"))


def _unreadable(question: Question, error: ImagesyncError, *, as_json: bool) -> None:
    if as_json:
        write_json(_result(question, "unavailable", f"{error.reason}: {error}", None) | {"list": None, "warnings": []})
    click.echo(printable(f"imagesync: {error}"), err=True)


def _result(question: Question, verdict: str, reason: str, payload: SignedPayload | None) -> dict[str, Any]:
    signer = signer_as_json(payload.signer) if payload else None
    return {"verdict": verdict, "reason": reason, "pinned": question.pinned, "signer": signer}


def _list(content: ImageList) -> dict[str, Any]:
    return {
        "identifier": content.identifier,
        "vo": content.vo,
        "version": content.version,
        "created": timestamp(content.created),
        "expires": timestamp(content.expires),
        "title": content.title,
        "images": [
            {
                "identifier": image.identifier,
                "title": image.title,
                "version": image.version,
                "uri": image.uri,
                "sha512": image.sha512,
                "size": image.size,
                "expires": timestamp(image.expires) or None,
                "mpuri": image.mpuri,
            }
            for image in content.images
        ],
        "unusable": [
            {"identifier": one.identifier, "title": one.title, "reason": one.reason} for one in content.broken
        ],
    }


def _warnings(content: ImageList, payload: SignedPayload) -> list[str]:
    return [*payload.warnings, *content.warnings]
