"""From the report of a pass to messages in the outbox."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from imagesync.config.notifications import Receiver
from imagesync.config.schema import Config
from imagesync.daemon.notify.events import Event, EventKind, Passed, news
from imagesync.daemon.notify.vmcatcher import Content, details, read
from imagesync.state import MessageRecord
from imagesync.state.repository import Repository

_VERSIONS = 50
"""Versions of a list that are looked back on for what they say of an image."""

_OF_IMAGES = frozenset({EventKind.PUBLISHED, EventKind.WITHDRAWN})


def tell(config: Config, passed: Passed, state: Repository) -> tuple[Event, ...]:
    """Put into the outbox what is new after a pass, and return it.

    Raises:
        StateError: the state cannot be read or written.
    """
    changed = news(passed, state.troubles())
    events = changed.events
    if any(receiver.vmcatcher for receiver in config.notifications):
        events = tuple(_with_details(events, passed.subscription, state, config.cache))
    run = str(passed.report.get("run", ""))
    messages = [MessageRecord(*parts, passed.at, passed.at) for parts in _messages(config, run, events)]
    state.tell(changed.begun, changed.ended, messages)
    return events


def _with_details(events: Iterable[Event], name: str, state: Repository, cache: Path) -> Iterator[Event]:
    """Yield events with what the newest version that has the image says of it: what is withdrawn is not in the last."""
    versions = [version.message for version in state.versions_of(name, _VERSIONS)]

    @lru_cache(_VERSIONS)
    def content(sha256: str) -> Content:
        return read(state.message(sha256) or b"")

    for event in events:
        found = (details(content(sha256), event.key, cache) for sha256 in versions if event.kind in _OF_IMAGES)
        yield replace(event, details=next(filter(None, found), {}))


def _messages(config: Config, run: str, events: tuple[Event, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    for receiver in config.notifications:
        wanted = [event.as_json() for event in events if _wants(receiver, event)]
        # A handler of vmcatcher is called for one event: each is delivered, or tried again, by itself.
        size = 1 if receiver.vmcatcher else max(len(wanted), 1)
        for some in (wanted[start : start + size] for start in range(0, len(wanted), size)):
            yield receiver.name, {"instance": config.instance, "run": run, "events": some}


def _wants(receiver: Receiver, event: Event) -> bool:
    return str(event.kind) in receiver.events and (receiver.vmcatcher is None or event.kind in _OF_IMAGES)
