"""A situation as values for JSON: ``/api/v1/status`` and ``imagesync status --from-state``. Pure.

Lists and images have the keys that ``imagesync status --json`` gives them, and more.
"""

from __future__ import annotations

from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from imagesync.plan.spec import timestamp
from imagesync.run.findings import Finding, findings, level
from imagesync.run.pausing import as_json
from imagesync.run.report import notice_as_json
from imagesync.run.settings import Scope
from imagesync.run.situation import ImageStanding, ListStanding, Situation, TargetStanding

MOST = 2000
"""Characters of a stranger's text. What is longer is cut; ``ref`` stays."""


def outline(now: Situation) -> dict[str, Any]:
    """Return everything about a situation."""
    found = findings(now)
    return {
        "at": timestamp(now.at),
        "level": level(found),
        "findings": [_finding(one) for one in found],
        "lists": [_list(one) for one in now.lists],
        "targets": [_target(one) for one in now.targets],
    }


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "level": str(one.level),
        "matter": one.matter,
        "subject": one.subject,
        "key": cut(str(one.image.record.key)) if one.image else None,
        "title": cut(one.image.record.title) if one.image else None,
        "text": cut(one.text),
        "since": _when(one.since),
        "next": one.next,
    }


def _list(one: ListStanding) -> dict[str, Any]:
    accepted, last = one.accepted, one.last
    return {
        "name": one.name,
        "vo": one.followed.vo,
        "url": one.followed.url,
        "enabled": one.followed.enabled,
        "followed": one.followed.enabled and one.pause is None,
        "paused": as_json(one.pause),
        "verdict": one.verdict,
        "reason": one.word.reason if one.word else "",
        "hint": one.word.hint if one.word else "",
        "warnings": list(one.word.warnings) if one.word else [],
        "notices": [notice_as_json(notice) for notice in one.notices],
        "since": _when(one.since),
        "identifier": cut(accepted.list) if accepted else None,
        "version": cut(accepted.version) if accepted and accepted.version else None,
        "signer": _signer(one),
        "created": _when(accepted.created) if accepted else None,
        "expires": _when(accepted.expires) if accepted else None,
        "verified": _when(accepted.accepted_at) if accepted else None,
        "images": len(accepted.expiries) if accepted else 0,
        "last_pass": {"ended": timestamp(last.ended), "exit": last.code, "failures": last.failures} if last else None,
        "next": _when(one.next),
    }


def _signer(one: ListStanding) -> dict[str, str] | None:
    if one.accepted is None:
        return None
    signer = one.accepted.signer
    names = {"dn": cut(signer.identity.dn), "ca": cut(signer.identity.ca)}
    return names | {"not_after": timestamp(signer.not_after), "sha256": signer.sha256}


def _target(one: TargetStanding) -> dict[str, Any]:
    return {
        "name": one.name,
        "backend": one.kept.backend,
        "error": one.error or None,
        "since": _when(one.since) if one.error else None,
        "paused": as_json(one.pause),
        "notices": list(one.word.notices) if one.word else [],
        "counts": dict(sorted(one.counts.items())),
        "images": [_image(image) for image in one.images],
    }


def _image(image: ImageStanding) -> dict[str, Any]:
    record = image.record
    return {
        "ref": image.ref,
        "key": cut(str(record.key)),
        "title": cut(record.title),
        "state": record.state,
        "reason": cut(record.reason),
        "since": timestamp(record.since),
        "digest": record.digest,
        "format": record.format,
        "vo": image.vo,
        "signer": cut(image.signer),
        "list": image.subscription or None,
        "failures": record.failures,
        "retry_at": _when(record.retry_at),
        "boot": image.boot or None,
    }


def chosen(whole: dict[str, Any], scope: Scope) -> dict[str, Any]:
    """Return the part of an outline that a run with this scope would be about."""
    lists = [one for one in whole["lists"] if not scope.lists or one["name"] in scope.lists]
    targets = [
        one | {"images": [image for image in one["images"] if _is_meant(image, scope)]}
        for one in whole["targets"]
        if not scope.targets or one["name"] in scope.targets
    ]
    names = {one["name"] for one in (*lists, *targets)}
    keys = {image["key"] for one in targets for image in one["images"]}
    found = [
        one
        for one in whole["findings"]
        if (not one["subject"] or one["subject"] in names) and (one["key"] is None or one["key"] in keys)
    ]
    return whole | {"findings": found, "lists": lists, "targets": targets}


def _is_meant(image: dict[str, Any], scope: Scope) -> bool:
    names = (image["key"].rpartition("/")[2].lower(), image["title"].lower())
    listed = not scope.lists or image["list"] in scope.lists
    named = any(fnmatchcase(name, glob.lower()) for name in names for glob in scope.images)
    return listed and (named or not scope.images)


def cut(text: str) -> str:
    """Return ``text``, cut if it is very long. What JSON cannot say is replaced."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= MOST else f"{text[: MOST - 1]}…"


def _when(at: datetime | None) -> str | None:
    return timestamp(at) if at else None
