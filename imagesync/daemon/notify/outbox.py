"""Delivering what is in the outbox: one thread per receiver, so that a slow one delays no other and no pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from threading import Event, Thread

import structlog

from imagesync.config.notifications import Receiver
from imagesync.config.schema import Config
from imagesync.daemon.notify.receivers import Hook, send
from imagesync.daemon.stop import Stop
from imagesync.errors import DeliveryError, ImagesyncError
from imagesync.run.wiring import open_configured_state
from imagesync.state import MessageRecord
from imagesync.state.repository import Repository

log = structlog.get_logger(__name__)

FIRST_RETRY = timedelta(seconds=30)
LAST_RETRY = timedelta(hours=1)
GIVE_UP = timedelta(days=3)
"""A message that could not be delivered for this long is dropped, with a line in the log that has all of it."""

_LOOK_EVERY = 10.0
_LONGEST_WAIT = 60.0


class Outbox:
    """The threads that deliver. ``wake`` them when there is something new."""

    def __init__(self, clock: Callable[[], datetime], environment: Mapping[str, str], stop: Stop) -> None:
        """Deliver by this clock; commands get this environment, and end with the daemon's ``stop``."""
        self._clock, self._hook = clock, Hook(environment, stop)
        self._posts: list[_Post] = []
        self._former: list[_Post] = []

    def arrange(self, config: Config) -> None:
        """Deliver to exactly the receivers of ``config`` from now on. Who is as before goes on undisturbed."""
        same = {post.receiver.name: post for post in self._posts if post.is_for(config)}
        others = [post for post in self._posts if post not in same.values()]
        for post in others:
            post.end()
        self._former = [post for post in (*self._former, *others) if post.is_alive()]
        before = tuple(self._former)
        self._posts = [
            same.get(receiver.name) or _Post(receiver, config, self._clock, self._hook, before)
            for receiver in config.notifications
        ]
        for post in self._posts:
            if post not in same.values():
                post.start()

    def wake(self) -> None:
        """Look for messages now."""
        for post in self._posts:
            post.news.set()

    def stop(self) -> None:
        """Let the threads end after what they are at: the outbox keeps what is not done."""
        for post in self._posts:
            post.end()

    def wait(self) -> None:
        """Wait for what is being delivered, so that it is not delivered again: as long as the stop allows."""
        for post in (*self._former, *self._posts):
            # What is killed when the budget of children is spent has yet to be reaped.
            post.join(min(self._hook.stop.patience() + 1, _LONGEST_WAIT))


class _Post(Thread):
    def __init__(
        self,
        receiver: Receiver,
        config: Config,
        clock: Callable[[], datetime],
        hook: Hook,
        before: Sequence[_Post],
    ) -> None:
        super().__init__(name=f"notify {receiver.name}", daemon=True)
        self.receiver, self._config, self._clock, self._hook = receiver, config, clock, hook
        self._before = before
        self._ended = Event()
        self._sent = 0
        self.news = Event()

    def is_for(self, config: Config) -> bool:
        """Return whether it does what ``config`` says."""
        return self.receiver in config.notifications and self._config.state == config.state and self.is_alive()

    def end(self) -> None:
        """Let it end after what it is at."""
        self._ended.set()
        self.news.set()

    def run(self) -> None:
        for post in self._before:  # which may be at the message that this one would begin with
            post.join()
        while not self._ended.is_set():
            try:
                with open_configured_state(self._config) as state:
                    while not self._ended.is_set() and self._deliver(state):
                        pass
            except ImagesyncError as error:
                log.warning("outbox cannot be read", receiver=self.receiver.name, reason=str(error))
            self.news.wait(_LOOK_EVERY)
            self.news.clear()

    def _deliver(self, state: Repository) -> bool:
        """Deliver one message and return whether there may be another."""
        message = state.next_message(self.receiver.name, self._clock())
        if message is None:
            return False
        if message.number == self._sent:  # and could not be dropped: the disk is full, say
            state.drop_message(message.number)
            return True
        try:
            send(self.receiver, message.content, self._hook)
        except DeliveryError as error:
            self._put_off(state, message, error)
        else:
            self._sent = message.number
            state.drop_message(message.number)
        return True

    def _put_off(self, state: Repository, message: MessageRecord, error: DeliveryError) -> None:
        now = self._clock()
        if now - message.created > GIVE_UP:
            log.error("notification given up", receiver=self.receiver.name, message=dict(message.content))
            state.drop_message(message.number)
            return
        until = now + min(FIRST_RETRY * 2 ** min(message.attempts, 20), LAST_RETRY)
        log.warning("notification not delivered", receiver=self.receiver.name, reason=str(error), next=str(until))
        state.postpone_message(message.number, until)
