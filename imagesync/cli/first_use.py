"""``imagesync config init --from-list``: a subscription made from a list, for the operator to confirm."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from imagesync.cli.basis import Basis, advice, missing, url_of, verified
from imagesync.errors import ConfigError, UntrustedSignerError
from imagesync.http import redact
from imagesync.lists.admit import AdmissionRules, admit
from imagesync.lists.hepix import parse
from imagesync.model import SignedPayload, TrustedList
from imagesync.plan.render import printable
from imagesync.plan.spec import timestamp
from imagesync.run.proof import Link, links

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class FirstUse:
    """What the command line says about a list that nobody follows yet."""

    url: str
    by: Basis
    vo: str | None
    name: str | None
    now: datetime


@dataclass(frozen=True, slots=True)
class Proposal:
    """A subscription to confirm, and what it was read from."""

    subscription: dict[str, Any]
    trusted: TrustedList
    chain: tuple[Link, ...]


def propose(wish: FirstUse, blob: bytes) -> Proposal:
    """Return a subscription that pins what the list says; it is switched off.

    A host certificate is accepted here, because what is made is a pin. A self-signed one is not: only somebody who
    compared its fingerprint may write that down, and the refusal says so.

    Raises:
        TrustError: the list must not be trusted, whoever is pinned.
        ConfigError: the list names no VO and the command line neither.
    """
    try:
        payload = verified(blob, wish.by, wish.now, pinned=True)
    except UntrustedSignerError as error:
        if (entry := missing(error, blob, wish.by, wish.now)) is None:
            raise
        raise UntrustedSignerError(error.subject, error.detail, advice(entry)) from error
    trusted = _admitted(payload, wish)
    content = trusted.content
    signer = content.signer.identity
    name = wish.name or re.sub(r"[^A-Za-z0-9._-]", "-", trusted.vo)[:64].lstrip("._-")
    if not _NAME.fullmatch(name):
        raise ConfigError(name, "is no name for a subscription", "give --name, of letters, digits, dots and dashes")
    subscription = {
        "name": name,
        "vo": trusted.vo,
        "url": url_of(wish.url),
        "identifier": str(content.identifier),
        "endorsers": [{"dn": signer.dn, "ca": signer.ca}],
        "enabled": False,
    }
    return Proposal(subscription, trusted, links(payload.chain))


def _admitted(payload: SignedPayload, wish: FirstUse) -> TrustedList:
    content = parse(payload)
    vo = wish.vo or content.vo
    if not vo:
        raise ConfigError(redact(wish.url), "the list does not say which VO it is for", "give --vo")
    rules = AdmissionRules(redact(wish.url), vo, (content.signer.identity,), content.identifier)
    return admit(content, rules, None, wish.now)


def as_json(proposal: Proposal) -> dict[str, Any]:
    """Return the proposal as values that ``json`` can write."""
    content = proposal.trusted.content
    return {
        "subscriptions": [proposal.subscription],
        "confirmed": False,
        "list": {"title": content.title, "version": content.version, "images": len(content.images)},
        "chain": [asdict(link) for link in proposal.chain],
        "warnings": list(proposal.trusted.warnings),
    }


def as_text(proposal: Proposal, wish: FirstUse) -> str:
    """Return the proposal as a file for ``conf.d``, with what has to be confirmed as a comment."""
    import yaml

    content, (signer, *_, root) = proposal.trusted.content, proposal.chain
    name = proposal.subscription["name"]
    lines = [
        f"Made from {redact(wish.url)} at {timestamp(wish.now)}.",
        "NOTHING OF IT IS TRUSTED YET: the subscription is switched off until you confirm it.",
        "",
        f"The list calls itself {content.title!r}, version {content.version}, with {len(content.images)} images.",
        f"signed by    {signer.subject}",
        f"issued by    {signer.issuer}",
        f"certificate  SHA-256 {signer.sha256}, good until {signer.not_after}",
        f"root         {root.subject}",
        f"             SHA-256 {root.sha256}",
        *(f"warning: {warning}" for warning in proposal.trusted.warnings),
        "",
        "Ask the publisher by another channel whether signer, CA, identifier and VO are right. Then save this as",
        f"conf.d/{name}.yaml beside the configuration, set enabled to true, and look at what it would do:",
        f"imagesync plan --list {name}",
    ]
    head = "".join(f"# {printable(line)}".rstrip() + "\n" for line in lines)
    return head + yaml.safe_dump({"subscriptions": [proposal.subscription]}, sort_keys=False, allow_unicode=True)
