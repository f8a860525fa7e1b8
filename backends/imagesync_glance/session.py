"""Logins at Keystone: one per project, made when it is first needed and kept for the session.

Every plugin of keystoneauth works that its entry in clouds.yaml or ``auth`` configures. The project that stands there
is replaced by the one that is needed; an application credential alone is bound to its own.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlsplit, urlunsplit

from yaml import YAMLError

from imagesync.backend import Secret
from imagesync.errors import BackendRefusedError
from imagesync_glance.faults import translated
from imagesync_glance.repetition import repeated
from imagesync_glance.settings import Project, Proxy, Settings

if TYPE_CHECKING:
    import requests
    from keystoneauth1.identity.base import BaseIdentityPlugin
    from keystoneauth1.loading.base import BaseLoader
    from keystoneauth1.session import Session
    from openstack.config.cloud_region import CloudRegion

LOG = logging.getLogger(__name__)

_SCOPE = frozenset(
    {f"{what}_{by}" for what in ("domain", "project", "tenant") for by in ("id", "name")}
    | {"project_domain_id", "project_domain_name", "system_scope", "trust_id"}
)
"""Options of a plugin that say for what a token is: replaced for each project."""

_BOUND = frozenset({"v3applicationcredential"})
"""Plugins whose token is for one project, whatever is asked for."""

_VERSION = re.compile(r"/v[0-9]+(\.[0-9]+)?/*$")


@dataclass(frozen=True, slots=True)
class Login:
    """A session with a token for one project. ``image`` and ``compute`` are the addresses of Glance and Nova."""

    project: str
    session: Session
    auth: BaseIdentityPlugin
    image: str
    compute: str

    @property
    def issued(self) -> datetime | None:
        """Return when the token was issued, by Keystone's clock."""
        return self.auth.get_access(self.session).issued

    def renew(self, seconds: float) -> None:
        """Get a new token unless the one at hand lives ``seconds`` more."""
        if self.auth.get_access(self.session).will_expire_soon(stale_duration=int(seconds)):
            self.auth.invalidate()
            self.auth.get_access(self.session)


class Cloud:
    """The logins of one target."""

    def __init__(self, settings: Settings) -> None:
        """Connect to nothing yet."""
        self._settings = settings
        self._web: requests.Session | None = None
        self._logins: dict[Project, Login | BackendRefusedError] = {}

    def close(self) -> None:
        """Close every connection and forget every token."""
        self._logins.clear()
        if self._web is not None:
            self._web.close()
            self._web = None

    def login(self, project: Project) -> Login:
        """Return the login for ``project``.

        Raises:
            BackendRefusedError: there is no such project, or these credentials are not for it.
            BackendUnavailableError: Keystone does not answer.
        """
        known = self._logins.get(project)
        if known is None:
            known = self._logins[project] = self._attempt(project)
        if isinstance(known, BackendRefusedError):
            raise known
        return known

    def _attempt(self, project: Project) -> Login | BackendRefusedError:
        """Return the login or why it is refused: that is not asked again in a session."""
        try:
            with translated(str(project)):
                return repeated(lambda: self._log_in(project))
        except BackendRefusedError as error:
            return error

    def _log_in(self, project: Project) -> Login:
        region = self._region(project.cloud)
        auth = _plugin(region.config, project)
        session = self._session(region)
        access = auth.get_access(session)
        if project.id not in (None, access.project_id) or project.name not in (None, access.project_name):
            detail = f"the credentials are for {access.project_name or 'no project'} ({access.project_id})"
            raise BackendRefusedError(str(project), detail, "name others for it: {id: ID, cloud: NAME in clouds.yaml}")
        if set(access.role_names or ()) <= {"reader"}:
            LOG.warning("%s: the user has the role reader alone, so nothing can be written there", project)
        return Login(str(access.project_id), session, auth, *self._services(region, auth, session))

    def _services(self, region: CloudRegion, auth: BaseIdentityPlugin, session: Session) -> tuple[str, str]:
        """Return the addresses of Glance, without a version, and of Nova, empty if there is none."""
        name = self._settings.region_name or region.get_region_name("image")
        interface = cast("str", self._settings.interface or region.get_interface("image") or "public")
        image, compute = (_find(kind, session, auth, (interface, name)) for kind in ("image", "compute"))
        image = self._settings.endpoint_override or region.get_endpoint("image") or image
        if not image:
            detail = f"the catalogue has no {interface} image service in {f'region {name}' if name else 'any region'}"
            raise BackendRefusedError("Keystone", detail, "set region_name, interface or endpoint_override")
        return _VERSION.sub("", image.rstrip("/")), compute.rstrip("/")

    def _region(self, cloud: str | None) -> CloudRegion:
        """Return an entry of clouds.yaml or of the environment, or the inline one, completed by openstacksdk."""
        from openstack.config import OpenStackConfig

        settings = self._settings
        with warnings.catch_warnings(), _no_file_skipped():
            for kind in (DeprecationWarning, PendingDeprecationWarning):
                warnings.simplefilter("ignore", kind)  # of an option that nobody gave
            if cloud is None and settings.auth is not None:
                config = OpenStackConfig(load_yaml_config=False, load_envvars=False)
                login: dict[str, Any] = {"auth_type": settings.auth_type or "password", "auth": revealed(settings.auth)}
            else:
                config, login = OpenStackConfig(), {"cloud": cloud or settings.cloud}
            return config.get_one(validate=False, region_name=settings.region_name, **login)

    def _session(self, region: CloudRegion) -> Session:
        from keystoneauth1.session import Session

        verify, certificate = region.get_requests_verify_args()
        return Session(
            session=self._connections(),
            verify=self._settings.cacert or verify,
            cert=certificate,
            timeout=self._settings.request_timeout,
            # Tokens, and passwords on the way to one, go to no other place than the one that is configured.
            redirect=False,
            app_name="imagesync",
        )

    def _connections(self) -> requests.Session:
        """Return the connections that all logins share. Proxies and such come from the settings alone."""
        if self._web is None:
            import requests

            from imagesync_glance.bounds import BoundedAdapter

            self._web = requests.Session()
            for scheme in ("http://", "https://"):
                self._web.mount(scheme, BoundedAdapter())
            self._web.trust_env = False
            if self._settings.proxy is not None:
                address = _address(self._settings.proxy)
                self._web.proxies = {"http": address, "https": address}
        return self._web


@contextmanager
def _no_file_skipped() -> Iterator[None]:
    """Refuse a clouds.yaml or secure.yaml that is no YAML.

    openstacksdk goes on without it, and logs the line that is wrong, which may hold a password.
    """
    skipped: list[tuple[str, Any]] = []

    def is_harmless(record: logging.LogRecord) -> bool:
        match record.args:
            case (path, (ValueError() | YAMLError()) as error):
                skipped.append((str(path), error))
                return False
        return True

    logger = logging.getLogger("openstack.config")
    logger.addFilter(is_harmless)
    try:
        yield
    finally:
        logger.removeFilter(is_harmless)
        for path, error in skipped:
            mark = getattr(error, "problem_mark", None)
            raise BackendRefusedError(path, f"is no YAML{f' near line {mark.line + 1}' if mark else ''}", "correct it")


def _plugin(config: Mapping[str, Any], project: Project) -> BaseIdentityPlugin:
    from keystoneauth1 import loading

    name = str(config["auth_type"])
    # What comes from the environment stands beside auth.
    options = {key: value for key, value in {**config, **config["auth"]}.items() if key not in _SCOPE}
    if name not in _BOUND:
        options |= _scope(project)
    if not options.get("auth_url"):
        hint = "name a cloud of clouds.yaml, set OS_AUTH_URL and the like, or give auth"
        raise BackendRefusedError(str(project), "nothing says where Keystone is", hint)

    loader: BaseLoader[BaseIdentityPlugin] = loading.get_plugin_loader(name)
    # Only what is given: for many options the plugin has a default that the loader does not know.
    chosen = {
        option.dest: option.type(options[key])
        for option in loader.get_options()
        for key in (*(old.dest for old in option.deprecated), option.dest)
        if options.get(key) is not None
    }
    plugin: BaseIdentityPlugin = loader.load_from_options(**chosen)
    return plugin


def _find(kind: str, session: Session, auth: BaseIdentityPlugin, where: tuple[str, str | None]) -> str:
    """Return an address from the catalogue, empty if it is not there."""
    from keystoneauth1.exceptions import EndpointNotFound

    interface, region = where
    try:
        return (
            auth.get_endpoint(session, service_type=kind, interface=interface, region_name=region, skip_discovery=True)
            or ""
        )
    except EndpointNotFound:
        return ""


def _scope(project: Project) -> dict[str, str]:
    if project.id is not None:
        return {"project_id": project.id}
    return {"project_name": str(project.name), "project_domain_name": project.domain}


def revealed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with the secrets that they refer to."""
    return {key: _revealed(value) for key, value in options.items()}


def _revealed(value: object) -> object:
    match value:
        case Secret():
            return value.value()
        case Mapping():
            return revealed(value)
        case _:
            return value


def _address(proxy: Proxy) -> str:
    """Return the proxy's address with user and password in it. It is a secret."""
    if proxy.user is None:
        return proxy.url
    parts = urlsplit(proxy.url)
    password = f":{quote(proxy.password.value(), safe='')}" if proxy.password else ""
    return urlunsplit(parts._replace(netloc=f"{quote(proxy.user, safe='')}{password}@{parts.netloc}"))
