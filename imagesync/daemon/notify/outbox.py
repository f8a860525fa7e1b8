"""Delivering what is in the outbox: one thread per receiver, so that a slow one delays no other and no pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from threading import Event, Thread

import structlog

from imagesync.config.notifications import Receiver
from imagesync.config.schema import Config
from imagesync.daemon.notify import events
from imagesync.daemon.notify.boundary import bounded, origin
from imagesync.daemon.notify.commands import Hook
from imagesync.daemon.notify.events import EventKind
from imagesync.daemon.notify.inbox import Inbox
from imagesync.daemon.notify.receivers import send
from imagesync.daemon.notify.teller import Teller
from imagesync.daemon.notify.writing import GIVE_UP
from imagesync.errors import DeliveryError, ImagesyncError
from imagesync.plan.spec import timestamp
from imagesync.run.wiring import open_configured_state
from imagesync.state import MessageRecord
from imagesync.state.repository import Repository

log = structlog.get_logger(__name__)

FIRST_RETRY = timedelta(seconds=30)
LAST_RETRY = timedelta(hours=1)

_LOOK_EVERY = 10.0
_LONGEST_WAIT = 60.0


class Outbox:
    """The threads that deliver, and the one that writes what they do. ``wake`` them when there is something new."""

    def __init__(
        self, clock: Callable[[], datetime], hook: Hook, inbox: Inbox, is_idle: Callable[[], bool] = lambda: True
    ) -> None:
        """Deliver by this clock; commands run by ``hook``. ``is_idle`` says whether no pass of the daemon runs."""
        self._clock, self._hook, self._inbox = clock, hook, inbox
        self._posts: list[_Post] = []
        self._former: list[_Post] = []
        self._is_idle = is_idle
        self._teller = Teller(inbox, clock, is_idle)

    def arrange(self, config: Config) -> None:
        """Deliver to exactly the receivers of ``config`` from now on. Who is as before goes on undisturbed."""
        same = {post.receiver.name: post for post in self._posts if post.is_for(config)}
        others = [post for post in self._posts if post not in same.values()]
        for post in others:
            post.end()
        self._former = [post for post in (*self._former, *others) if post.is_alive()]
        before = tuple(self._former)
        self._posts = [
            same.get(receiver.name) or _Post(receiver, config, self._clock, (self._hook, self._inbox), before)
            for receiver in config.notifications
        ]
        for post in self._posts:
            if post not in same.values():
                post.start()
        self._write_for(config)

    def _write_for(self, config: Config) -> None:
        before = self._teller
        if not before.is_alive():  # a thread cannot be started twice
            self._teller = Teller(self._inbox, self._clock, self._is_idle)
        self._teller.config, self._teller.told = config, self._wake_posts
        if self._teller is before:
            self._teller.news.set()
        else:
            self._teller.start()

    def wake(self) -> None:
        """Look for something to tell now."""
        self._teller.news.set()

    def _wake_posts(self) -> None:
        for post in self._posts:
            post.news.set()

    def stop(self) -> None:
        """Let the threads end after what they are at: the state keeps what is not done."""
        self._teller.end()
        for post in self._posts:
            post.end()

    def wait(self) -> None:
        """Wait for what is being delivered, so that it is not delivered again: as long as the stop allows."""
        for thread in (self._teller, *self._former, *self._posts):
            if thread.is_alive():
                # What is killed when the budget of children is spent has yet to be reaped.
                thread.join(min(self._hook.stop.patience() + 1, _LONGEST_WAIT))


class _Post(Thread):
    def __init__(
        self,
        receiver: Receiver,
        config: Config,
        clock: Callable[[], datetime],
        daemon: tuple[Hook, Inbox],
        before: Sequence[_Post],
    ) -> None:
        super().__init__(name=f"notify {receiver.name}", daemon=True)
        self.receiver, self._config, self._clock = receiver, config, clock
        self._hook, self._inbox = daemon
        self._before = before
        self._ended = Event()
        self._sent = self._inbox.sent(receiver.name)
        self._warning = _Warning(receiver, config.instance)
        self.news = Event()

    def is_for(self, config: Config) -> bool:
        """Return whether it does what ``config`` says."""
        is_at_work = self.is_alive() and not self._ended.is_set()
        return self.receiver in config.notifications and self._config.state == config.state and is_at_work

    def end(self) -> None:
        """Let it end after what it is at."""
        self._ended.set()
        self.news.set()

    def run(self) -> None:
        for post in self._before:  # which may be at the message that this one would begin with
            post.join()
        while not self._ended.is_set():
            self.news.clear()
            self._look()
            if not self._ended.is_set():  # which may have come just before the news were cleared
                self.news.wait(_LOOK_EVERY)
        self._inbox.complain(self.name, "", self._clock())

    def _look(self) -> None:
        try:
            with bounded(self.name), open_configured_state(self._config) as state:
                while not self._ended.is_set() and self._deliver(state):
                    pass
        except ImagesyncError as error:
            self._inbox.complain(self.name, error, self._clock())
        else:
            self._inbox.complain(self.name, "", self._clock())
        self._warning.look(self._inbox.alarm, self._clock(), self._hook)

    def _deliver(self, state: Repository) -> bool:
        """Deliver one message and return whether there may be another."""
        message = state.next_message(self.receiver.name, self._clock(), LAST_RETRY)
        if message is None:
            return False
        try:
            if message.number not in self._sent:  # else it could not be dropped: the disk is full, say
                send(self.receiver, message.content, self._hook)
        except DeliveryError as error:
            self._put_off(state, message, error)
        else:
            self._sent.add(message.number)
            state.drop_message(message.number)
            self._sent.remove(message.number)  # which another message may get
        return True

    def _put_off(self, state: Repository, message: MessageRecord, error: DeliveryError) -> None:
        now = self._clock()
        if now - message.created > GIVE_UP:
            log.error("notification given up", receiver=self.receiver.name, message=dict(message.content))
            state.drop_message(message.number)
            return
        until = now + min(FIRST_RETRY * 2 ** min(message.attempts, 20), LAST_RETRY)
        facts = {"receiver": self.receiver.name, "reason": str(error), "next": str(until)}
        log.warning("notification not delivered", **facts, exc_info=origin(error))
        state.postpone_message(message.number, until)


class _Warning:
    """What is told past the outbox: that the state, which the outbox is in, cannot be used; and that it can again."""

    def __init__(self, receiver: Receiver, instance: str) -> None:
        self._receiver, self._instance = receiver, instance
        self._told = ""
        self._attempts = 0
        self._due = 0.0

    def look(self, why: str, now: datetime, hook: Hook) -> None:
        """Tell the receiver, unless it knows."""
        if bool(why) == bool(self._told) or time.monotonic() < self._due:
            return
        kind = EventKind.FAILURE if why else EventKind.RECOVERY
        text = f"the state cannot be used: {why}" if why else f"good again: the state cannot be used: {self._told}"
        if str(kind) in self._receiver.events and not self._receiver.vmcatcher:
            event = events.Event(kind, timestamp(now), text)
            message = {"instance": self._instance, "run": "", "events": [event.as_json()]}
            try:
                send(self._receiver, message, hook)
            except DeliveryError as error:
                self._put_off(error)
                return
        self._told, self._attempts, self._due = why, 0, 0.0

    def _put_off(self, error: DeliveryError) -> None:
        wait = min(FIRST_RETRY * 2 ** min(self._attempts, 20), LAST_RETRY).total_seconds()
        self._attempts, self._due = self._attempts + 1, time.monotonic() + wait
        facts = {"receiver": self._receiver.name, "reason": str(error)}
        log.warning("notification not delivered", **facts, exc_info=origin(error))
