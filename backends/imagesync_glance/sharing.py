"""With whom an image is shared: its members in Glance.

A member can read an image from the moment it is added, whatever the image's owner calls hidden; so members are added
only to what is verified, and those that should not be there go first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from imagesync.errors import BackendError, BackendRefusedError
from imagesync_glance.faults import AnswerError, translated
from imagesync_glance.projects import Projects
from imagesync_glance.service import Service

LOG = logging.getLogger(__name__)


def share(service: Service, image: str, expected: Iterable[str], projects: Projects) -> dict[str, str]:
    """Make ``expected`` the members of a shared image, and return each with its status."""
    wanted = frozenset(expected)
    address = f"/v2/images/{image}/members"
    listed = service.get(address)[1]["members"]
    members = {str(member["member_id"]): str(member["status"]) for member in listed}
    for stale in sorted(members.keys() - wanted):
        _remove(service, f"{address}/{stale}")
    for fresh in sorted(wanted - members.keys()):
        members[fresh] = _add(service, address, fresh)
    return {member: _accept(image, member, members[member], projects) for member in sorted(wanted)}


def _remove(service: Service, address: str) -> None:
    try:
        service.delete(address)
    except AnswerError as answer:
        if answer.status != 404:
            raise


def _add(service: Service, address: str, member: str) -> str:
    try:
        return str(service.post(address, data={"member": member})[1]["status"])
    except AnswerError as answer:
        if answer.status != 409:  # another process added it
            raise
        return "pending"


def _accept(image: str, member: str, status: str, projects: Projects) -> str:
    """Accept a share in the member's name, if we may: its owner cannot. What a member rejected stays so."""
    if status != "pending":
        return status
    try:
        with translated(f"project {member}"):
            projects.member(member).put(f"/v2/images/{image}/members/{member}", data={"status": "accepted"})
    except BackendRefusedError:
        LOG.info("image %s waits until project %s accepts it", image, member)
        projects.notice(f"images wait until project {member} accepts them, or has credentials here (cloud)")
    except BackendError as error:
        LOG.warning("image %s is not accepted for project %s yet: %s", image, member, error)
    else:
        return "accepted"
    return status
