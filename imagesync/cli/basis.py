"""By what one message is judged: what the command line names or, where it names nothing, what a pass would go by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from imagesync.cli.context import Options
from imagesync.cli.trust import USUAL_ANCHORS, TrustOptions
from imagesync.errors import ConfigError, ImagesyncError, RevocationUnknownError, TrustError, UntrustedSignerError
from imagesync.lists.anchors import Anchors, CrlMode, load_anchors
from imagesync.lists.names import normal
from imagesync.lists.smime import SignaturePolicy, verify
from imagesync.model import Identity, SignedPayload

if TYPE_CHECKING:
    from imagesync.config.schema import Config
    from imagesync.lists.crls import CrlStore


@dataclass(frozen=True, slots=True)
class Basis:
    """By what a message is judged. With a ``store``, a CRL that is missing is fetched as for that one.

    ``subscription`` is the one whose rules count, and ``endorsers`` are its own; they are empty where there is none.
    """

    anchors: Anchors
    policy: SignaturePolicy
    store: CrlStore | None = None
    subscription: str = ""
    endorsers: frozenset[Identity] = frozenset()


def url_of(source: str) -> str:
    """Return the URL of what the command line names, which may be a path."""
    return source if "://" in source else Path(source).absolute().as_uri()


def basis(said: TrustOptions, options: Options, *, fetch: bool, source: str = "") -> Basis:
    """Return by what to judge. Without ``--anchors`` and with a configuration, it is what a pass would go by.

    With a ``source`` that is ``-``, a path or a URL, the rules of the first subscription to that URL count.

    Raises:
        ConfigError: the configuration is wrong, or the options do not go together.
        TrustStoreUnusableError: the anchors directory is missing, empty or unreadable.
    """
    if said.crls is not None and said.anchors is None:
        raise ConfigError("--crls", "goes with --anchors", "without both, those of the configuration are used")
    if said.anchors is not None or not _is_there(options.config_path):
        return by_directories(said)
    return _as_configured(said, options, fetch=fetch, source=source)


def _is_there(path: Path) -> bool:
    """Return whether there is a configuration; one that nobody may look at counts, and is an error."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def by_directories(said: TrustOptions) -> Basis:
    """Return by what to judge without a configuration.

    Raises:
        ConfigError: ``--crls`` is no directory.
        TrustStoreUnusableError: the anchors directory is missing, empty or unreadable.
    """
    anchors = load_anchors(said.anchors or USUAL_ANCHORS)
    if said.crls is not None:
        from imagesync.http import HttpPolicy
        from imagesync.lists.crls import CrlStore, with_fetched

        if not said.crls.is_dir():
            raise ConfigError(str(said.crls), "is no directory", "name what is crls below the cache of a site")
        anchors = with_fetched(anchors, CrlStore(said.crls, HttpPolicy(), 0))
    return Basis(anchors, SignaturePolicy(CrlMode(said.crl or CrlMode.REQUIRE)))


def _as_configured(said: TrustOptions, options: Options, *, fetch: bool, source: str) -> Basis:
    from imagesync.run.wiring import crl_store

    config = options.config()
    options.start_logging("warning")
    anchors, store = load_anchors(config.trust.anchors), crl_store(config)
    if store is not None:
        from imagesync.lists.crls import with_fetched

        anchors = with_fetched(anchors, store)
    by = Basis(anchors, SignaturePolicy(CrlMode(said.crl or config.trust.crl)), store if fetch else None)
    return _as_subscribed(by, config, url_of(source)) if source not in {"", "-"} else by


def _as_subscribed(by: Basis, config: Config, url: str) -> Basis:
    from imagesync.run.wiring import signature_policy

    item = next((item for item in config.subscriptions if item.url == url), None)
    if item is None:
        return by
    policy = signature_policy(item, config)
    return replace(
        by,
        policy=replace(by.policy, sha1_until=policy.sha1_until, trusted=policy.trusted),
        subscription=item.name,
        endorsers=frozenset(normal(endorser.identity) for endorser in item.endorsers),
    )


def judged(blob: bytes, by: Basis, now: datetime, *, pinned: bool) -> SignedPayload:
    """Return the verified content of a message; a host certificate of the subscription's endorsers is accepted too.

    Raises:
        TrustError: the message must not be trusted.
    """
    if by.endorsers and not pinned:
        payload = verified(blob, by, now, pinned=True)
        if not payload.signer.expects_pin or payload.signer.identity in by.endorsers:
            return payload
    return verified(blob, by, now, pinned=pinned)


def verified(blob: bytes, by: Basis, now: datetime, *, pinned: bool) -> SignedPayload:
    """Return the verified content of a message.

    A site that fetches CRLs itself has those of its endorsers' authorities only, so that the first look at a list may
    need one more. It is fetched when nothing else speaks against the message, so that a list by anybody makes this host
    ask for nothing. It is not kept: a look writes nothing, least of all as another user than that of the passes.

    Raises:
        TrustError: the message must not be trusted.
    """
    policy = replace(by.policy, pinned=pinned)
    try:
        return verify(blob, by.anchors, policy, now)
    except RevocationUnknownError as error:
        if by.store is None:
            raise
        from imagesync.lists.crls import refresh, with_fetched

        with TemporaryDirectory(prefix="imagesync-") as directory:
            store = replace(by.store, directory=Path(directory))
            refresh(by.anchors, {error.subject}, store, now)
            return verify(blob, with_fetched(by.anchors, store), policy, now)


def missing(error: ImagesyncError, blob: bytes, by: Basis, now: datetime) -> dict[str, str] | None:
    """Return the endorser of a subscription that would accept a message which was refused, if there can be one.

    Names are missing for a host certificate, a fingerprint for a self-signed one. No entry makes up for anything else,
    or ought to: a certificate that expired or was revoked, an authority that is not used or must not certify this name.
    """
    if type(error) is not UntrustedSignerError or (signer := error.signer) is None:
        return None
    entry = {"dn": signer.identity.dn, "ca": signer.identity.ca}
    if _would_do(replace(by.policy, pinned=True), blob, by, now):
        return entry
    trusting = replace(by.policy, trusted=by.policy.trusted | {signer.sha256})
    if signer.identity.dn == signer.identity.ca and _would_do(trusting, blob, by, now):
        return entry | {"sha256": signer.sha256}
    return None


def advice(entry: Mapping[str, str]) -> str:
    """Return what an operator has to do before a subscription may name ``entry`` as its endorser."""
    found = json.dumps([entry], ensure_ascii=False)  # which is YAML too
    return f"ask the publisher by another channel whether this is theirs; a subscription then needs endorsers: {found}"


def _would_do(policy: SignaturePolicy, blob: bytes, by: Basis, now: datetime) -> bool:
    try:
        verify(blob, by.anchors, policy, now)
    except RevocationUnknownError:  # which is another matter, and told when it is the only one
        return True
    except TrustError:
        return False
    return True
