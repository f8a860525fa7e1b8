"""The port on OpenStack Glance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from imagesync.backend import (
    RECALLED,
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
from imagesync_glance.body import Body
from imagesync_glance.catalogue import Listing, survey
from imagesync_glance.faults import AnswerError, translated
from imagesync_glance.fit import fit_metadata
from imagesync_glance.importing import METHOD, send_by_import
from imagesync_glance.permissions import HINT, missing, prevents_offers, try_on, try_to_create, try_to_retire
from imagesync_glance.projects import Projects
from imagesync_glance.record import DISK_FORMATS, Draft, Image, Record, Terms, described, published, read, retired
from imagesync_glance.service import Service
from imagesync_glance.session import Cloud
from imagesync_glance.settings import Settings, Sharing, read_settings
from imagesync_glance.sharing import share
from imagesync_glance.upload import check_idle, check_proven, discard, send_directly, store
from imagesync_glance.usage import check_unused, sees_all_servers

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
        self._projects = Projects(self._cloud, settings, context.notice)

    def __enter__(self) -> Backend:
        """Return the opened target.

        Raises:
            BackendRefusedError: no project can be used, and why.
            BackendUnavailableError: Keystone or Glance does not answer.
        """
        with translated(f"target {self._context.target}"):
            self._check()
        return GlanceBackend(self._projects, self._settings, self._context)

    def __exit__(self, *_: object) -> None:
        """Close the connections, after saying in one sentence which permissions were missing."""
        lacking = missing(self._projects.denied())
        if lacking and not self._context.check:  # then ``owned`` said so
            self._context.notice(f"{lacking}: {HINT}")
        self._cloud.close()

    def _check(self) -> None:
        problems = []
        for project in self._settings.homes:
            try:
                return _check_version(self._projects.service(project))
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
        self._context = context
        self._mark = f"imagesync:{context.instance}"
        self._listings: dict[str, Listing] = {}
        self._unlisted: dict[str, BackendRefusedError] = {}
        self._tried: set[str] = set()
        self._tried_to_retire: set[str] = set()

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
                self._check_listing(owner)
        return owners

    def owned(self) -> Sequence[OwnedImage]:
        """Return our records, ordered by key: two listings for each project that owns images, or did.

        A project whose listing is refused is left out like one that cannot be logged in to: ``owners`` refuses its VOs.
        """
        images: list[OwnedImage] = []
        with translated(f"target {self._context.target}"):
            for service in (*self._projects.homes(), *self._projects.former(self._context.former)):
                images += (record.owned(self._terms(record.image)) for record in self._listed(service))
            if self._context.check:
                self._check_permissions()
        if self._unlisted and not self._listings:
            raise next(iter(self._unlisted.values()))
        return tuple(sorted(images, key=lambda image: (image.key, image.created_at, image.ref)))

    def upload(self, spec: ImageSpec, data: Path, progress: Progress) -> OwnedImage:
        """Store ``data`` as a hidden image, unless one is there that has these bytes."""
        with translated(spec.metadata.name):
            service = self._projects.home(spec.key.owner)
            if service is None:
                raise BackendRefusedError(spec.metadata.name, f"project {spec.key.owner} is none of this target")
            self._say_namesake(spec.key.owner, spec.metadata.name)
            self._check_offer(service, spec)
            terms = self._projects.terms()
            return store(service, self._mark, terms, spec, (data, progress, self._send))

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
            self._write(service, record, published(record, self._terms(record.image)))

    def update(self, ref: str, metadata: Metadata) -> None:
        """Write what differs, and put right what others changed."""
        with translated(_subject(ref)):
            service, record = self._find(ref)
            self._write(service, record, described(record, metadata, self._terms(record.image)))

    def retire(self, ref: str, retirement: Retirement) -> None:
        """Deactivate the image. It stays listed and shared: accounting finds the images of running servers so.

        One that is recalled is shared no more, also where it was retired before.
        """
        with translated(_subject(ref)):
            service, record = self._find(ref)
            if record.state in {State.PARTIAL, State.STAGED}:
                raise BackendConflictError(_subject(ref), "it was never published", "it is deleted instead")
            if record.retirement is not None:
                self._retire_again(service, record, record.retirement.followed_by(retirement))
                return
            # In this order: what is only labelled is still published, and retired again in the next pass.
            try:
                self._write(service, record, retired(record, retirement, self._terms(record.image)), retirement.reason)
            except AnswerError as answer:
                if answer.status == 413:
                    # What others wrote on it leaves no room for ours. Better without a reason than still on offer.
                    service.images.deactivate(record.id)
                raise
            service.images.deactivate(record.id)

    def _retire_again(self, service: Service, record: Record, retirement: Retirement) -> None:
        if retirement != record.retirement:
            self._write(service, record, retired(record, retirement, self._terms(record.image)), retirement.reason)

    def delete(self, ref: str) -> None:
        """Delete the image, unless it is on offer or protected, or a server or another process uses it."""
        with translated(_subject(ref)):
            found = self._look(ref)
            if found is None:
                return
            service, record = found
            if record.image.get("protected"):
                hint = "remove the protection to have it deleted"
                raise BackendConflictError(_subject(ref), "the image is protected", hint)
            if record.state is State.PUBLISHED:
                raise BackendConflictError(
                    _subject(ref), "the image is on offer again", "it is looked at in the next pass"
                )
            if record.state is State.PARTIAL:
                check_idle(record, service)
            elif record.state is not State.STAGED and self._settings.in_use == "nova":
                check_unused(service.login, record.id, is_private=record.image.get("visibility") == "private")
            discard(service, record.id)

    # --- small steps --------------------------------------------------------------------------------------------------
    def _listed(self, service: Service) -> Sequence[Record]:
        """Return our records in a project, after keeping its listing, or why it is refused."""
        project = service.login.project
        try:
            with translated(f"project {project}"):
                listing = survey(service, self._mark)
        except BackendRefusedError as error:
            self._listings.pop(project, None)
            self._unlisted[project] = error
            return ()
        self._unlisted.pop(project, None)
        self._listings[project] = listing
        for record in listing.records:
            if record.state is State.PUBLISHED:
                self._say_namesake(project, record.metadata.name)
        return listing.records

    def _check_listing(self, owner: str) -> None:
        """Return if a project's listing can be had and relied on, and no other tool keeps images there."""
        service = self._projects.home(owner)
        if service is not None and owner not in self._listings | self._unlisted:
            self._listed(service)
        if owner in self._unlisted:
            raise self._unlisted[owner]
        if service is not None:
            self._check_alone(owner, self._listings[owner])
            for record in self._listings[owner].records:
                check_proven(record, self._projects.terms(), f"project {owner}: image {record.id}")

    def _check_alone(self, owner: str, listing: Listing) -> None:
        """Return if no other tool keeps images in a project: each would delete the other's."""
        foreign = listing.foreign
        if foreign is not None and not self._settings.coexist:
            detail = f"{foreign.tool} keeps images there, such as {foreign.example}"
            hint = "stop that tool and remove its images, or write coexist: true"
            raise ForeignToolError(f"project {owner}", detail, hint)

    def _check_permissions(self) -> None:
        """Return if the user may do what the settings want, as far as that can be tried out without a change."""
        for service in self._projects.homes():
            self._try(service)
            if service.login.project in self._listings:
                try_on(service, self._listings[service.login.project].records)
            if self._settings.in_use == "nova" and self._settings.sharing is not Sharing.PER_PROJECT:
                self._try_nova(service)
        lacking = missing(self._projects.denied())
        if lacking:
            raise BackendRefusedError(f"target {self._context.target}", lacking, HINT)

    def _check_offer(self, service: Service, spec: ImageSpec) -> None:
        """Return unless it is known already, before a byte is sent, that the image could never be offered."""
        if self._settings.visibility is not None and service.login.project not in self._tried:
            self._try(service)  # else creating it is what tells
        if prevents_offers(service.denied):
            raise BackendRefusedError(spec.metadata.name, missing({service.login.project: service.denied}), HINT)

    def _try(self, service: Service) -> None:
        self._tried.add(service.login.project)
        try_to_create(service, str(self._settings.sharing))

    def _try_nova(self, service: Service) -> None:
        if service.login.compute and not sees_all_servers(service.login):
            self._context.notice(
                f"the user may not ask Nova for the servers of other projects: what project {service.login.project}"
                " shares is retired, but never deleted (in_use: ignore, or a role that Nova allows all_tenants)"
            )

    def _say_namesake(self, owner: str, name: str) -> None:
        listing = self._listings.get(owner)
        other = listing.names.get(name) if listing else None
        if other is not None:
            self._context.notice(
                f"image {other} of others in project {owner} is named {name!r} like one of ours: users who go by the"
                " name get either; rename it, or give ours other names by image_name"
            )

    def _terms(self, image: Image) -> Terms:
        """Return how a record is kept; one in a project that is no longer configured as it is."""
        terms = self._projects.terms()
        return terms.kept(image) if self._projects.is_former(str(image["owner"])) else terms

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
        image, members = record.image, self._members(record, draft, reason)
        if members is not None and not draft.values.get("os_hidden"):
            image = self._opened(service, image)
            draft = draft.with_members(share(service, record.id, members, self._projects))
        _patch(service, image, draft)

    def _members(self, record: Record, draft: Draft, reason: str) -> frozenset[str] | None:
        """Return the projects with which an image is to be shared, ``None`` if its members stay as they are.

        What is recalled is taken from everybody, wherever it is kept and whoever can still be looked up.
        """
        if reason == RECALLED and record.image["visibility"] == "shared":
            return frozenset()
        expected = self._terms(record.image).members_of({**record.image, **draft.values})
        if self._settings.sharing is not Sharing.SHARED or expected is None:
            return None
        if reason == RECALLED:
            return frozenset()
        # Retired: nobody new, but those stay who find the images of their servers by it.
        return expected if draft.note.retired is None else expected & record.note.members.keys()

    def _opened(self, service: Service, image: Image) -> Image:
        """Return an image that can have members. Hidden or not, nobody but they and its owner sees it."""
        if image["visibility"] == "shared":
            return image
        return service.change(image["id"], [{"op": "replace", "path": "/visibility", "value": "shared"}])

    def _send(self, service: Service, image: Image, body: Body) -> None:
        """Bring the bytes to a queued image, the first of a project after trying on it what it will need later."""
        stall_timeout = self._settings.stall_timeout
        if service.login.project not in self._tried_to_retire:
            self._tried_to_retire.add(service.login.project)
            try_to_retire(service, str(image["id"]))
        if self._settings.upload_method == METHOD:
            send_by_import(service, image, body, stall_timeout, self._context.notice)
        else:
            send_directly(service, image, body, stall_timeout)


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
