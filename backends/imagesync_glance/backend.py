"""The port on OpenStack Glance."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from imagesync.backend import (
    Backend,
    Capabilities,
    Context,
    ImageSpec,
    Metadata,
    OwnedImage,
    Progress,
    Retirement,
    State,
)
from imagesync.errors import BackendConflictError, BackendRefusedError, ForeignToolError
from imagesync_glance.catalogue import Listing, survey
from imagesync_glance.faults import AnswerError, translated
from imagesync_glance.fit import fit_metadata
from imagesync_glance.importing import METHOD, send_by_import
from imagesync_glance.projects import Projects
from imagesync_glance.record import DISK_FORMATS, Draft, Image, Record, described, published, read, retired
from imagesync_glance.service import Service
from imagesync_glance.session import Cloud
from imagesync_glance.settings import Settings, Sharing, read_settings
from imagesync_glance.sharing import REVOKED, share
from imagesync_glance.upload import Send, check_idle, discard, send_directly, store
from imagesync_glance.usage import check_unused

LOG = logging.getLogger(__name__)

_OLDEST = (2, 7)
"""The version of the Image API that can hide images and gives their hashes."""


def open_backend(settings: Mapping[str, object], context: Context) -> GlanceTarget:
    """Return a Glance target that is opened by entering it.

    Raises:
        ConfigError: with every problem of the settings.
    """
    return GlanceTarget(read_settings(settings, context.target), context)


class GlanceTarget:
    """A checked target. Entering logs in and looks whether Glance is what we need; nothing is written."""

    def __init__(self, settings: Settings, context: Context) -> None:
        """Do no I/O."""
        self._settings = settings
        self._context = context
        self._cloud = Cloud(settings)

    def __enter__(self) -> Backend:
        """Return the opened target.

        Raises:
            BackendRefusedError: no project can be used, and why.
            BackendUnavailableError: Keystone or Glance does not answer.
        """
        projects = Projects(self._cloud, self._settings)
        with translated(f"target {self._context.target}"):
            self._check(projects)
        return GlanceBackend(projects, self._settings, self._context)

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._cloud.close()

    def _check(self, projects: Projects) -> None:
        problems = []
        for project in self._settings.homes:
            try:
                return _check_version(projects.service(project))
            except BackendRefusedError as error:
                problems.append(str(error))
        raise BackendRefusedError(f"target {self._context.target}", "; ".join(problems))


def _check_version(service: Service) -> None:
    found = (re.fullmatch(r"v([0-9]+)\.([0-9]+)", name) for name in service.versions())
    newest = max(((int(version[1]), int(version[2])) for version in found if version), default=(0, 0))
    if newest < _OLDEST:
        wanted = ".".join(map(str, _OLDEST))
        detail = f"version {'.'.join(map(str, newest))} of the Image API is too old"
        raise BackendRefusedError(service.login.image, detail, f"{wanted} (OpenStack Rocky) is needed")


class GlanceBackend:
    """The opened target. See ``imagesync.backend.Backend`` for what each method promises."""

    def __init__(self, projects: Projects, settings: Settings, context: Context) -> None:
        """Act on the images that carry the tag of the context's instance."""
        self._projects = projects
        self._settings = settings
        self._target = context.target
        self._mark = f"imagesync:{context.instance}"
        self._listings: dict[str, Listing] = {}

    def capabilities(self) -> Capabilities:
        """Return what Glance takes. In a VO's own project its members can write on our records."""
        return Capabilities(frozenset(DISK_FORMATS), editable=self._settings.sharing is Sharing.PER_PROJECT)

    def fit(self, metadata: Metadata) -> Metadata:
        """Return what Glance can hold of ``metadata``."""
        return fit_metadata(metadata)

    def owners(self, vo: str) -> Sequence[str]:
        """Return the ids of the projects that own the images of ``vo``.

        Raises:
            BackendRefusedError: the VO has no project here, or one that cannot be used.
            ForeignToolError: another tool keeps images in one of them.
        """
        with translated(f"VO {vo}"):
            owners = self._projects.owners(vo)
            for owner in owners:
                self._check_alone(owner)
        return owners

    def owned(self) -> Sequence[OwnedImage]:
        """Return our records, ordered by key: two listings for each project that owns images."""
        images: list[OwnedImage] = []
        with translated(f"target {self._target}"):
            terms = self._projects.terms()
            for service in self._projects.homes():
                listing = self._listings[service.login.project] = survey(service, self._mark)
                images += (record.owned(terms) for record in listing.records)
        return tuple(sorted(images, key=lambda image: (image.key, image.created_at, image.ref)))

    def upload(self, spec: ImageSpec, data: Path, progress: Progress) -> OwnedImage:
        """Store ``data`` as a hidden image, unless one is there that has these bytes."""
        with translated(spec.metadata.name):
            service = self._projects.home(spec.key.owner)
            if service is None:
                raise BackendRefusedError(spec.metadata.name, f"project {spec.key.owner} is none of this target")
            self._warn_of_namesake(spec)
            terms = self._projects.terms()
            return store(service, self._mark, terms, spec, (data, progress, self._send()))

    def publish(self, ref: str) -> None:
        """Share the image with its members, and only then show it."""
        with translated(_subject(ref)):
            service, record = self._find(ref)
            match record.state:
                case State.PARTIAL:
                    raise BackendConflictError(_subject(ref), "its bytes are not all there", "it is uploaded again")
                case State.PUBLISHED:
                    return
                case State.RETIRED:
                    service.images.reactivate(record.id)
            self._write(service, record, published(record, self._projects.terms()))

    def update(self, ref: str, metadata: Metadata) -> None:
        """Write what differs, and put right what others changed."""
        with translated(_subject(ref)):
            service, record = self._find(ref)
            self._write(service, record, described(record, metadata, self._projects.terms()))

    def retire(self, ref: str, retirement: Retirement) -> None:
        """Deactivate the image. It stays listed and shared: accounting finds the images of running servers so."""
        with translated(_subject(ref)):
            service, record = self._find(ref)
            if record.state in {State.PARTIAL, State.STAGED}:
                raise BackendConflictError(_subject(ref), "it was never published", "it is deleted instead")
            if record.state is State.RETIRED:
                return
            # In this order: what is only labelled is still published, and retired again in the next pass.
            try:
                self._write(service, record, retired(record, retirement, self._projects.terms()), retirement.reason)
            except AnswerError as answer:
                if answer.status == 413:
                    # What others wrote on it leaves no room for ours. Better without a reason than still on offer.
                    service.images.deactivate(record.id)
                raise
            service.images.deactivate(record.id)

    def delete(self, ref: str) -> None:
        """Delete the image, unless it is protected, or a server or another process uses it."""
        with translated(_subject(ref)):
            found = self._look(ref)
            if found is None:
                return
            service, record = found
            if record.image.get("protected"):
                hint = "remove the protection to have it deleted"
                raise BackendConflictError(_subject(ref), "the image is protected", hint)
            if record.state is State.PARTIAL:
                check_idle(record, service)
            elif record.state is not State.STAGED and self._settings.in_use == "nova":
                check_unused(service.login, record.id, is_private=record.image.get("visibility") == "private")
            discard(service, record.id)

    # --- small steps --------------------------------------------------------------------------------------------------
    def _check_alone(self, owner: str) -> None:
        """Return if no other tool keeps images in a project: each would delete the other's."""
        service = self._projects.home(owner)
        if self._settings.coexist or service is None:
            return
        if owner not in self._listings:
            self._listings[owner] = survey(service, self._mark)
        foreign = self._listings[owner].foreign
        if foreign is not None:
            detail = f"{foreign.tool} keeps images there, such as {foreign.example}"
            hint = "stop that tool and remove its images, or write coexist: true"
            raise ForeignToolError(f"project {owner}", detail, hint)

    def _warn_of_namesake(self, spec: ImageSpec) -> None:
        listing = self._listings.get(spec.key.owner)
        other = listing.names.get(spec.metadata.name) if listing else None
        if other is not None:
            LOG.warning("image %s of others is named %r too: users must choose by id", other, spec.metadata.name)

    def _look(self, ref: str) -> tuple[Service, Record] | None:
        """Return our record as it is now, and Glance as its project sees it."""
        project, _, image = ref.partition("/")
        service = self._projects.home(project)
        found = service.read(image) if service is not None and image else None
        record = read(found, project, self._mark) if found is not None else None
        return None if service is None or record is None else (service, record)

    def _find(self, ref: str) -> tuple[Service, Record]:
        found = self._look(ref)
        if found is None:
            raise BackendConflictError(_subject(ref), "there is no such record of ours", "somebody removed it")
        return found

    def _write(self, service: Service, record: Record, draft: Draft, reason: str = "") -> None:
        """Make a record what ``draft`` says. Members come before what shows it to them; one patch does the rest."""
        image = record.image
        expected = self._projects.terms().members_of({**record.image, **draft.values})
        if self._settings.sharing is Sharing.SHARED and expected is not None and not draft.values.get("os_hidden"):
            image = self._opened(service, image)
            wanted = frozenset[str]() if reason == REVOKED else expected
            if draft.note.retired is not None:  # nobody new, but those stay who find the images of their servers by it
                wanted &= record.note.members.keys()
            draft = draft.with_members(share(service, record.id, wanted, self._projects))
        _patch(service, image, draft)

    def _opened(self, service: Service, image: Image) -> Image:
        """Return an image that can have members. Hidden or not, nobody but they and its owner sees it."""
        if image["visibility"] == "shared":
            return image
        return service.change(image["id"], [{"op": "replace", "path": "/visibility", "value": "shared"}])

    def _send(self) -> Send:
        send = send_by_import if self._settings.upload_method == METHOD else send_directly
        return partial(send, stall_timeout=self._settings.stall_timeout)


def _subject(ref: str) -> str:
    return f"image {ref.partition('/')[2] or ref}"


def _patch(service: Service, image: Image, draft: Draft) -> None:
    """Write what differs. If the image changed since it was read, what differs then."""
    try:
        if patch := draft.patch(image):
            service.change(image["id"], patch)
    except AnswerError as answer:
        if answer.status != 409:
            raise
        fresh = service.read(image["id"])
        if fresh is None:
            raise
        if patch := draft.patch(fresh):
            service.change(image["id"], patch)
