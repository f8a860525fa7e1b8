"""From a configuration to what a pass needs: plain values, and the real things behind its ports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from imagesync import registry
from imagesync.backend import Backend, Context, Progress
from imagesync.config.load import recalled
from imagesync.config.presentation import PropertyRule as ConfiguredProperties
from imagesync.config.schema import Config
from imagesync.config.schema import Subscription as ConfiguredSubscription
from imagesync.config.schema import Target as ConfiguredTarget
from imagesync.config.selection import DenyEntry, Rules, Select
from imagesync.errors import ConfigError, TrustStoreUnusableError
from imagesync.http import Credential, HttpPolicy, ignored_proxy_warning, origin_of
from imagesync.images.artifact import Artifact, ConversionOptions
from imagesync.images.entries import converted_name, note_use, source_name
from imagesync.lists.anchors import Anchors, CrlMode, load_anchors
from imagesync.lists.names import normal, normalise
from imagesync.lists.select import Matcher, SelectionRules
from imagesync.lists.smime import SignaturePolicy
from imagesync.lists.source import NotModified
from imagesync.model import UNPACKED, ListId
from imagesync.plan.spec import PropertyRule, Wanted
from imagesync.plan.values import GuardRules
from imagesync.run.denial import Denial
from imagesync.run.hours import hours
from imagesync.run.notebook import Notebook
from imagesync.run.notice import Limits, NoticeRules
from imagesync.run.observe import Fetch
from imagesync.run.progress import Display
from imagesync.run.settings import BootMode, Rewrite, Scope, Subscription, Target
from imagesync.run.sync import Ports, Task
from imagesync.state import open_state
from imagesync.state.repository import Repository

if TYPE_CHECKING:
    from imagesync.lists.crls import CrlStore

log = structlog.get_logger(__name__)

_APPDB = ".appdb.egi.eu"


# --- values ----------------------------------------------------------------------------------------------------------
def task(config: Config, scope: Scope, now: datetime, *, allowed: int | None = None, dry: bool = False) -> Task:
    """Return what one pass over ``scope`` is to do.

    ``allowed`` removals pass whatever the guard says.
    """
    return Task(
        instance=config.instance,
        now=now,
        subscriptions=tuple(_subscription(item, config) for item in config.subscriptions),
        targets=tuple(_target(item, config, allowed) for item in config.targets),
        denials=denials(config.deny),
        scope=scope,
        dry=dry,
        ahead=config.limits.parallel_images,
        hours=hours(config.limits.heavy_work, now),
    )


def denials(entries: Iterable[DenyEntry]) -> tuple[Denial, ...]:
    """Return what is recalled locally."""
    return tuple(
        Denial(
            tuple((name, normalise(text) if name == "signer" else text) for name, text in entry.patterns().items()),
            entry.reason or "no reason given",
        )
        for entry in entries
    )


def _subscription(item: ConfiguredSubscription, config: Config) -> Subscription:
    credential, fault = _credential(item)
    policy = _policy(item, config, credential)
    host = urlsplit(item.url).hostname or ""
    schemes = frozenset({"https", "http"} if item.allow_http else {"https"})
    return Subscription(
        name=item.name,
        vo=item.vo,
        url=item.url,
        source=item.source,
        endorsers=tuple(normal(endorser.identity) for endorser in item.endorsers),
        list_policy=replace(policy, named_hosts=frozenset({host})),
        image_policy=replace(policy, schemes=schemes),
        signature=signature_policy(item, config),
        selection=_selection(item.select),
        identifier=ListId(item.identifier) if item.identifier else None,
        appdb_ids=host.endswith(_APPDB) if item.appdb_ids is None else item.appdb_ids,
        enabled=item.enabled,
        expiry_grace=config.expiry_grace_for(item),
        keep_unselected=config.on_unselected == "keep",
        max_list_bytes=config.limits.max_list_bytes,
        properties=_properties(item.properties),
        notices=notice_rules(item, config),
        settings=config.digest_of(item.name),
        fault=fault,
        mirrors=tuple(Rewrite(rule.prefix, rule.replacement, rule.only) for rule in item.url_rewrite),
    )


def _credential(item: ConfiguredSubscription) -> tuple[Credential | None, ConfigError | None]:
    """Return what proves who asks, or why it cannot be had: an unreadable token concerns its own list only."""
    if item.token is None:
        return None, None
    try:
        return Credential(origin_of(item.url), item.auth, item.token.value()), None
    except ConfigError as error:
        return None, error


def _policy(item: ConfiguredSubscription, config: Config, credential: Credential | None) -> HttpPolicy:
    return replace(
        _limited(config),
        allow_private=item.allow_private_addresses,
        ca_bundle=item.ca_bundle,
        system_store=item.system_store,
        credential=credential,
    )


def asking(config: Config, subscription: str = "") -> HttpPolicy:
    """Return how an image of ``subscription`` is asked for; without one, only what holds for all of them.

    Raises:
        ConfigError: there is no such subscription, or a secret cannot be read.
    """
    if not subscription:
        return _limited(config)
    found = {item.name: item for item in config.subscriptions}.get(subscription)
    if found is None:
        raise ConfigError(subscription, "there is no such subscription", "see imagesync config show")
    return _subscription(found, config).image_policy


def _limited(config: Config) -> HttpPolicy:
    limits = config.limits
    return HttpPolicy(
        max_redirects=limits.max_redirects,
        connect_timeout=limits.connect_timeout.total_seconds(),
        header_timeout=limits.header_timeout.total_seconds(),
        stall_timeout=limits.stall_timeout.total_seconds(),
        minimum_rate=float(limits.minimum_rate),
        proxies={key: proxy.address() for key, proxy in config.proxies.items()},
    )


def signature_policy(item: ConfiguredSubscription, config: Config) -> SignaturePolicy:
    """Return by what the signatures of a subscription's messages are judged."""
    trusted = frozenset(endorser.sha256 for endorser in item.endorsers if endorser.sha256)
    return SignaturePolicy(CrlMode(config.trust.crl), pinned=True, sha1_until=item.sha1_until, trusted=trusted)


def notice_rules(item: ConfiguredSubscription, config: Config) -> NoticeRules:
    """Return from when on something is told ahead about a list."""
    told = config.notices
    sections = (item.list_age or told.list_age, told.list_expiry, told.certificate, told.crl)
    return NoticeRules(*(Limits(section.warning, section.critical) for section in sections))


def _selection(select: Select) -> SelectionRules:
    return SelectionRules(_rules(select.include_rules()), _rules(select.exclude_rules()))


def _rules(rules: Rules) -> tuple[tuple[Matcher, ...], ...]:
    return tuple(tuple(Matcher(*pair) for pair in rule) for rule in rules)


def _properties(rules: tuple[ConfiguredProperties, ...]) -> tuple[PropertyRule, ...]:
    return tuple(PropertyRule(dict(rule.set), _rules(rule.match.matchers()) if rule.match else ()) for rule in rules)


def _target(item: ConfiguredTarget, config: Config, allowed: int | None) -> Target:
    guards = {one.name: config.guard_for(one, item) for one in config.subscriptions_of(item)}
    return Target(
        name=item.name,
        backend=item.backend,
        formats=item.formats,
        settings=item.settings,
        options=ConversionOptions(item.convert.compress, item.convert.compare),
        subscriptions=None if item.subscriptions is None else frozenset(item.subscriptions),
        selection=_selection(item.select),
        delete_after=item.delete_after,
        guards={name: GuardRules(guard.share, guard.min_images, allowed) for name, guard in guards.items()},
        image_name=item.image_name,
        properties=_properties(item.properties),
        boot_checks={one.name: BootMode(config.boot_check_for(one, item)) for one in config.subscriptions_of(item)},
    )


# --- the real things -------------------------------------------------------------------------------------------------
@contextmanager
def open_ports(config: Config, environment: Mapping[str, str], work: Task, display: Display) -> Iterator[Ports]:
    """Open what a pass touches: trust anchors, state, cache; targets are opened when their turn comes.

    A dry ``work`` gets a state that is opened for reading only.

    Raises:
        ConfigError: the cache cannot be made.
        TrustStoreUnusableError: the anchors directory cannot be used, and the pass is not about recalls only.
        StateError: the state cannot be opened.
    """
    warning = ignored_proxy_warning(environment, {key: proxy.url for key, proxy in config.proxies.items()})
    if warning:
        log.warning(warning)
    anchors = _anchors_if_needed(config, work)
    subscriptions = {item.name: item for item in work.subscriptions}
    installed = registry.snapshot()
    again = bool(work.scope.images) and not work.honour_back_off
    with open_configured_state(config, readonly=work.dry) as state:
        yield Ports(
            fetch=partial(_source, installed),
            anchors=anchors,
            open_target=partial(_open_target, installed),
            prepare=_preparation(config, subscriptions, environment, Notebook(state, work.now, again)),
            state=state,
            display=display,
            recalled=lambda: denials(recalled(config.path)),
            expect=partial(_note_uses, config.cache),
        )


def _anchors_if_needed(config: Config, work: Task) -> Anchors | TrustStoreUnusableError:
    """Return the trust anchors, or why there are none where that must not stop the pass: a recall only removes."""
    try:
        anchors = _anchors(config, work)
    except TrustStoreUnusableError as error:
        if not work.scope.recalls_only:
            raise
        log.error("trust anchors cannot be used, no list is known", reason=str(error))
        return error
    if anchors.warnings:
        first, hint = anchors.warnings[0], "`imagesync config check` names all"
        log.warning("trust anchors not usable", number=len(anchors.warnings), first=first, hint=hint)
    return anchors


def _anchors(config: Config, work: Task) -> Anchors:
    """Return the trust anchors, with revocation lists of our own beside theirs if that is configured."""
    anchors, store = load_anchors(config.trust.anchors), crl_store(config)
    if store is None:
        return anchors
    from imagesync.lists.crls import refresh, with_fetched

    if not work.dry and not work.scope.recalls_only:
        names = {endorser.ca for item in work.subscriptions if item.enabled for endorser in item.endorsers}
        refresh(anchors, names, store, work.now)
    return with_fetched(anchors, store)


def crl_store(config: Config) -> CrlStore | None:
    """Return where revocation lists of our own are, if that is configured."""
    if not config.trust.fetch_crls or config.trust.crl == "off":
        return None
    from imagesync.lists.crls import CrlStore

    return CrlStore(config.cache / "crls", _limited(config), config.limits.max_list_bytes)


DAEMON = "(daemon)"
"""The lock that the daemon holds while it is there. No target can be called so."""


def open_configured_state(config: Config, *, readonly: bool = False) -> Repository:
    """Return the state that the configuration names.

    Raises:
        ConfigError: its password cannot be read.
        StateError: it cannot be opened.
    """
    password = config.state.password.value() if config.state.password else None
    return open_state(config.state.url, password, readonly=readonly)


def stored_only(ports: Ports) -> Ports:
    """Return ports that take every list as last accepted and ask no server."""
    return replace(ports, fetch=lambda _: lambda _: NotModified(None))


def _source(installed: registry.Installed, subscription: Subscription) -> Fetch:
    fetch: Fetch = registry.load_source(subscription.source, installed)
    return fetch


def _open_target(installed: registry.Installed, target: Target, context: Context) -> AbstractContextManager[Backend]:
    load = registry.load_backend(target.backend, installed)
    return registry.opened(load, target.settings, context)


def _note_uses(cache: Path, target: Target, wanted: Sequence[Wanted]) -> None:
    """Let what the cache has of images count as used now: it is needed in this pass, so that other things go first.

    Where all of that is not enough, the first of them go first.
    """
    tags = (target.options.tag(), UNPACKED)
    for sha512 in (item.image.sha512 for item in wanted):
        results = (converted_name(sha512, form, tag) for form in target.formats for tag in tags)
        note_use(cache, (source_name(sha512), *results))


def _preparation(
    config: Config, subscriptions: Mapping[str, Subscription], environment: Mapping[str, str], notebook: Notebook
) -> Callable[[Wanted, Target, Progress, Progress], AbstractContextManager[Artifact]]:
    """Return the function that brings an image into a target's form. What it needs is loaded with the first image."""
    # Several threads may come first, and what bounds them all together must be there once.
    lock = Lock()

    @cache
    def workbench() -> Callable[[Wanted, Target, Progress, Progress], AbstractContextManager[Artifact]]:
        from imagesync.run.preparation import preparation

        return preparation(config, subscriptions, environment, notebook)

    def bring(
        wanted: Wanted, target: Target, downloading: Progress, converting: Progress
    ) -> AbstractContextManager[Artifact]:
        with lock:
            prepared = workbench()
        return prepared(wanted, target, downloading, converting)

    return bring
