"""Asking again: bounded in attempts and in time, and never sooner than a service asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
)
from tenacity.wait import wait_base

from imagesync_glance.faults import UNUSABLE, AnswerError, summary

LOG = logging.getLogger(__name__)

T = TypeVar("T")

NOT_DONE = frozenset({429, 503})
"""Statuses that say that nothing was done: even what must not be done twice can be asked again."""

TRANSIENT = NOT_DONE | {UNUSABLE, 500, 502, 504}
"""Statuses after which a request can be repeated that may be done twice."""

LONGEST_WAIT = 60.0
"""Seconds between two attempts. A service that asks for more is left to a later pass."""

_ATTEMPTS = 4
_BACKOFF = 0.5
_LONGEST = 180.0


class Patience:
    """Repeats requests to a service that fails now and then, and no longer to one that is down.

    Once it has failed in every attempt, each request is sent once only until it answers again: a pass over a thousand
    images must not wait for each of them.
    """

    def __init__(self, backoff: float = _BACKOFF) -> None:
        """Begin with patience. ``backoff`` is the first wait in seconds; the next ones are longer."""
        self._attempts = _ATTEMPTS
        self._backoff = backoff

    def ask(self, call: Callable[[], T], statuses: frozenset[int] = TRANSIENT) -> T:
        """Return what ``call`` returns; as ``repeated``."""
        attempts, self._attempts = self._attempts, 1
        try:
            result = repeated(call, statuses, attempts, self._backoff)
        except AnswerError as answer:
            self._attempts = 1 if answer.status in statuses else _ATTEMPTS
            raise
        self._attempts = _ATTEMPTS
        return result


def repeated(
    call: Callable[[], T],
    statuses: frozenset[int] = TRANSIENT,
    attempts: int = _ATTEMPTS,
    backoff: float = _BACKOFF,
) -> T:
    """Return what ``call`` returns, repeating it after one of ``statuses``.

    A connection that fails is tried again only where a request may be done twice.
    """
    retrying = Retrying(
        stop=stop_after_attempt(attempts) | stop_after_delay(_LONGEST),
        wait=_Wait(backoff),
        retry=retry_if_exception(lambda error: _is_passing(error, statuses)),
        before_sleep=_log,
        reraise=True,
    )
    return retrying(call)


def _is_passing(error: BaseException, statuses: frozenset[int]) -> bool:
    """Return whether asking again soon can help."""
    from keystoneauth1.exceptions import HttpError, RetriableConnectionFailure, UnknownConnectionError

    match error:
        case AnswerError(status=status, retry_after=wait):
            return status in statuses and (wait or 0.0) <= LONGEST_WAIT
        case HttpError():
            return error.http_status in statuses
        case RetriableConnectionFailure() | UnknownConnectionError():
            return statuses >= TRANSIENT
        case _:
            return False


class _Wait(wait_base):
    """Exponential back-off, but at least what the service asked for."""

    def __init__(self, backoff: float) -> None:
        self._backoff = wait_exponential(multiplier=backoff, max=LONGEST_WAIT)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = error.retry_after if isinstance(error, AnswerError) else None
        return max(self._backoff(retry_state), asked or 0.0)


def _log(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    LOG.info("attempt %d failed, next in %.1f s: %s", state.attempt_number, state.upcoming_sleep, summary(error))
