"""An installation with pip that runs as a service, as docs/releases.rst and docs/service.rst have it, on a booted host.

``make test-packaging`` runs it. The host has no network: pip finds the wheels of ``.ci/wheels``.
"""

from collections.abc import Callable
from pathlib import Path

import yaml
from cloud.processes import wait_until
from following import QUICK_TIMER, Publisher, follow, site_configuration
from host.machine import Host

import imagesync

TREE = f"/root/imagesync-{imagesync.__version__}"
WHEELS = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/root/wheels"}


def test_the_chapters_lead_to_a_pass_on_schedule(
    host: Host, publisher: Publisher, root: Path, sdist: Path, blocks: Callable[[Path, str], list[str]]
) -> None:
    with_pip = blocks(root / "docs/releases.rst", "text")[0].replace("VERSION", imagesync.__version__)
    _, making, starting = blocks(root / "docs/service.rst", "text")
    (lines,) = blocks(root / "docs/service.rst", "ini")
    host.copy(root / "build/wheels", "/root")
    host.copy(sdist, "/root")
    follow(host, f"tar xf {sdist.name}; cp wheels/imagesync-*.whl {TREE}")

    follow(host, f"cd {TREE}\n{with_pip}", **WHEELS)
    host.write("/root/lines", lines)
    # `systemctl edit` wants a terminal.
    edit = "systemctl edit imagesync-sync.service"
    assert making.endswith(edit)
    making = making.replace(edit, f"script -qec '{edit}' /dev/null")
    follow(host, f"cd {TREE}\n{making}", SYSTEMD_EDITOR="cp /root/lines")
    host.copy(publisher.directory / "anchors", "/srv")
    configuration = yaml.safe_dump(site_configuration(publisher))
    host.write("/etc/imagesync/imagesync.yaml", configuration, mode=0o640, group="imagesync")
    host.write("/etc/systemd/system/imagesync-sync.timer.d/test.conf", QUICK_TIMER)
    follow(host, starting)

    wait_until(lambda: host.attempt("test", "-e", "/srv/images/first.qcow2").returncode == 0)
    publisher.publish("second")
    wait_until(lambda: host.attempt("test", "-e", "/srv/images/second.qcow2").returncode == 0)
    assert host.ask("systemctl", "is-active", "imagesync-sync.timer") == "active"
    assert host.run("stat", "--format=%U", "/var/lib/imagesync/state.db") == "imagesync\n"
    host.run("test", "-s", "/opt/imagesync/share/man/man1/imagesync.1")
    host.check_units()
