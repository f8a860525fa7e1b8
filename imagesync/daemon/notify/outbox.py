"""Delivering what is in the outbox: one thread per receiver, so that a slow one delays no other and no pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


class Outbox:
    """The threads that deliver. ``wake`` them when there is something new."""

    def __init__(self, clock: Callable[[], datetime], environment: Mapping[str, str], stop: Stop) -> None:
        """Deliver by this clock; commands get this environment, and end with the daemon's ``stop``."""
        self._clock, self._hook = clock, Hook(environment, stop)
        self._stop = Event()
        self._posts: list[_Post] = []
        self._former: list[_Post] = []

    def arrange(self, config: Config) -> None:
        """Deliver to exactly the receivers of ``config`` from now on."""
        self.stop()
        self._former = [post for post in (*self._former, *self._posts) if post.is_alive()]
        self._stop = Event()
        self._posts = [
            _Post(receiver, config, self._clock, self._hook, self._stop) for receiver in config.notifications
        ]
        for post in self._posts:
            post.start()

    def wake(self) -> None:
        """Look for messages now."""
        for post in self._posts:
            post.news.set()

    def stop(self) -> None:
        """Let the threads end after what they are at: the outbox keeps what is not done."""
        self._stop.set()
        self.wake()

    def wait(self) -> None:
        """Wait until no command runs. A server that does not answer is not waited for: it ends with the process."""
        for post in (*self._former, *self._posts):
            if post.runs_commands:
                # What is killed when the budget of children is spent has yet to be reaped.
                post.join(min(self._hook.stop.patience() + 1, _LOOK_EVERY))


class _Post(Thread):
    def __init__(
        self,
        receiver: Receiver,
        config: Config,
        clock: Callable[[], datetime],
        hook: Hook,
        stop: Event,
    ) -> None:
        super().__init__(name=f"notify {receiver.name}", daemon=True)
        self._receiver, self._config, self._clock, self._hook = receiver, config, clock, hook
        self._ended = stop
        self.news = Event()
        self.runs_commands = bool(receiver.command or receiver.vmcatcher)

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                with open_configured_state(self._config) as state:
                    while not self._ended.is_set() and self._deliver(state):
                        pass
            except ImagesyncError as error:
                log.warning("outbox cannot be read", receiver=self._receiver.name, reason=str(error))
            self.news.wait(_LOOK_EVERY)
            self.news.clear()

    def _deliver(self, state: Repository) -> bool:
        """Deliver one message and return whether there may be another."""
        message = state.next_message(self._receiver.name, self._clock())
        if message is None:
            return False
        try:
            send(self._receiver, message.content, self._hook)
        except DeliveryError as error:
            self._put_off(state, message, error)
        else:
            state.drop_message(message.number)
        return True

    def _put_off(self, state: Repository, message: MessageRecord, error: DeliveryError) -> None:
        now = self._clock()
        if now - message.created > GIVE_UP:
            log.error("notification given up", receiver=self._receiver.name, message=dict(message.content))
            state.drop_message(message.number)
            return
        until = now + min(FIRST_RETRY * 2 ** min(message.attempts, 20), LAST_RETRY)
        log.warning("notification not delivered", receiver=self._receiver.name, reason=str(error), next=str(until))
        state.postpone_message(message.number, until)
