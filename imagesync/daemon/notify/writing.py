"""From the report of a pass to messages in the outbox."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from imagesync.config.notifications import Receiver
from imagesync.config.schema import Config
from imagesync.daemon.notify.events import Event, EventKind, Passed, news
from imagesync.daemon.notify.vmcatcher import details
from imagesync.state import MessageRecord, StoredList
from imagesync.state.repository import Repository

_OF_IMAGES = frozenset({EventKind.PUBLISHED, EventKind.WITHDRAWN})


def tell(config: Config, passed: Passed, state: Repository) -> tuple[Event, ...]:
    """Put into the outbox what is new after a pass, and return it.

    Raises:
        StateError: the state cannot be read or written.
    """
    changed = news(passed, state.troubles())
    events = changed.events
    if any(receiver.vmcatcher for receiver in config.notifications):
        events = tuple(_with_details(events, state.stored(passed.subscription), config.cache))
    run = str(passed.report.get("run", ""))
    messages = [MessageRecord(*parts, passed.at, passed.at) for parts in _messages(config, run, events)]
    state.tell(changed.begun, changed.ended, messages)
    return events


def _with_details(events: Iterable[Event], stored: StoredList | None, cache: Path) -> Iterator[Event]:
    for event in events:
        if event.kind in _OF_IMAGES and stored is not None:
            yield replace(event, details=details(stored.blob, event.key, cache))
        else:
            yield event


def _messages(config: Config, run: str, events: tuple[Event, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    for receiver in config.notifications:
        wanted = [event.as_json() for event in events if _wants(receiver, event)]
        if wanted:
            yield receiver.name, {"instance": config.instance, "run": run, "events": wanted}


def _wants(receiver: Receiver, event: Event) -> bool:
    return str(event.kind) in receiver.events and (receiver.vmcatcher is None or event.kind in _OF_IMAGES)
