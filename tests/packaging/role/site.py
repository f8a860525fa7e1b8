"""What a story about the role is made of: a host, who administers it, a publisher, and versions to install."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from cloud.processes import wait_until
from following import bring
from host.machine import Host

import imagesync
from role.playbook import Controller, Run
from role.software import locked

OLD = "0.0.9"
BROKEN = "0.1.1"


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


def as_version(version: str, wheel: Path, where: Path, change: tuple[bytes, bytes] = (b"", b"")) -> Path:
    """Make a wheel with another version of a wheel. pip does not look at the hashes of the record."""
    found = where / wheel.name.replace(imagesync.__version__, version)
    with ZipFile(wheel) as new, ZipFile(found, "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name.endswith(("/METADATA", "/RECORD")) or name == "imagesync/__init__.py":
                content = content.replace(imagesync.__version__.encode(), version.encode())
            if name == "imagesync/cli/state.py" and change[0]:
                assert change[0] in content
                content = content.replace(*change)
            old.writestr(name.replace(f"imagesync-{imagesync.__version__}", f"imagesync-{version}"), content)
    return found


SNIPPET = "/etc/nginx/imagesync.conf"
NGINX_CONF = f"events {{}}\nhttp {{ server {{ listen 127.0.0.1:8080; include {SNIPPET}*; }} }}\n"
NGINX_UNIT = """\
[Service]
ExecStart=/usr/sbin/nginx -g "daemon off;"
ExecReload=/usr/sbin/nginx -s reload
"""


def start_nginx(host: Host) -> None:
    """Run the nginx of this machine on a host, with a server that includes what the role writes."""
    bring(host, "nginx")
    host.run("install", "--directory", "/var/log/nginx", "/var/lib/nginx")
    host.write("/etc/nginx/nginx.conf", NGINX_CONF)
    host.write("/etc/systemd/system/nginx.service", NGINX_UNIT)
    host.run("systemctl", "start", "nginx.service")
