"""What ``imagesync list verify`` and ``list show`` do: one message, judged or just read."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import click

from imagesync.cli.basis import Basis, advice, basis, judged, missing, url_of
from imagesync.cli.context import Options, clock, write_json
from imagesync.cli.trust import TrustOptions
from imagesync.errors import (
    ConfigError,
    ImagesyncError,
    ListFormatError,
    SourceError,
    TooLargeError,
    TrustError,
    TrustStoreUnusableError,
    UnreachableError,
    UntrustedSignerError,
)
from imagesync.http import HttpPolicy
from imagesync.lists import envelope, strict_json
from imagesync.lists.admit import AdmissionRules, admit
from imagesync.lists.hepix import parse
from imagesync.lists.names import normal
from imagesync.lists.source import MAX_BYTES, Fetched, ListRequest, fetch
from imagesync.model import Identity, ImageList, ListId, SignedPayload, Signer, TrustedList
from imagesync.plan.render import printable
from imagesync.plan.spec import timestamp
from imagesync.run.proof import Link, links
from imagesync.run.report import signer_as_json


@dataclass(frozen=True, slots=True)
class Question:
    """What the command line asked about one message."""

    source: str
    trust: TrustOptions
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
        endorser = content.signer.identity
        if self.endorser_dn is not None:
            endorser = normal(Identity(self.endorser_dn, self.endorser_ca or ""))
        return AdmissionRules(
            subscription=self.source,
            vo=self.vo or content.vo or "",
            endorsers=(endorser,),
            identifier=ListId(self.identifier) if self.identifier else (None if content.vo else content.identifier),
        )


@dataclass(frozen=True, slots=True)
class _Answer:
    """To what question, judged by what, and in which form an answer is written."""

    question: Question
    by: Basis
    as_json: bool

    def warnings(self, trusted: TrustedList) -> list[str]:
        """Return what is found about a list that may be trusted, and what a pass would have against its signer."""
        if not self.by.subscription or self.question.pinned or trusted.content.signer.identity in self.by.endorsers:
            return [*trusted.warnings]
        text = f"a pass refuses it: the signer is no endorser of the subscription {self.by.subscription}"
        return [*trusted.warnings, text]


def run(question: Question, options: Options, *, as_json: bool) -> int:
    """Judge the message, write the verdict, and return the exit code.

    Raises:
        ConfigError: half an endorser was given, the source is no path or URL that can be used, or the configuration
            is wrong.
        TrustStoreUnusableError: the anchors directory is missing, empty or unreadable.
    """
    _check_pins(question)
    by = basis(question.trust, options, fetch=question.at is None, source=question.source)
    answer = _Answer(question, by, as_json=as_json)
    now = question.at or clock()
    blob, payload = b"", None
    try:
        blob = read(question.source)
        payload = judged(blob, by, now, pinned=question.pinned)
        content = parse(payload)
        trusted = admit(content, question.rules(content), None, now)
    except TrustStoreUnusableError:
        raise
    except (TrustError, TooLargeError) as error:
        _refuse(answer, payload, error, missing(error, blob, by, now))
        return 3
    except SourceError as error:
        _unreadable(answer, error)
        return 5
    _trust(answer, trusted, links(payload.chain))
    return 0


def _check_pins(question: Question) -> None:
    """Refuse what would check less than it seems to: a variable of the shell that is not set, for example."""
    if (question.endorser_dn is None) != (question.endorser_ca is None):
        raise ConfigError("list verify", "an endorser is a DN and a CA", "give both --endorser-dn and --endorser-ca")
    for name in ("endorser_dn", "endorser_ca", "vo", "identifier"):
        value = getattr(question, name)
        if value is not None and not value.strip():
            option = "--" + name.replace("_", "-")
            raise ConfigError("list verify", f"{option} is empty", f"give {option} a value, or leave it out")


def read(source: str) -> bytes:
    """Return the bytes of a message from a path, a URL, or ``-``.

    Raises:
        SourceError: it could not be read, or is too large.
    """
    if source == "-":
        return _stream(sys.stdin.buffer, "standard input")
    path = Path(source)
    try:
        if "://" not in source and path.exists() and not path.is_file() and not path.is_dir():
            # A pipe that the shell made, say. A subscription's own file: URL has to be a regular file.
            with path.open("rb") as file:
                return _stream(file, source)
    except (OSError, ValueError) as error:  # a name too long, or with a NUL
        detail = f"cannot be read: {getattr(error, 'strerror', error)}"
        raise UnreachableError(source[:200], detail, "check the path") from error
    answer = fetch(ListRequest(url_of(source), HttpPolicy(allow_private=True), MAX_BYTES))
    if not isinstance(answer, Fetched):
        raise UnreachableError(
            source, "the server answered 304 to a request that had no condition", "tell its operator"
        )
    return answer.blob


def _stream(file: BinaryIO, name: str) -> bytes:
    blob = file.read(MAX_BYTES + 1)
    if len(blob) > MAX_BYTES:
        raise TooLargeError(name, f"more than {MAX_BYTES} bytes", "an image list is smaller")
    return bytes(blob)


def unverified(source: str, options: Options) -> dict[str, Any]:
    """Return the JSON document of a message without judging it; ``source`` may be a subscription's name.

    Raises:
        SourceError: it could not be read.
        TrustError: there is no list in it.
    """
    blob = _stored(source, options) if not {"/", ":", "."} & set(source) and source != "-" else None
    document = strict_json.loads(envelope.split(blob if blob is not None else read(source)).json)
    if not isinstance(document, dict):
        raise ListFormatError("list", "it is no JSON object", "tell its publisher")
    return document


def _stored(name: str, options: Options) -> bytes | None:
    from imagesync.run.wiring import open_configured_state

    try:
        if Path(name).exists():
            return None
    except (OSError, ValueError) as error:
        raise ConfigError(name[:200], "is no name of a subscription, and no path", "check it") from error
    config = options.config()
    with open_configured_state(config, readonly=True) as state:
        listing = state.stored(name)
    if listing is None:
        raise ConfigError(
            name, "no list of this name was accepted yet, and there is no such file", "run `imagesync sync`"
        )
    return bytes(listing.blob)


def _trust(answer: _Answer, trusted: TrustedList, chain: tuple[Link, ...]) -> None:
    content, warnings = trusted.content, answer.warnings(trusted)
    if answer.as_json:
        found = {"list": _list(content), "warnings": warnings, "chain": [asdict(link) for link in chain]}
        write_json(_result(answer, "trusted", "", content.signer) | found)
        return
    lines = [
        "trusted" if answer.question.pinned else "trusted, endorser NOT checked",
        *_judged_by(answer),
        *_signed_by(content.signer),
        f"root        {chain[-1].subject}, SHA-256 {chain[-1].sha256}",
        f"list        {content.identifier}, VO {content.vo or '(none named)'}, version {content.version}",
        f"created     {timestamp(content.created)}, expires {timestamp(content.expires)}",
        f"images      {len(content.images)}" + (f", and {len(content.broken)} unusable" if content.broken else ""),
    ]
    lines += [f"  {image.identifier}  {image.title}" for image in content.images]
    lines += [f"  unusable: {image.title or image.identifier}: {image.reason}" for image in content.broken]
    lines += [f"warning: {warning}" for warning in warnings]
    click.echo("\n".join(printable(line) for line in lines))


def _judged_by(answer: _Answer) -> list[str]:
    return [f"judged by   the rules of the subscription {answer.by.subscription}"] if answer.by.subscription else []


def _signed_by(signer: Signer) -> list[str]:
    return [
        f"signer      {signer.identity.dn}",
        f"issued by   {signer.identity.ca}",
        f"certificate good until {timestamp(signer.not_after)}, SHA-256 {signer.sha256}",
    ]


def _refuse(
    answer: _Answer, payload: SignedPayload | None, error: ImagesyncError, needed: Mapping[str, str] | None
) -> None:
    claimed = error.signer if isinstance(error, UntrustedSignerError) else None
    if answer.as_json:
        found = _result(answer, "refused", f"{error.reason}: {error}", payload.signer if payload else claimed)
        needs = {"endorsers": [needed]} if needed else None
        write_json(found | {"list": None, "warnings": [], "needs": needs})
        return
    lines = [f"refused: {error.reason}: {error}", *_judged_by(answer)]
    if claimed:
        lines += [*_signed_by(claimed), "NOT VERIFIED: the signature fits this certificate, which is not trusted"]
    if needed:
        lines.append(advice(needed))
    click.echo("\n".join(printable(line) for line in lines))


def _unreadable(answer: _Answer, error: ImagesyncError) -> None:
    if answer.as_json:
        write_json(_result(answer, "unavailable", f"{error.reason}: {error}", None) | {"list": None, "warnings": []})
    click.echo(printable(f"imagesync: {error}"), err=True)


def _result(answer: _Answer, verdict: str, reason: str, signer: Signer | None) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "reason": reason,
        "pinned": answer.question.pinned,
        "subscription": answer.by.subscription or None,
        "signer": signer_as_json(signer) if signer else None,
    }


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
