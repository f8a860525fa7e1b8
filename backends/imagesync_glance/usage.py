"""Whether servers use an image. Glance deletes it under them; only Nova knows."""

from __future__ import annotations

import logging

from imagesync.errors import BackendConflictError, BackendUnavailableError
from imagesync_glance.faults import AnswerError, refusal
from imagesync_glance.repetition import repeated
from imagesync_glance.session import Login

LOG = logging.getLogger(__name__)

_HINT = "let an administrator's role do it, or set in_use: ignore"


def check_unused(login: Login, image: str, *, is_private: bool) -> None:
    """Return if no server was started from ``image``.

    A private image can have servers in its own project alone, which every member may list. Of any other, only an
    administrator knows.

    Raises:
        BackendConflictError: one was, or nobody tells us.
    """
    subject = f"image {image}"
    if not login.compute:
        raise BackendConflictError(subject, "no compute service tells whether it is in use", "set in_use: ignore")
    everywhere = _count(login, image, "&all_tenants=1")
    count = _count(login, image, "") if everywhere is None and is_private else everywhere
    if count is None:
        raise BackendConflictError(subject, "the user may not ask Nova whether other projects use it", _HINT)
    if count:
        raise BackendConflictError(subject, "a server was started from it", "it is tried again later")


def sees_all_servers(login: Login) -> bool:
    """Return whether the user may ask Nova for the servers of all projects. Nothing is changed."""
    return _count(login, "", "&all_tenants=1") is not None


def _count(login: Login, image: str, scope: str) -> int | None:
    """Return how many servers are shown, at most one; ``None`` if that may not be asked."""

    def ask() -> int:
        response = login.session.get(
            f"{login.compute}/servers?{f'image={image}&' if image else ''}limit=1{scope}",
            auth=login.auth,
            headers={"Accept": "application/json"},
            raise_exc=False,
        )
        if response.status_code >= 300:
            raise refusal(response)
        return len(response.json()["servers"])

    try:
        return repeated(ask)
    except AnswerError as answer:
        if answer.status == 403:
            return None
        detail = f"Nova answers {answer.status}: {answer.detail}"
        raise BackendUnavailableError(f"image {image}", detail, "it is tried again later") from answer
