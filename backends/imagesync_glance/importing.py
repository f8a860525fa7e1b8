"""The other way to bring bytes to Glance: staged, then imported by a task of its own (``glance-direct``)."""

from __future__ import annotations

from typing import Any

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_exponential

from imagesync.backend import Notice
from imagesync.errors import BackendConflictError, BackendRefusedError, BackendUnavailableError
from imagesync_glance.body import Body
from imagesync_glance.faults import AnswerError
from imagesync_glance.record import Image
from imagesync_glance.service import Service
from imagesync_glance.upload import SLOWEST, answer_timeout, send_directly

METHOD = "glance-direct"

_PATIENCE = 600.0
"""Seconds that an import may take beside what its size takes: its task may wait for others."""


def send_by_import(service: Service, image: Image, body: Body, stall_timeout: float, notice: Notice) -> None:
    """Stage the bytes and return when Glance has imported them; send them directly where it offers no import.

    ``notice`` is told of the latter.

    Raises:
        BackendRefusedError: the import failed.
        BackendConflictError: the image is gone.
        BackendUnavailableError: it takes too long.
    """
    identifier, size = str(image["id"]), len(body)
    if METHOD not in _offered(service):
        notice(f"this Glance offers no {METHOD}: images are uploaded directly, as upload_method: upload does")
        send_directly(service, image, body, stall_timeout)
        return
    service.login.renew(_PATIENCE + size / SLOWEST)
    service.send(f"/v2/images/{identifier}/stage", body, (stall_timeout, answer_timeout(stall_timeout, size)))
    service.images.image_import(identifier, METHOD)
    _wait(service, identifier, _PATIENCE + size / SLOWEST)


def _offered(service: Service) -> list[str]:
    methods: list[str] = service.images.get_import_info()["import-methods"]["value"]
    return methods


def _wait(service: Service, image: str, limit: float) -> None:
    polling = Retrying(
        stop=stop_after_delay(limit),
        wait=wait_exponential(multiplier=0.2, max=5.0),
        retry=retry_if_result(lambda done: not done),
    )
    try:
        polling(_is_imported, service, image)
    except RetryError:
        detail = f"the import is not done after {limit:.0f} seconds"
        raise BackendUnavailableError(f"image {image}", detail, "see whether Glance's tasks run") from None


def _is_imported(service: Service, image: str) -> bool:
    """Return whether the import is done. Of a failed one the image's status tells nothing: it may stay for ever."""
    found = service.read(image)
    if found is None:
        raise BackendConflictError(f"image {image}", "somebody removed it during its import", "it is repeated")
    if found["status"] == "active":
        return True
    failed = [task for task in _tasks(service, image) if task.get("status") == "failure"]
    if failed or found.get("os_glance_failed_import"):
        reason = next((str(task["message"]) for task in failed if task.get("message")), "no reason given")
        hint = "Glance's log has the reason; with upload_method: upload it would be in the answer"
        raise BackendRefusedError(f"image {image}", f"Glance's import failed: {reason}", hint)
    return False


def _tasks(service: Service, image: str) -> list[dict[str, Any]]:
    try:
        tasks: list[dict[str, Any]] = service.get(f"/v2/images/{image}/tasks")[1]["tasks"]
    except AnswerError as answer:
        if answer.status == 404:  # before version 2.12 of the Image API
            return []
        raise
    return tasks
