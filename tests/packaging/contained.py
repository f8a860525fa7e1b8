"""Builds the container image of this checkout, runs it over a list server, and prints what was seen as JSON.

``unshare … python contained.py ROOT BASE WORK RUNNING SAVING RESTORING`` in namespaces of its own: nothing that podman
does to networks, mounts and processes is left behind. ROOT is the repository, BASE a tree of Debian, WORK an empty
directory, and the rest what the documentation says that an operator does.
"""

import json
import os
import shlex
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import yaml
from cloud.processes import wait_until

from imagesync.testing.disks import Disk, Kind, write_disk
from imagesync.testing.list_server import ListServer
from imagesync.testing.pki import Authority, write_anchors

LIMITS = '[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]\n'
NAME = "imagesync"
VOLUME = "imagesync-state"
USER = 642
SIGNER = "/DC=org/DC=example/CN=Ada Lovelace"


class Podman:
    """Podman with a store of its own."""

    def __init__(self, work: Path) -> None:
        conf = work / "containers.conf"
        conf.write_text(LIMITS)
        # Without systemd nobody runs health checks at intervals; they are run by hand.
        self.environment = {**os.environ, "CONTAINERS_CONF": str(conf), "DISABLE_HC_SYSTEMD": "true"}
        store = ("--root", str(work / "store"), "--runroot", str(work / "run"))
        self.command = ["podman", *store, "--runtime=runc", "--cgroup-manager=cgroupfs"]
        # For scripts that call podman.
        (work / "bin").mkdir()
        script = work / "bin" / "podman"
        script.write_text(f'#!/bin/sh\nPATH={os.environ["PATH"]} exec {shlex.join(self.command)} "$@"\n')
        script.chmod(0o755)
        self.scripts = self.environment | {"PATH": f"{script.parent}:{os.environ['PATH']}"}

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments], env=self.environment, capture_output=True, text=True, check=False
        )

    def run(self, *arguments: str) -> str:
        ran = self.attempt(*arguments)
        if ran.returncode:
            sys.exit(f"podman {' '.join(arguments)} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
        return ran.stdout


def build(podman: Podman, root: Path, base: Path) -> None:
    pack = ["tar", "--directory", str(base), "--create", "."]
    with subprocess.Popen(pack, stdout=subprocess.PIPE) as packed:
        subprocess.run(
            [*podman.command, "import", "--quiet", "-", "localhost/base"],
            env=podman.environment, stdin=packed.stdout, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
    subprocess.run(
        [root / ".ci" / "container", "--isolation=chroot", "--pull=never"],
        env=podman.scripts | {"BASE": "localhost/base"}, stdout=sys.stderr, check=True,
    )  # fmt: skip


def site(server: ListServer, work: Path) -> None:
    """Write the configuration of a site that follows one list of two images."""
    published = server.add_list("vo.example.org")
    for title, size in (("AlmaLinux 9", 2 << 20), ("Debian 12", 3 << 20)):
        published.add(write_disk(work / f"{size}.img", Kind.RAW, Disk(title, size)), title=title)
    published.publish()
    endorser = {"dn": SIGNER, "ca": "/DC=org/DC=example/CN=Example CA"}
    follow = {"name": "vo", "vo": published.vo, "url": published.url, "endorsers": [endorser]}
    target = {"name": "library", "backend": "directory", "path": "/srv/images", "formats": ["qcow2"]}
    (work / "etc").mkdir()
    (work / "etc" / "imagesync.yaml").write_text(
        yaml.safe_dump(
            {
                "subscriptions": [{**follow, "allow_private_addresses": True}],
                "targets": [target],
                "cache_reserve_bytes": 0,
            }
        )
    )
    (work / "images").mkdir()
    os.chown(work / "images", USER, USER)


def start(podman: Podman, work: Path, command: str) -> None:
    """Do what the documentation says, with directories of this test, and a target, on the loopback interface."""
    command = command.replace("--volume /etc/imagesync", f"--volume {work}/etc")
    command = command.replace("/etc/grid-security/certificates:", f"{work}/certificates:", 1)
    making, _, command = command.partition("\n")
    subprocess.run(shlex.split(making.replace("/etc/imagesync", f"{work}/etc")), check=True)
    program, *options, image = shlex.split(command.replace("\\\n", " "))
    assert program == "podman"
    podman.run(*options, "--network=host", f"--volume={work}/images:/srv/images", image)


def follow(podman: Podman, work: Path, commands: str) -> None:
    """Do what the documentation says with podman's store, on the loopback interface, in WORK."""
    ours = shlex.join(podman.command)
    function = (
        f'podman() {{ verb=$1; shift; [ $verb != run ] || set -- --network=host "$@"; command {ours} $verb "$@"; }}\n'
    )
    subprocess.run(
        ["bash", "-euc", function + commands], cwd=work, env=podman.environment, stdout=sys.stderr, check=True
    )


def restored(podman: Podman, work: Path, restoring: str) -> str:
    """Lose the volume of the state, restore it, and return what a command says of it."""
    podman.run("rm", NAME)
    podman.run("volume", "rm", VOLUME)
    follow(podman, work, restoring)
    volumes = (f"--volume={work}/etc:/etc/imagesync:ro", f"--volume={VOLUME}:/var/lib/imagesync")
    return podman.run(
        "run", "--rm", "--network=host", *volumes, "localhost/imagesync", "status", "--from-state", "--json"
    )


def observe(podman: Podman, work: Path, saving: str) -> dict[str, object]:
    """Return what is to be seen of a container that runs, and how it ends."""
    images = work / "images"
    wait_until(lambda: sum(path.is_symlink() for path in images.iterdir()) == 2, 240)
    health = podman.attempt("healthcheck", "run", NAME)
    written = podman.attempt("exec", NAME, "touch", "/usr/here")
    seen = {
        "images": sorted(path.name for path in images.iterdir() if path.is_symlink()),
        "owners": sorted({path.lstat().st_uid for path in images.iterdir()}),
        "health": health.returncode,
        "probe": podman.attempt("exec", NAME, "imagesync", "probe").stdout,
        "user": podman.run("exec", NAME, "id", "--user").strip(),
        "first": podman.run("exec", NAME, "cat", "/proc/1/comm").strip(),
        "root": written.stderr,
        "state": podman.run("exec", NAME, "imagesync", "status", "--from-state", "--json"),
    }
    follow(podman, work, saving)
    seen["recall"] = podman.attempt(
        "exec", NAME, "imagesync", "revoke", "--signer", SIGNER, "--reason", "a test", "--now", "--json"
    ).stdout
    podman.run("stop", "--time=40", NAME)
    seen["exit"] = podman.run("inspect", "--format={{.State.ExitCode}}", NAME).strip()
    seen["log"] = podman.attempt("logs", NAME).stderr
    return seen


def clean() -> None:
    """Remove the groups that podman made for its containers; another's are not empty and stay."""
    for parent in Path("/sys/fs/cgroup").glob("*/libpod_parent"):
        for group in (*parent.glob("*"), parent):
            with suppress(OSError):
                group.rmdir()


def main() -> None:
    root, base, work = map(Path, sys.argv[1:4])
    podman = Podman(work)
    build(podman, root, base)
    now = datetime.now(UTC)
    authority = Authority("/DC=org/DC=example/CN=Example CA", now)
    write_anchors(work / "certificates", [authority])
    with ListServer(authority.issue(SIGNER), now) as server:
        site(server, work)
        start(podman, work, sys.argv[4])
        try:
            seen = observe(podman, work, sys.argv[5])
            seen["restored"] = restored(podman, work, sys.argv[6])
        finally:
            podman.attempt("rm", "--force", "--volumes", NAME)
            clean()
    print(json.dumps(seen))  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main()
