"""What the user of a target may not do there, found out without changing anything.

Glance looks at its policy before it looks whether a request makes sense, and says which rule a user fails. So it is
asked for what it never does: to create an image with a checksum of our choice, to deactivate an image without bytes, to
add a member who is one already. ``Service.denied`` collects the rules, from these and from all other answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from imagesync.backend import State
from imagesync_glance.faults import AnswerError
from imagesync_glance.record import Record
from imagesync_glance.service import Service

HINT = "give the user a role that these rules of Glance's policy allow, such as member, or change them"

_PURPOSES = {
    "add_image": "create images",
    "add_member": "share images",
    "communitize_image": "offer images to who knows their id",
    "deactivate": "take images out of offer",
    "delete_image": "delete images",
    "delete_member": "end a share",
    "get_members": "see with whom an image is shared",
    "modify_image": "change images",
    "modify_member": "accept a share",
    "publicize_image": "offer images to everybody",
    "reactivate": "offer retired images again",
    "upload_image": "upload images",
}

_TO_PUBLISH = frozenset(
    {"add_image", "add_member", "communitize_image", "get_members", "modify_image", "publicize_image", "upload_image"}
)


def try_to_create(service: Service, visibility: str) -> None:
    """See whether the user may create images and make them visible so."""
    created = _ask(service, "/v2/images", {"visibility": visibility, "checksum": "0" * 32})
    if isinstance(created, dict) and created.get("id"):  # no Glance known does this
        service.discard(str(created["id"]))


def try_to_retire(service: Service, queued: str) -> None:
    """See whether the user may deactivate and reactivate an image; ``queued`` is one without bytes."""
    for action in ("deactivate", "reactivate"):
        _ask(service, f"/v2/images/{queued}/actions/{action}")


def try_on(service: Service, records: Iterable[Record]) -> None:
    """See what the user may do with records as they are, as far as there are some with which nothing changes."""
    records = tuple(records)
    retired = next((record for record in records if record.state is State.RETIRED), None)
    shared = next(
        (record for record in records if record.image["visibility"] == "shared" and record.note.members), None
    )
    if retired is not None:
        _ask(service, f"/v2/images/{retired.id}/actions/deactivate")
    if shared is not None:
        with suppress(AnswerError):
            listed = service.get(f"/v2/images/{shared.id}/members")[1]["members"]
            for member in listed[:1]:
                _ask(service, f"/v2/images/{shared.id}/members", {"member": str(member["member_id"])})


def missing(denied: Mapping[str, Iterable[str]]) -> str:
    """Return one sentence on the rules that the user fails in each project, empty if there are none."""
    texts = [
        f"in project {project} {', '.join(map(_explained, sorted(rules)))}"
        for project, rules in denied.items()
        if rules
    ]
    return f"the user lacks permissions: {'; '.join(texts)}" if texts else ""


def prevents_offers(denied: Iterable[str]) -> bool:
    """Return whether an image could be uploaded, but never offered."""
    return not _TO_PUBLISH.isdisjoint(denied)


def _explained(rule: str) -> str:
    return f"{rule} ({_PURPOSES[rule]})" if rule in _PURPOSES else rule


def _ask(service: Service, url: str, body: Mapping[str, str] | None = None) -> object:
    with suppress(AnswerError):
        return service.ask_once(url, body)
    return None
