"""The tree that every host starts from: a minimal Debian of this machine's release, built once into the cache."""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cloud.software import NotInstalledError, cache, exclusive

PACKAGES = (
    # What makes it a host that can be administered.
    "systemd", "systemd-sysv", "dbus", "iproute2", "sudo", "curl", "ca-certificates", "openssh-server",
    # What a role needs on its target, and what it would install from Debian.
    "python3", "python3-venv", "python3-apt", "python3-packaging", "fetch-crl",
    "igtf-policy-classic", "igtf-policy-mics", "igtf-policy-slcs", "igtf-policy-iota",
    # What imagesync calls.
    "qemu-utils", "bubblewrap", "openssl",
)  # fmt: skip
"""Installed before any test: a host has no network, so what is missing here cannot be had."""

_RECIPE = "1"  # another one with every change to _build
_MACHINE = "5f4dcc3b5aa765d61d8327deb882cf99"
_FORMAT = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(CREATED_BY)"


@dataclass(frozen=True, slots=True)
class Base:
    """A tree in the cache. It is complete once ``stamp`` exists."""

    home: Path
    release: str
    sources: tuple[str, ...]

    @property
    def tree(self) -> Path:
        """Return the root of the tree; nobody may change it."""
        return self.home / "tree"

    @property
    def stamp(self) -> Path:
        """Return the file that is written last."""
        return self.home / "complete"

    def check(self) -> None:
        """Raise NotInstalledError unless it is complete."""
        if not self.stamp.exists():
            raise NotInstalledError(f"{self.home} is missing: run .ci/host, or make test-packaging")


@functools.cache
def base() -> Base:
    """Return where the base of hosts is, or will be.

    Raises:
        NotInstalledError: this is no Debian, or one of its kin.
    """
    release = _release()
    sources = _sources(release)
    facts = "\0".join((_RECIPE, release, *sources, *PACKAGES))
    return Base(cache() / f"host-{hashlib.sha256(facts.encode()).hexdigest()[:16]}", release, sources)


def install() -> Base:
    """Return the base, built when it is missing; two processes may do so at once."""
    wanted = base()
    with exclusive(wanted.home.with_suffix(".lock")):
        if not wanted.stamp.exists():
            shutil.rmtree(wanted.home, ignore_errors=True)
            wanted.home.mkdir()
            _build(wanted)
            wanted.stamp.touch()
    return wanted


def _build(wanted: Base) -> None:
    options = [
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        "--dpkgopt=force-unsafe-io",
        f"--include={','.join(PACKAGES)}",
    ]
    subprocess.run(["mmdebstrap", *options, wanted.release, str(wanted.tree), *wanted.sources], check=True)
    # With an identity it is a machine that was installed, not one at its first boot, which enables every service.
    (wanted.tree / "etc/machine-id").write_text(f"{_MACHINE}\n")
    for name in ("hostname", "resolv.conf"):  # copies of this machine's
        (wanted.tree / "etc" / name).unlink(missing_ok=True)


def _release() -> str:
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    release = fields.get("VERSION_CODENAME", "").strip('"')
    if not release or shutil.which("apt-get") is None:
        raise NotInstalledError("hosts are made from Debian's packages, and this is no Debian")
    return release


def _sources(release: str) -> tuple[str, ...]:
    """Return those of this machine's package sources that belong to the release itself, as lines."""
    asked = subprocess.run(
        ["apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = (release, f"{release}-updates", f"{release}-security")
    rows = [line.split("|") for line in asked.stdout.splitlines()]
    found = {f"deb {uri} {suite} {component}" for uri, suite, component, _ in rows if suite in wanted}
    if not found:
        raise NotInstalledError(f"apt has no package source for {release}: apt-get indextargets")
    return tuple(sorted(found))
