"""How a Nova is configured, made and started beside a cloud."""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from cloud.configuration import Sections, ini, service_login, write_files, wsgi_command
from cloud.process import Launch
from cloud.software import HERE, NotInstalledError, Software, cache, digest_of, exclusive, software
from cloud.template import checkpoint, run_tool

REQUIREMENTS = HERE / "requirements-nova.txt"
SOURCES = (REQUIREMENTS, HERE / "nova_setup.py")
DATABASES = ("nova_api.db", "nova_cell0.db", "nova_cell1.db", "placement.db")
FOLDERS = ("locks", "state", "instances")


def nova_software() -> Software:
    """Return where Nova is, or will be."""
    return software(REQUIREMENTS)


def nova_files(home: Path, servers: Software, identity: str) -> dict[str, str]:
    """Return the configuration of a Nova and a Placement whose data lie in ``home``."""
    login = {**service_login("nova", identity), "region_name": "RegionOne"}
    nova: Sections = {
        "DEFAULT": {
            "use_stderr": True,
            "log_options": False,
            "host": "compute",
            "my_ip": "127.0.0.1",
            "state_path": home / "state",
            "instances_path": home / "instances",
            "transport_url": "fake:/",
            # The fake driver with nodes of its own invention starts once and never again.
            "compute_driver": "fake.FakeDriverWithoutFakeNodes",
            "service_down_time": 86400,
        },
        "api_database": {"connection": f"sqlite:///{home}/nova_api.db"},
        "database": {"connection": f"sqlite:///{home}/nova_cell1.db"},
        "oslo_concurrency": {"lock_path": home / "locks"},
        "cache": {"enabled": True, "backend": "dogpile.cache.memory"},
        "keystone_authtoken": {**login, "service_type": "compute"},
        "placement": login,
        "neutron": login,
        "keystone": login,
        "glance": {"region_name": "RegionOne"},
        "quota": {"instances": -1, "cores": -1, "ram": -1},
        "filter_scheduler": {"track_instance_changes": False},
        "vnc": {"enabled": False},
    }
    placement: Sections = {
        "DEFAULT": {"use_stderr": True},
        "placement_database": {"connection": f"sqlite:///{home}/placement.db"},
        "keystone_authtoken": {**login, "service_type": "placement"},
    }
    paste = (servers.home / "etc/nova/api-paste.ini").read_text(encoding="utf-8")
    return {"nova.conf": ini(nova), "placement.conf": ini(placement), "api-paste.ini": paste}


def nova_launch(home: Path, servers: Software, port: int) -> Launch:
    """Return how Nova is started; its requests call one another, so they need many threads."""
    environment = {"OS_NOVA_CONFIG_DIR": f"{home}/etc", "OS_PLACEMENT_CONFIG_DIR": f"{home}/etc"}
    command = wsgi_command(servers, "nova_app", port, threads=16)
    return Launch("nova", home, command, environment, f"http://127.0.0.1:{port}/_ready")


def prepare_nova(home: Path, servers: Software, identity: str) -> None:
    """Fill ``home`` with the data of a fresh Nova and its configuration."""
    for folder in FOLDERS:
        (home / folder).mkdir(parents=True)
    write_files(home / "etc", nova_files(home, servers, identity))
    for name in DATABASES:
        shutil.copy(nova_template() / name, home)
    with closing(sqlite3.connect(home / "nova_api.db")) as database:
        _map_cells(database, home)


def nova_template() -> Path:
    """Return where the databases of a fresh Nova are.

    Raises:
        NotInstalledError: they were not made yet.
    """
    found = _template()
    if not found.exists():
        raise NotInstalledError(f"{found} is missing: run .ci/cloud, or make test")
    return found


def make_nova_template(servers: Software) -> Path:
    """Return the databases of a fresh Nova, made when they are missing."""
    wanted = _template()
    with exclusive(wanted.with_suffix(".lock")):
        if not wanted.exists():
            unfinished = wanted.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            write_files(unfinished / "etc", nova_files(unfinished, servers, "http://127.0.0.1:9/v3"))
            _make_databases(unfinished, servers)
            unfinished.rename(wanted)
    return wanted


def _template() -> Path:
    return cache() / f"nova-template-{digest_of(SOURCES)}"


def _make_databases(home: Path, servers: Software) -> None:
    nova = [servers.program("nova-manage"), "--config-file", f"{home}/etc/nova.conf"]
    placement = [servers.program("placement-manage"), "--config-file", f"{home}/etc/placement.conf"]
    commands = {
        "cell": [*nova, "db", "sync", "--local_cell"],
        "api": [*nova, "api_db", "sync"],
        "placement": [*placement, "db", "sync"],
    }
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(run_tool, command, home / f"{name}.log") for name, command in commands.items()]
    for job in jobs:
        job.result()
    shutil.copy(home / "nova_cell1.db", home / "nova_cell0.db")  # the same tables, and no rows yet
    for name in DATABASES:
        checkpoint(home / name)


def _map_cells(database: sqlite3.Connection, home: Path) -> None:
    """Write what ``nova-manage cell_v2 map_cell0`` and ``create_cell`` do, each of which takes seconds to start."""
    for name, identifier, transport in (("cell0", uuid.UUID(int=0), "none:///"), ("cell1", uuid.uuid4(), "fake:/")):
        database.execute(
            "INSERT INTO cell_mappings (created_at, uuid, name, transport_url, database_connection, disabled)"
            " VALUES (datetime(), ?, ?, ?, ?, 0)",
            (str(identifier), name, transport, f"sqlite:///{home}/nova_{name}.db"),
        )
    database.commit()
