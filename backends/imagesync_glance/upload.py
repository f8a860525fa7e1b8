"""Storing an image: created hidden with all its properties, sent with its length, and compared with what arrived.

The digest is not computed again while sending: what Glance computed of the bytes that it stored is compared with the
digest that the image must have, and that proves more. Where Glance hashes by another algorithm, the file is read once
more for it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from imagesync.backend import ImageSpec, OwnedImage, Progress, State
from imagesync.errors import BackendConflictError, BackendError, BackendRefusedError, StoredDigestError
from imagesync_glance.body import Body, check_size, hash_file
from imagesync_glance.catalogue import candidates
from imagesync_glance.faults import AnswerError, translated
from imagesync_glance.note import begin
from imagesync_glance.record import WRITING, Image, Record, Terms, creation, described, moment, read, unchanged
from imagesync_glance.service import Service
from imagesync_glance.writer import is_gone, this_process

LOG = logging.getLogger(__name__)

SLOWEST = 5_000_000
"""Bytes a second. Who sends slower may be taken for dead, or outlive its token."""

_PATIENCE = timedelta(hours=1)
"""How long an upload of another host may show no sign of life, beside what its size takes."""

_LARGEST = 1 << 40
"""Bytes for which another host is waited for at most."""

_RANK = {State.PUBLISHED: 0, State.RETIRED: 1, State.STAGED: 2}

Send = Callable[[Service, Image, Body], None]
"""Brings the bytes to a queued image and returns when Glance has them."""


def store(
    service: Service, mark: str, terms: Terms, spec: ImageSpec, content: tuple[Path, Progress, Send]
) -> OwnedImage:
    """Return the record that holds ``spec``, uploading it if there is none yet.

    Raises:
        BackendError: see ``imagesync.backend.Backend.upload``.
    """
    data, progress, send = content
    found = list(candidates(service, mark, spec))
    right = [record for record in found if (record.digest, record.format) == (spec.digest, spec.format)]
    if right:
        return _refreshed(service, min(right, key=lambda record: (_RANK[record.state], record.id)), spec, terms)
    check_size(data, spec.size)
    for leftover in found:
        # Glance cannot resume, and what got a 415 takes no more bytes. What was published stays for the caller.
        # Nor does what somebody protected stop us: a second record is better than no image.
        if leftover.state in {State.PARTIAL, State.STAGED} and not leftover.image.get("protected"):
            check_idle(leftover, service)
            discard(service, leftover.id)
    created = service.create(creation(spec, begin(spec, this_process()), mark))
    try:
        send(service, created, Body(data, spec.size, progress))
        record = _verified(service, created["id"], mark, spec, data)
        check_proven(record, terms, spec.metadata.name)
    except BaseException:
        # Short, and whatever it raises: what cannot be removed now is listed as partial, and removed later.
        _abandon(service, created["id"])
        raise
    return record.owned(terms)


def send_directly(service: Service, image: Image, body: Body, stall_timeout: float) -> None:
    """Send the bytes in one request."""
    service.login.renew(60 + len(body) / SLOWEST)
    service.send(f"/v2/images/{image['id']}/file", body, (stall_timeout, answer_timeout(stall_timeout, len(body))))


def answer_timeout(stall_timeout: float, size: int) -> float:
    """Return for how many seconds Glance may be silent after the last of ``size`` bytes: its store may be slow."""
    return stall_timeout + size / (10 * SLOWEST)


def discard(service: Service, image: str) -> None:
    """Delete an image; what is absent is success."""
    try:
        service.images.delete(image)
    except AnswerError as answer:
        if answer.status != 404:
            raise


def check_proven(record: Record, terms: Terms, subject: str) -> None:
    """Return if Glance itself attests the bytes of a record: where others can edit it, our note on it proves nothing.

    Raises:
        BackendRefusedError: Glance hashes by another algorithm than SHA-512, in a VO's own project.
    """
    if terms.is_editable and record.is_otherwise_hashed:
        algorithm = record.image["os_hash_algo"]
        detail = f"Glance hashes by {algorithm}, so in a VO's own project nothing proves which SHA-512 the bytes have"
        hint = "set hashing_algorithm = sha512 in glance-api.conf and delete what is there, or use ownership: shared"
        raise BackendRefusedError(subject, detail, hint)


def check_idle(record: Record, service: Service) -> None:
    """Return if nobody is sending the bytes of an incomplete record.

    Raises:
        BackendConflictError: a process on another host may be.
    """
    if record.image["status"] not in WRITING or record.note.writer == this_process() or is_gone(record.note.writer):
        return
    # Of what members of the project can write only a little is believed: it must not stop us for good.
    limit = _PATIENCE + timedelta(seconds=min(record.note.size, _LARGEST) / SLOWEST)
    since = moment(record.image["created_at"])
    now = service.now()
    if now is not None and now - since > limit:
        return
    detail = f"another process is uploading it since {since:%Y-%m-%d %H:%M:%S} UTC"
    raise BackendConflictError(f"image {record.id}", detail, f"if it is dead, it is removed after {limit}")


def _refreshed(service: Service, record: Record, spec: ImageSpec, terms: Terms) -> OwnedImage:
    """Return a staged record with the metadata of now; it may have been staged for an older version of its list."""
    if record.state is not State.STAGED:
        return record.owned(terms)
    patch = described(record, spec.metadata, terms).patch(record.image)
    image = service.change(record.id, patch) if patch else record.image
    return _reread(image, record).owned(terms)


def _reread(image: Image, record: Record) -> Record:
    """Return the record that ``image`` is now."""
    mark = next(iter(image["tags"]), "")
    return read(image, record.owner, mark) or record


def _abandon(service: Service, image: str) -> None:
    with suppress(BackendError), translated(f"image {image}"):
        service.discard(image)


# --- what arrived -----------------------------------------------------------------------------------------------------
def _verified(service: Service, image: str, mark: str, spec: ImageSpec, data: Path) -> Record:
    """Return the record of the complete image.

    Raises:
        StoredDigestError: it does not hold what ``spec`` says.
    """
    stored = service.read(image)
    record = read(stored, service.login.project, mark) if stored is not None else None
    if stored is None or record is None:
        raise BackendConflictError(spec.metadata.name, "somebody removed it while it was uploaded", "it is repeated")
    if stored["status"] != "active":
        detail = f"Glance has it as {stored['status']} after its bytes were sent"
        raise BackendConflictError(spec.metadata.name, detail, "the upload is repeated")
    if stored.get("size") != spec.size:
        detail = f"{stored.get('size')} of {spec.size} bytes were stored"
        raise StoredDigestError(spec.metadata.name, detail, "the upload is repeated")
    if stored.get("os_hash_algo") == "sha512":
        _compare(spec, "sha512", stored.get("os_hash_value"), spec.digest)
        return record
    return _verified_otherwise(service, record, spec, data)


def _verified_otherwise(service: Service, record: Record, spec: ImageSpec, data: Path) -> Record:
    """Return the record of an image that Glance hashed by another algorithm, with the hash in its note."""
    service.uses_sha512 = False
    algorithm, value = str(record.image.get("os_hash_algo")), record.image.get("os_hash_value")
    if algorithm not in hashlib.algorithms_available:
        raise StoredDigestError(spec.metadata.name, f"Glance hashes with {algorithm}, which is not known here")
    hashes = hash_file(data, "sha512", algorithm)
    _compare(spec, "sha512", hashes["sha512"], spec.digest)
    _compare(spec, algorithm, value, hashes[algorithm])
    draft = unchanged(record).with_stored(f"{algorithm}:{value}")
    return _reread(service.change(record.id, draft.patch(record.image)), record)


def _compare(spec: ImageSpec, algorithm: str, stored: object, expected: str) -> None:
    if stored != expected:
        detail = f"{algorithm} of the stored bytes is {str(stored)[:16]}…, not {expected[:16]}…"
        raise StoredDigestError(spec.metadata.name, detail, "it was removed again; the upload is repeated")
