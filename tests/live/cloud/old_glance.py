"""The older Glance of Debian 12, beside a cloud's Keystone: it stores what it is given and looks at none of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from cloud.cloud import Cloud, Service
from cloud.configuration import GLANCE_FOLDERS, Sections, glance_files, ini, write_files
from cloud.debian import Tree, unpack
from cloud.process import Launch
from cloud.software import HERE, Software, cache, digest_of, exclusive
from cloud.template import checkpoint, run_tool

REGION = "debian"
PACKAGE = "glance-common"  # which brings the code; that of glance-api starts it, by tools for a whole system
_NAME = f"glance-{REGION}"
_SYSTEM = Path("/etc/os-release")


def old_software() -> Software:
    """Return where Debian's Glance is, or will be, with an empty database of it."""
    sources = [HERE / "debian.py", *([_SYSTEM] if _SYSTEM.exists() else [])]
    return Software(cache() / f"debian-glance-{digest_of(sources)}")


def install_old() -> Software:
    """Return Debian's Glance, unpacked when it is missing."""
    wanted = old_software()
    with exclusive(wanted.home.with_suffix(".lock")):
        if not wanted.stamp.exists():
            shutil.rmtree(wanted.home, ignore_errors=True)
            tree = unpack(PACKAGE, wanted.home / "root")
            _make_database(wanted.home, tree)
            wanted.stamp.touch()
    return wanted


def open_old_glance(cloud: Cloud) -> Service:
    """Return the older Glance of a cloud, in a region of its own, which the first caller of all processes starts."""
    with exclusive(cloud.directory / "old-glance.lock"):
        if _NAME not in cloud.connection.ask("facts")["servers"]:
            _start(cloud)
    return cloud.glance(REGION)


def _start(cloud: Cloud) -> None:
    servers = old_software()
    servers.check()
    port: int = cloud.connection.ask("reserve")["port"]
    home = cloud.directory / _NAME
    for folder in GLANCE_FOLDERS:
        (home / folder).mkdir(parents=True)
    write_files(home / "etc", _files(home, servers, cloud.auth_url, port))
    shutil.copy(servers.home / "glance.db", home)
    tree = Tree(servers.home / "root")
    command = _command(tree, home, "api")
    ready = f"http://127.0.0.1:{port}/healthcheck"
    cloud.connection.ask("add", **Launch(_NAME, home, command, tree.environment, ready).described())
    cloud.add_region(REGION, f"http://127.0.0.1:{port}")


def _files(home: Path, servers: Software, identity: str, port: int) -> dict[str, str]:
    more: Sections = {
        # One process of green threads, so that no other one holds a lock of SQLite that it waits for.
        "DEFAULT": {"bind_host": "127.0.0.1", "bind_port": port, "workers": 0},
        "paste_deploy": {"config_file": servers.home / "root/usr/share/glance-common/glance-api-paste.ini"},
    }
    return glance_files(home, servers, identity, port, ini(more))


def _command(tree: Tree, home: Path, program: str) -> tuple[str, ...]:
    """Return how a program of Glance is started with the configuration in ``home``."""
    files = sorted((home / "etc").glob("*.conf"))
    words = [word for path in files for word in ("--config-file", str(path))]
    return (tree.python, "-m", f"glance.cmd.{program}", *words)


def _make_database(home: Path, tree: Tree) -> None:
    write_files(home / "etc", {"glance-api.conf": ini({"database": {"connection": f"sqlite:///{home}/glance.db"}})})
    command = [*_command(tree, home, "manage"), "db_sync"]
    run_tool(command, home / "glance-db.log", tree.environment)
    checkpoint(home / "glance.db")
