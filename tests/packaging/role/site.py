"""What a story about the role is made of: a host, who administers it, a publisher, and versions to install."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zipfile import ZipFile

from cloud.processes import wait_until
from following import bring
from host.machine import Host

import imagesync
from imagesync.state.tables import HEAD
from role.playbook import Controller, Run
from role.software import locked

OLD = "0.0.9"
BROKEN = "0.1.1"
GROWN = "0.1.2"


@dataclass(frozen=True)
class Site:
    """A host, who administers it, and a publisher whom it can reach."""

    host: Host
    operator: Controller
    directory: Path
    publisher: subprocess.Popen[str]
    offer: dict[str, Any]
    archives: dict[str, Path]

    def variables(self, version: str = imagesync.__version__, **more: Any) -> dict[str, Any]:
        """Return the variables of an instance with one list and one directory."""
        return {
            "imagesync_install": "wheels",
            "imagesync_version": version,
            "imagesync_wheels": str(self.archives[version]),
            "imagesync_trust": "files",
            "imagesync_trust_files": str(self.directory / "anchors"),
            "imagesync_trust_anchors": "/etc/test-anchors",
            "imagesync_config": self.config(),
            "imagesync_writable": ["/srv/images"],
            **more,
        }

    def config(self, path: str = "/srv/images", **daemon: str) -> dict[str, Any]:
        """Return a configuration; ``daemon`` are options of the daemon."""
        subscription = {
            "name": "one",
            "vo": "vo.example.org",
            "url": self.offer["url"],
            "endorsers": [self.offer["endorser"]],
            "allow_private_addresses": True,
        }
        targets = [{"name": "site", "backend": "directory", "path": path}]
        return {"daemon": {"jitter": "0s", **daemon}, "subscriptions": [subscription], "targets": targets}

    def play(self, *instances: dict[str, Any], options: tuple[str, ...] = ("--diff",)) -> Run:
        """Run the role, which must succeed."""
        run = self.operator.play(self.host.address, *instances, options=options)
        assert run.code == 0, run.output
        sys.stdout.write(f"{' '.join(options)}: {run.seconds:.1f} s, changed={run.count}\n")
        return run

    def check_page(self, port: int = 8642) -> None:
        """Raise HostError unless the daemon's page says that it is well."""
        self.host.run("curl", "--silent", "--show-error", "--fail", f"http://127.0.0.1:{port}/healthz")

    def await_image(self, title: str, where: str = "/srv/images") -> None:
        """Return once an image is in a catalogue."""
        wait_until(lambda: self.host.attempt("test", "-e", f"{where}/{title}.qcow2").returncode == 0)

    def fail(self, *instances: dict[str, Any]) -> Run:
        """Run the role, which must fail; return what came of it, with what it said on one line."""
        run = self.operator.play(self.host.address, *instances)
        assert run.code == 2, run.output
        sys.stdout.write(f"failing: {run.seconds:.1f} s, changed={run.count}\n")
        return replace(run, output=" ".join(run.output.split()))

    def units(self, *names: str) -> list[str]:
        """Return of each unit whether it runs, and whether it starts with the host."""
        return [self.host.ask("systemctl", ask, name) for name in names for ask in ("is-active", "is-enabled")]

    def files(self) -> set[str]:
        """Return every path that an installation could have made, but logs and what the system writes by itself."""
        places = ("/etc", "/opt", "/usr", "/srv", "/var/lib", "/var/cache", "/var/backups")
        found = self.host.run("find", *places, "-not", "-name", "*.pyc", "-not", "-name", "__pycache__").splitlines()
        system = ("/var/lib/systemd", "/var/lib/apt", "/var/lib/dpkg", "/var/cache/apt", "/var/cache/debconf")
        own = (*system, "/etc/.pwd.lock")
        return {path for path in found if not path.startswith(own) and not path.endswith("-")}

    def left(self, before: set[str]) -> list[str]:
        """Return what is there now and was not ``before``, but trust anchors and packages of the distribution."""
        fetching = ("/var/cache/fetch-crl", "/etc/systemd/system/timers.target.wants/fetch-crl.timer")
        return sorted(path for path in self.files() - before if not path.startswith(("/etc/test-anchors", *fetching)))


def archive(path: Path, wheel: Path) -> Path:
    """Write an archive of a wheel of imagesync and all that it needs; return its path."""
    with tarfile.open(path, "w") as archive:
        for file in (*locked(), wheel):
            archive.add(file, file.name)
    return path


Changes = Mapping[str, tuple[bytes, bytes]]
"""By file of a wheel, what stands there and what shall; a file that is not there is added."""


def as_version(version: str, wheel: Path, where: Path, changes: Changes = MappingProxyType({})) -> Path:
    """Make a wheel with another version of a wheel. pip does not look at the hashes of the record."""
    found = where / wheel.name.replace(imagesync.__version__, version)
    with ZipFile(wheel) as new, ZipFile(found, "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name.endswith(("/METADATA", "/RECORD")) or name == "imagesync/__init__.py":
                content = content.replace(imagesync.__version__.encode(), version.encode())
            if name in changes:
                assert changes[name][0] in content
                content = content.replace(*changes[name])
            old.writestr(name.replace(f"imagesync-{imagesync.__version__}", f"imagesync-{version}"), content)
        for name in changes.keys() - set(new.namelist()):
            old.writestr(name, changes[name][1])
    return found


NEXT_SCHEMA = """
revision = "{next}"
down_revision = "{head}"
branch_labels = depends_on = None
def upgrade():
    pass
"""


def another_schema() -> Changes:
    """Return the changes that make a version with another form of the state."""
    following = f"{int(HEAD) + 1:04}"
    migration = NEXT_SCHEMA.format(head=HEAD, next=following).encode()
    return {
        "imagesync/state/tables.py": (f'HEAD = "{HEAD}"'.encode(), f'HEAD = "{following}"'.encode()),
        f"imagesync/state/migrations/versions/r{following}_nothing.py": (b"", migration),
    }


EMPTY_PACKAGE = """
mkdir -p "/root/empty/$1/DEBIAN"
cat >"/root/empty/$1/DEBIAN/control" <<END
Package: $1
Version: 1
Architecture: all
Maintainer: Nobody <nobody@example.org>
Description: stands in for what a host without a network cannot install
END
dpkg-deb --build "/root/empty/$1"
dpkg --install "/root/empty/$1.deb"
"""


def pretend(host: Host, *packages: str) -> None:
    """Install empty packages of these names."""
    for package in packages:
        host.run("sh", "-euc", EMPTY_PACKAGE, "sh", package)


@contextmanager
def open_database(host: Host) -> Iterator[str]:
    """Run the PostgreSQL of this machine in the network of a host; yield where it is."""
    (programs,) = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]
    home = Path(tempfile.mkdtemp(prefix="imagesync-pg-"))
    shutil.chown(home, "postgres")
    plain = ["--username=imagesync", "--auth=trust", "--encoding=UTF8", "--no-sync"]
    subprocess.run(
        [programs / "initdb", "-D", home / "data", *plain], user="postgres", cwd=home, check=True, capture_output=True
    )
    server = [str(programs / "postgres"), "-D", str(home / "data"), "-c", f"unix_socket_directories={home}"]
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=INT", "--"]
    with (
        (home / "log").open("ab") as log,
        subprocess.Popen(host.inside_network(*as_postgres, *server), cwd=home, stdout=log, stderr=log) as running,
    ):
        try:
            wait_until(lambda: "ready to accept" in (home / "log").read_text(encoding="utf-8"))
            yield "postgresql://imagesync@127.0.0.1:5432/postgres"
        finally:
            running.send_signal(signal.SIGINT)
    shutil.rmtree(home)


SNIPPET = "/etc/nginx/imagesync.conf"
NGINX_CONF = "events {{}}\nhttp {{ server {{ listen 127.0.0.1:8080; {} }} }}\n"
NGINX_UNIT = """\
[Service]
ExecStart=/usr/sbin/nginx -g "daemon off;"
ExecReload=/usr/sbin/nginx -s reload
"""


def start_nginx(host: Host, include: str) -> None:
    """Run the nginx of this machine on a host, with a server that includes what the role writes."""
    bring(host, "nginx")
    host.run("install", "--directory", "/var/log/nginx", "/var/lib/nginx")
    host.write("/etc/nginx/nginx.conf", NGINX_CONF.format(include))
    host.write("/etc/systemd/system/nginx.service", NGINX_UNIT)
    host.run("systemctl", "start", "nginx.service")
