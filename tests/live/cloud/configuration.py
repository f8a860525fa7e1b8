"""The configuration files of the servers, and how they are started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cloud.process import Launch
from cloud.software import HERE, Software

ADMIN_PASSWORD = "admin-password"
SERVICE_PASSWORD = "service-password"
FIRST_REGION = "RegionOne"
ISSUER = "https://login.example.org"

_SWITCHES = (
    "master",
    "no-orphans",  # the worker dies with the master, however that dies
    "enable-threads",
    "lazy-apps",
    "need-app",
    "die-on-term",
    "disable-logging",
    "log-5xx",
    "so-keepalive",
)

Sections = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Address:
    """Where the servers are."""

    keystone: int
    provider: int

    @property
    def identity(self) -> str:
        """Return Keystone's address with its version."""
        return f"http://127.0.0.1:{self.keystone}/v3"

    @property
    def openid(self) -> str:
        """Return the address of the OpenID provider."""
        return f"http://127.0.0.1:{self.provider}"


def keystone_files(home: Path) -> dict[str, str]:
    """Return the configuration of a Keystone whose data lie in ``home``."""
    keys = home / "fernet-keys"
    sections: Sections = {
        "DEFAULT": {"use_stderr": True},
        "database": {"connection": f"sqlite:///{home}/keystone.db"},
        "token": {"provider": "fernet", "expiration": 86400},
        "fernet_tokens": {"key_repository": keys},
        "fernet_receipts": {"key_repository": keys},
        "credential": {"key_repository": home / "credential-keys"},
        # Twenty times faster than asking the database; one process, so it never differs from it.
        "cache": {"enabled": True, "backend": "dogpile.cache.memory"},
        "identity": {"password_hash_rounds": 4},
        "auth": {"methods": "external,password,token,application_credential,mapped,openid"},
        "openid": {"remote_id_attribute": "HTTP_OIDC_ISS"},
        # Without it a federated user, who has roles by groups only, may not make application credentials.
        "federation": {"default_authorization_ttl": 1440},
    }
    return {"keystone.conf": ini(sections)}


def glance_files(home: Path, software: Software, identity: str, port: int, extra: str = "") -> dict[str, str]:
    """Return the configuration of a Glance whose data lie in ``home``; ``extra`` is appended and wins."""
    sections: Sections = {
        "DEFAULT": {
            "use_stderr": True,
            "enabled_backends": "fast:file, slow:file",
            "enabled_import_methods": "[glance-direct,web-download,copy-image]",
            "worker_self_reference_url": f"http://127.0.0.1:{port}",
        },
        "database": {"connection": f"sqlite:///{home}/glance.db"},
        "glance_store": {"default_backend": "fast"},
        "fast": {"filesystem_store_datadir": home / "fast"},
        "slow": {"filesystem_store_datadir": home / "slow"},
        "os_glance_staging_store": {"filesystem_store_datadir": home / "staging"},
        "os_glance_tasks_store": {"filesystem_store_datadir": home / "tasks"},
        "task": {"work_dir": home / "work"},
        "paste_deploy": {"flavor": "keystone", "config_file": software.home / "etc/glance/glance-api-paste.ini"},
        # Without the service type, application credentials with access rules are refused everywhere.
        "keystone_authtoken": {**service_login("glance", identity), "service_type": "image"},
        "wsgi": {"task_pool_threads": 4},
        "oslo_concurrency": {"lock_path": home / "locks"},
    }
    imports: Sections = {
        "image_import_opts": {"image_import_plugins": "[]"},
        "import_filtering_opts": {
            "allowed_schemes": "[http,https]",
            "allowed_hosts": "[127.0.0.1,localhost]",
            "allowed_ports": "[]",
        },
    }
    return {"glance-api.conf": ini(sections) + extra, "glance-image-import.conf": ini(imports)}


GLANCE_FOLDERS = ("fast", "slow", "staging", "tasks", "work", "locks")


def keystone_launch(home: Path, software: Software, address: Address) -> Launch:
    """Return how Keystone is started."""
    environment = {"OS_KEYSTONE_CONFIG_DIR": f"{home}/etc", "OIDC_PROVIDER": address.openid}
    command = wsgi_command(software, "keystone_app", address.keystone, threads=4)
    return Launch("keystone", home, command, environment, address.identity)


def glance_launch(name: str, home: Path, software: Software, port: int) -> Launch:
    """Return how a Glance is started."""
    command = wsgi_command(software, "glance_app", port, threads=8)
    ready = f"http://127.0.0.1:{port}/healthcheck"
    return Launch(name, home, command, {"OS_GLANCE_CONFIG_DIR": f"{home}/etc"}, ready)


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write configuration files, making the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def service_login(user: str, identity: str) -> dict[str, object]:
    """Return how a service logs in to the Keystone at ``identity``."""
    return {
        "www_authenticate_uri": identity,
        "auth_type": "password",
        "auth_url": identity,
        "username": user,
        "password": SERVICE_PASSWORD,
        "project_name": "service",
        "user_domain_id": "default",
        "project_domain_id": "default",
        "service_token_roles_required": True,
    }


def wsgi_command(software: Software, module: str, port: int, *, threads: int) -> tuple[str, ...]:
    """Return the command that serves a module of the folder ``wsgi``."""
    options = {
        "http-socket": f"127.0.0.1:{port}",
        "pythonpath": HERE / "wsgi",
        "module": module,
        "processes": 1,
        "threads": threads,
        "buffer-size": 65535,
        # A stock server refuses chunks of 1 MiB, which python-glanceclient sends.
        "chunked-input-limit": 64 << 20,
        "chunked-input-timeout": 60,
        "worker-reload-mercy": 5,
        "add-header": "Connection: close",
    }
    pairs = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return (software.program("pyuwsgi"), *pairs, *(f"--{switch}" for switch in _SWITCHES))


def ini(sections: Sections) -> str:
    """Return the text of a configuration file."""
    lines = []
    for section, values in sections.items():
        lines += [f"[{section}]", *(f"{name} = {value}" for name, value in values.items()), ""]
    return "\n".join(lines)
