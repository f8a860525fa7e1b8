"""Reading from the state what a situation is made of, each time with a bounded number of rows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime
from threading import Lock
from typing import TypeVar

from imagesync.config.schema import Config
from imagesync.http import redact
from imagesync.run.evidence import ends
from imagesync.run.history import RunDigest, digest
from imagesync.run.notice import End, Matter
from imagesync.run.situation import Facts, Followed, Kept, Outlook, Situation, situation
from imagesync.run.wiring import notice_rules, open_configured_state
from imagesync.state import RunRecord
from imagesync.state.repository import Repository

RUNS, MOST_RUNS = 60, 400
"""Runs that are looked back on: as many as the first, and up to the second until something is known of every list."""

_MOST_KEPT = 500
_Value = TypeVar("_Value")


class Survey:
    """What reads the state. It keeps what cannot change any more: the summaries of runs, the ends of certificates.

    Safe to use from several threads.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self._lock = Lock()
        self._runs: OrderedDict[str, RunDigest] = OrderedDict()
        self._ends: OrderedDict[str, tuple[End, ...]] = OrderedDict()

    def look(self, config: Config, outlook: Outlook, now: datetime) -> Situation:
        """Return how things stand.

        Raises:
            ConfigError: the password of the state cannot be read.
            StateError: the state cannot be read.
        """
        with self._lock, open_configured_state(config, readonly=True) as state:
            facts = self._facts(config, state)
        return situation(followed(config), kept(config), facts, outlook, now)

    def _facts(self, config: Config, state: Repository) -> Facts:
        messages = state.current_messages()
        return Facts(
            accepted={one.subscription: one for one in state.all_accepted()},
            messages=messages,
            ends={name: self._ends_of(state, sha256) for name, sha256 in messages.items()},
            passes=state.last_passes(),
            images={target.name: state.images(target.name) for target in config.targets},
            runs=tuple(self._recent(config, state)),
            pauses=state.pauses(),
            failing=state.failing(),
            standings=state.standings.all(),
            boots={target.name: state.boots.standing(target.name) for target in config.targets},
        )

    def _recent(self, config: Config, state: Repository) -> Iterator[RunDigest]:
        missing = {item.name for item in config.subscriptions if item.enabled}
        for number, head in enumerate(state.run_heads(MOST_RUNS)):
            if number >= RUNS and not missing:
                return
            run = self._run(state, head)
            missing -= {word.name for word in run.lists}
            yield run

    def _run(self, state: Repository, head: RunRecord) -> RunDigest:
        if head.finished is None:
            return digest(head, None)
        if head.id not in self._runs:
            _keep(self._runs, head.id, digest(head, state.report(head.id)))
        return self._runs[head.id]

    def _ends_of(self, state: Repository, sha256: str) -> tuple[End, ...]:
        if sha256 not in self._ends:
            # Revocation lists are kept as of the first acceptance, and renewed many times since.
            found = (end for end in ends(state.evidence(sha256)) if end.matter is not Matter.CRL_EXPIRY)
            _keep(self._ends, sha256, tuple(found))
        return self._ends[sha256]


def _keep(kept: OrderedDict[str, _Value], key: str, value: _Value) -> None:
    kept[key] = value
    while len(kept) > _MOST_KEPT:
        kept.popitem(last=False)


def followed(config: Config) -> tuple[Followed, ...]:
    """Return the subscriptions as they are shown."""
    return tuple(
        Followed(item.name, item.vo, redact(item.url), item.every, item.enabled, notice_rules(item, config))
        for item in config.subscriptions
    )


def kept(config: Config) -> tuple[Kept, ...]:
    """Return the targets as they are shown."""
    return tuple(Kept(item.name, item.backend) for item in config.targets)
