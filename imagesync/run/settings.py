"""What a pass needs to know, as plain values. ``imagesync.run.wiring`` makes them from a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum

from imagesync.backend import Format
from imagesync.errors import ConfigError
from imagesync.http import HttpPolicy, origin_of
from imagesync.images.artifact import ConversionOptions
from imagesync.lists.admit import AdmissionRules
from imagesync.lists.select import SelectionRules
from imagesync.lists.smime import SignaturePolicy
from imagesync.model import Identity, ListId
from imagesync.plan.spec import Presentation, PropertyRule
from imagesync.plan.values import DEFAULT_EXPIRY_GRACE, GuardRules
from imagesync.run.notice import NoticeRules
from imagesync.state import PauseRecord


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A mirror: what stands for ``prefix`` in the URLs of images. ``only``: what they say is not asked itself."""

    prefix: str
    replacement: str
    only: bool = False

    def __call__(self, uri: str) -> str | None:
        """Return where the mirror has what is published at ``uri``, ``None`` if it does not."""
        return self.replacement + uri.removeprefix(self.prefix) if uri.startswith(self.prefix) else None


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscribed list.

    ``mirrors`` are asked for its images before the place that it names, in order. ``list_policy`` and ``image_policy``
    bound what is fetched for it. ``fault`` is what is wrong with its part of the configuration beyond the words, such
    as a token that cannot be read: it makes this list unknown and no other. ``settings`` is a digest of what is
    configured for it. ``pause`` is the operator's, if one is in force.
    """

    name: str
    vo: str
    url: str
    endorsers: tuple[Identity, ...]
    list_policy: HttpPolicy
    image_policy: HttpPolicy
    signature: SignaturePolicy = field(default_factory=SignaturePolicy)
    selection: SelectionRules = field(default_factory=SelectionRules)
    identifier: ListId | None = None
    appdb_ids: bool = False
    enabled: bool = True
    expiry_grace: timedelta = DEFAULT_EXPIRY_GRACE
    keep_unselected: bool = False
    max_list_bytes: int = 16 * 2**20
    source: str = "hepix"
    properties: tuple[PropertyRule, ...] = ()
    notices: NoticeRules = field(default_factory=NoticeRules)
    settings: str = ""
    fault: ConfigError | None = None
    pause: PauseRecord | None = None
    mirrors: tuple[Rewrite, ...] = ()

    @property
    def is_followed(self) -> bool:
        """Return whether the list is to be looked at."""
        return self.enabled and self.pause is None

    def places(self, uri: str) -> tuple[tuple[str, HttpPolicy], ...]:
        """Return where to ask for an image that is published at ``uri``, in order, and what each may cost.

        A mirror may have a private address, because the operator named it; what a list names does not gain by that.
        """
        found = [(rule, place) for rule in self.mirrors if (place := rule(uri)) is not None]
        mirrors = tuple((place, self._named(rule.replacement)) for rule, place in found)
        published = () if any(rule.only for rule, _ in found) else ((uri, self.image_policy),)
        return mirrors + published

    def _named(self, url: str) -> HttpPolicy:
        return replace(self.image_policy, named_hosts=self.image_policy.named_hosts | {origin_of(url).host})

    def admission(self, pinned_elsewhere: Mapping[ListId, str], *, floor_lifted: bool) -> AdmissionRules:
        """Return the rules by which this subscription admits a list."""
        return AdmissionRules(
            subscription=self.name,
            vo=self.vo,
            endorsers=self.endorsers,
            identifier=self.identifier,
            appdb_ids=self.appdb_ids,
            pinned_elsewhere=pinned_elsewhere,
            floor_lifted=floor_lifted,
        )


class BootMode(StrEnum):
    """Whether images are started before they are offered, and whether they have to pass. Words of the configuration."""

    OFF = "off"
    REPORT = "report"
    REQUIRE = "require"


@dataclass(frozen=True, slots=True)
class Target:
    """One target.

    ``subscriptions`` is ``None`` for all; ``settings`` are the backend's own; ``guards`` and ``boot_checks`` are by
    subscription. ``pause`` is the operator's, if one is in force. ``max_size`` is that of the largest file, in bytes,
    that it takes, as it says itself once it is open.
    """

    name: str
    backend: str
    formats: tuple[Format, ...]
    settings: Mapping[str, object] = field(default_factory=dict)
    options: ConversionOptions = field(default_factory=ConversionOptions)
    subscriptions: frozenset[str] | None = None
    selection: SelectionRules = field(default_factory=SelectionRules)
    delete_after: timedelta = timedelta(days=30)
    guards: Mapping[str, GuardRules] = field(default_factory=dict)
    image_name: str = "{title}"
    properties: tuple[PropertyRule, ...] = ()
    boot_checks: Mapping[str, BootMode] = field(default_factory=dict)
    pause: PauseRecord | None = None
    max_size: int | None = None

    def presentation(self, instance: str, rules: tuple[PropertyRule, ...] = ()) -> Presentation:
        """Return how images look here; ``rules`` are their subscription's, over which the target's stand."""
        return Presentation(
            self.formats, self.options.tag(), instance, self.image_name, rules=(*rules, *self.properties)
        )

    def takes(self, subscription: str) -> bool:
        """Return whether the images of a subscription belong on this target."""
        return self.subscriptions is None or subscription in self.subscriptions

    def boot_check(self, subscription: str) -> BootMode:
        """Return whether a subscription's images are started before they are offered here."""
        return self.boot_checks.get(subscription, BootMode.OFF)

    def guard(self, subscription: str) -> GuardRules:
        """Return how many removals of a subscription's images are believed here."""
        return self.guards.get(subscription, GuardRules())


@dataclass(frozen=True, slots=True)
class Scope:
    """What a run is about. Empty means everything; nothing outside it is touched.

    ``images`` are globs over identifier and title, without regard to case. ``recalls_only`` leaves everything alone
    but what a local denial names, what is remembered of lists included.
    """

    lists: frozenset[str] = frozenset()
    targets: frozenset[str] = frozenset()
    images: tuple[str, ...] = ()
    recalls_only: bool = False
