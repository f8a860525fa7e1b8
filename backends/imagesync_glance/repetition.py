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

from imagesync_glance.faults import UNUSABLE, AnswerError

LOG = logging.getLogger(__name__)

T = TypeVar("T")

NOT_DONE = frozenset({429, 503})
"""Statuses that say that nothing was done: even what must not be done twice can be asked again."""

TRANSIENT = NOT_DONE | {UNUSABLE, 500, 502, 504}
"""Statuses after which a request can be repeated that may be done twice."""

LONGEST_WAIT = 60.0
"""Seconds between two attempts. A service that asks for more is left to a later pass."""

_ATTEMPTS = 4
_LONGEST = 180.0


def repeated(call: Callable[[], T], statuses: frozenset[int] = TRANSIENT) -> T:
    """Return what ``call`` returns, repeating it after one of ``statuses``.

    A connection that fails is tried again only where a request may be done twice.
    """
    retrying = Retrying(
        stop=stop_after_attempt(_ATTEMPTS) | stop_after_delay(_LONGEST),
        wait=_Wait(),
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

    def __init__(self) -> None:
        self._backoff = wait_exponential(multiplier=0.5, max=LONGEST_WAIT)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = error.retry_after if isinstance(error, AnswerError) else None
        return max(self._backoff(retry_state), asked or 0.0)


def _log(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    LOG.info("attempt %d failed, next in %.1f s: %s", state.attempt_number, state.upcoming_sleep, error)
