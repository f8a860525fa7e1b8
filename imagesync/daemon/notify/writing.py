"""From what happened to messages in the outbox."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

import structlog

from imagesync.config.notifications import Receiver
from imagesync.config.schema import Config
from imagesync.daemon.notify.boundary import bounded
from imagesync.daemon.notify.events import OF_IMAGES, Event, Passed, news, of_change
from imagesync.daemon.notify.vmcatcher import with_details
from imagesync.errors import DefectError
from imagesync.state import ChangeRecord, MessageRecord
from imagesync.state.repository import Repository

log = structlog.get_logger(__name__)

GIVE_UP = timedelta(days=3)
"""What could not be told for this long is dropped, with a line in the log that has all of it."""

_MOST = 500
"""Changes that are told at once."""


def tell(config: Config, passed: Passed, state: Repository) -> bool:
    """Put into the outbox what is new after a pass of the daemon, and return whether there was anything.

    Raises:
        StateError: the state cannot be read or written; then nothing was told.
    """
    run = str(passed.report.get("run", ""))
    changes = [change for change in state.changes(_MOST, ended=False) if run and change.run == run]
    changed = news(passed, state.troubles())
    if not (changes or changed.events or changed.ended):
        return False
    writer = _Writer(config, state, passed.at)
    try:
        messages = writer.attempt(run, changed.events, changes)
    except DefectError:  # which ``tell_changes`` meets again: images must not silence what is wrong
        messages, changes = writer.attempt(run, changed.events), []
    state.tell(changed.begun, changed.ended, messages, changes)
    return bool(changes or changed.events)


def tell_changes(config: Config, state: Repository, now: datetime, *, ended: bool) -> bool:
    """Put into the outbox what became of images in other passes, and return whether there was anything.

    Those are passes by hand, and those that the daemon did not see the end of. With ``ended`` only those that did end.

    Raises:
        StateError: the state cannot be read or written; then nothing was told.
        DefectError: there are passes of which it cannot be told; they are left until they are too old.
    """
    changes = state.changes(_MOST, ended=ended)
    told = [change for change in changes if now - change.at > GIVE_UP]
    if told:
        log.warning("images came or went too long ago to be told", number=len(told))
    writer = _Writer(config, state, now)
    messages: list[MessageRecord] = []
    defects: list[DefectError] = []
    for run, some in groupby([change for change in changes if now - change.at <= GIVE_UP], attrgetter("run")):
        group = list(some)
        try:
            messages += writer.attempt(run, (), group)
            told += group
        except DefectError as error:
            defects.append(error)
    if told:
        state.tell((), (), messages, told)
    if defects:
        raise defects[0]
    return bool(told)


class _Writer:
    def __init__(self, config: Config, state: Repository, now: datetime) -> None:
        self._config, self._state, self._now = config, state, now

    def _messages(self, run: str, events: Sequence[Event]) -> Iterator[MessageRecord]:
        """Yield what each receiver gets: one message, and handlers of vmcatcher, which know no other, one per event."""
        for receiver in self._config.notifications:
            wanted = [event for event in events if _wants(receiver, event)]
            if receiver.vmcatcher:
                wanted = with_details(wanted, self._state, self._config.cache)
                yield from (self._message(receiver, run, [event], _subject(event)) for event in wanted)
            elif wanted:
                yield self._message(receiver, run, wanted)

    def attempt(self, run: str, events: Sequence[Event], changes: Sequence[ChangeRecord] = ()) -> list[MessageRecord]:
        """Return the messages of events, and of what became of images.

        Raises:
            StateError: the state cannot be read.
            DefectError: they cannot be written.
        """
        with bounded(f"notifications of run {run}"):
            return list(self._messages(run, [*events, *map(of_change, changes)]))

    def _message(
        self, receiver: Receiver, run: str, events: Sequence[Event], subject: str | None = None
    ) -> MessageRecord:
        content = {"instance": self._config.instance, "run": run, "events": [event.as_json() for event in events]}
        return MessageRecord(receiver.name, content, self._now, self._now, subject=subject)


def _wants(receiver: Receiver, event: Event) -> bool:
    return str(event.kind) in receiver.events and (receiver.vmcatcher is None or event.kind in OF_IMAGES)


def _subject(event: Event) -> str:
    """Return what stands for the image on its target, however long its names are."""
    return hashlib.sha256(f"{event.target}\0{event.key}".encode("utf-8", "replace")).hexdigest()
