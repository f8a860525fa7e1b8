"""The projects of a target: which own images, and with which they are shared."""

from __future__ import annotations

from collections.abc import Iterable

from imagesync.backend import Notice
from imagesync.errors import BackendRefusedError
from imagesync_glance.record import Terms
from imagesync_glance.service import Service
from imagesync_glance.session import Cloud
from imagesync_glance.settings import Project, Settings, Sharing


class Projects:
    """Looks a project up at Keystone when it is first needed."""

    def __init__(self, cloud: Cloud, settings: Settings, notice: Notice) -> None:
        """Ask nothing yet."""
        self._cloud = cloud
        self._settings = settings
        self._services: dict[str, Service] = {}
        self._former: dict[str, Service] = {}
        self._refused: set[Project] = set()
        self.notice = notice
        """Takes a sentence for the report."""
        self._terms: Terms | None = None

    def service(self, project: Project) -> Service:
        """Return Glance as ``project`` sees it.

        Raises:
            BackendRefusedError: these credentials are not for it.
            BackendUnavailableError: Keystone does not answer.
        """
        login = self._cloud.login(project)
        if login.project not in self._services:
            self._services[login.project] = Service(login)
        return self._services[login.project]

    def homes(self) -> tuple[Service, ...]:
        """Return Glance as each project sees it that owns images of ours, each once.

        A project that cannot be used is left out: nothing of it is decided either, because ``owners`` refuses its VOs.
        """
        usable = (self._usable(project) for project in self._settings.homes)
        return tuple({service.login.project: service for service in usable if service is not None}.values())

    def home(self, project: str) -> Service | None:
        """Return Glance as the project with that id sees it, or ``None`` if no images of ours are kept there."""
        known = (*self.homes(), *self._former.values())
        return next((service for service in known if service.login.project == project), None)

    def former(self, projects: Iterable[str]) -> tuple[Service, ...]:
        """Return Glance as those of ``projects`` see it that are no longer homes, but can be logged in to."""
        homes = {service.login.project for service in self.homes()}
        for project in sorted(set(projects) - homes - self._former.keys() - {""}):
            service = self._usable(Project(id=project))
            if service is not None:
                self._former[project] = service
        return tuple(self._former.values())

    def is_former(self, project: str) -> bool:
        """Return whether a project owns images of ours no longer by the configuration, but did."""
        return project in self._former

    def denied(self) -> dict[str, set[str]]:
        """Return by project the rules of Glance's policy that the user failed so far."""
        return {project: service.denied for project, service in sorted(self._services.items())}

    def _usable(self, project: Project) -> Service | None:
        try:
            return self.service(project)
        except BackendRefusedError as error:
            if project not in self._refused:
                self.notice(f"nothing is done in {project}: {error}")
            self._refused.add(project)
            return None

    def owners(self, vo: str) -> tuple[str, ...]:
        """Return the ids of the projects that own the images of ``vo``.

        Raises:
            BackendRefusedError: it has none, or one that cannot be used.
        """
        targets = self._settings.projects.get(vo)
        if targets is None and self._settings.sharing in {Sharing.PER_PROJECT, Sharing.SHARED}:
            raise BackendRefusedError(
                f"VO {vo}", "has no project on this target", f"add it: projects: {{{vo}: PROJECT}}"
            )
        if self._settings.owner is None:
            return tuple(dict.fromkeys(self.service(project).login.project for project in targets or ()))
        for project in targets or ():
            self.id_of(project)
        return (self.service(self._settings.owner).login.project,)

    def id_of(self, project: Project) -> str:
        """Return the id of a project that images are shared with.

        Raises:
            BackendRefusedError: it is given by name, and these credentials cannot look it up.
        """
        return project.id or self._cloud.login(project).project

    def terms(self) -> Terms:
        """Return how published images are kept."""
        if self._terms is None:
            is_shared = self._settings.sharing is Sharing.SHARED
            vos = self._settings.projects if is_shared else {}
            members = {vo: self._members(projects) for vo, projects in vos.items()}
            eager = {self._known(project) for projects in vos.values() for project in projects if project.cloud} - {""}
            self._terms = Terms(str(self._settings.sharing), members, frozenset(eager))
        return self._terms

    def member(self, project: str) -> Service:
        """Return Glance as the project with that id sees it, with which images are shared.

        Raises:
            BackendRefusedError: these credentials are not for it.
        """
        given = (one for projects in self._settings.projects.values() for one in projects)
        known = next((one for one in given if self._names(one, project)), Project(id=project))
        return self.service(known)

    def _members(self, projects: tuple[Project, ...]) -> frozenset[str] | None:
        """Return the ids of ``projects``, ``None`` if one cannot be looked up: then nothing is known of any."""
        try:
            ids = {self.id_of(project) for project in projects}
            return frozenset(ids - {self.service(owner).login.project for owner in self._settings.homes})
        except BackendRefusedError as error:
            self.notice(f"nothing is shared anew: {error}")
            return None

    def _names(self, project: Project, identifier: str) -> bool:
        return self._known(project) == identifier

    def _known(self, project: Project) -> str:
        """Return the id of a project, empty if it cannot be looked up."""
        try:
            return self.id_of(project)
        except BackendRefusedError:
            return ""
