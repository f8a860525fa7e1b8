"""Doing on a booted host what the documentation says, and what its site follows there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from host.machine import Host

QUICK_TIMER = """
[Timer]
OnCalendar=
OnCalendar=*:*:0/2
RandomizedDelaySec=0
AccuracySec=100ms
"""
"""What a test cannot wait for, as lines of a timer's."""


def bring(host: Host, name: str, *parts: str) -> None:
    """Bring a program of this machine to the host, with its libraries and other ``parts`` that it loads, if they are there."""
    program = shutil.which(name)
    assert program, f"{name} is missing: .ci/system-packages test"
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    libraries = [word for line in linked.splitlines() for word in line.split() if word.startswith("/")]
    files = [path.lstrip("/") for path in (program, *libraries)] + [part for part in parts if Path("/", part).exists()]
    pack = ["tar", "--create", "--dereference", "--directory=/", *files]
    with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
        into = host.inside("tar", "--extract", "--skip-old-files", "--directory=/")
        subprocess.run(into, stdin=packing.stdout, check=True, timeout=120)
    assert packing.returncode == 0
    host.run("ldconfig")


def follow(host: Host, commands: str, **environment: str) -> str:
    """Do on the host, as root, what the documentation says; return what is printed."""
    options = "alias apt-get='apt-get --yes'\nset -eu\ncd /root\n"
    return host.run(
        "bash", "-O", "expand_aliases", text=options + commands, DEBIAN_FRONTEND="noninteractive", **environment
    )


def pages(host: Host) -> int:
    """Return the status of the page that says whether the daemon is well, 0 when nobody answers."""
    url = "http://127.0.0.1:8642/healthz"
    return int(host.ask("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", url))


class Publisher:
    """The publisher in the network of a host."""

    def __init__(self, host: Host, directory: Path) -> None:
        directory.mkdir()
        program = Path(__file__).with_name("publisher.py")
        self._process = subprocess.Popen(
            host.inside_network(sys.executable, str(program), str(directory)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.directory = directory
        self.facts = self._read()

    def publish(self, title: str = "") -> list[dict[str, str]]:
        """Publish another image if it has a title; return the messages of the site so far."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{title}\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def site_configuration(publisher: Publisher) -> dict[str, Any]:
    """Return a site that follows the publisher into /srv/images."""
    facts = publisher.facts
    subscription = {
        "name": "demo",
        "vo": "vo.example.org",
        "url": facts["url"],
        "endorsers": [{"dn": facts["dn"], "ca": facts["ca"]}],
        "allow_private_addresses": True,
        "every": "2s",
    }
    return {
        "instance": "site",
        "trust": {"anchors": "/srv/anchors", "crl": "require"},
        "daemon": {"jitter": 0},
        "subscriptions": [subscription],
        "targets": [{"name": "pool", "backend": "directory", "path": "/srv/images", "formats": ["qcow2"]}],
    }


LIST_IMAGES = """
import json, sys
from pathlib import Path
import yaml
from cloud.api import Login
entry = yaml.safe_load(Path(sys.argv[1]).read_text())["clouds"]["reader"]
images = Login(entry["auth_type"], entry["auth"]).account().images(entry["region_name"])
print(json.dumps({image["vmcatcher_event_dc_title"]: image["status"] for image in images.list()}))
"""


@contextmanager
def open_cloud(host: Host, directory: Path) -> Iterator[Path]:
    """Run what ``make cloud`` runs in the network of a host; yield the directory with its configuration and logins."""
    command = host.inside_network(sys.executable, "-m", "cloud", "run", str(directory))
    with subprocess.Popen(command, env=_environment(), stdout=subprocess.PIPE, text=True) as cloud:
        assert cloud.stdout is not None
        try:
            said = []
            while not said or "Ctrl-C" not in said[-1]:
                said.append(cloud.stdout.readline())
                assert said[-1], said
            yield directory
        finally:
            cloud.terminate()
            cloud.communicate(timeout=60)


def images_of(host: Host, directory: Path) -> dict[str, str]:
    """Return the images that a cloud of ``open_cloud`` has, by title, each with its status."""
    command = host.inside_network(sys.executable, "-c", LIST_IMAGES, str(directory / "clouds.yaml"))
    listed = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=True)
    return dict(json.loads(listed.stdout))


def _environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "IMAGESYNC_"))}
    return {**own, "PYTHONPATH": os.pathsep.join(sys.path)}
