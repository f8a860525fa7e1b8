"""Putting off what is heavy to a better time of the day. Pure."""

from __future__ import annotations

from dataclasses import replace

from imagesync.plan.values import Action, Cause, Kind


def put_off(action: Action, why: str) -> Action:
    """Return an upload as waiting, with ``why`` as its reason, or as it is where ``why`` is empty.

    Nothing keeps bytes from being put right that somebody tampered with: that is urgent.
    """
    if not why or action.cause is Cause.TAMPERED:
        return action
    kind = Kind.HOLD if action.superseded else Kind.SKIP
    return replace(action, kind=kind, cause=Cause.WAITING, reason=f"{action.reason}; {why}", superseded=())
