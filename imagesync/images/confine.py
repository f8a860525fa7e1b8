"""How a program that reads untrusted bytes is started: limits, no environment, and bubblewrap where it works."""

from __future__ import annotations

import logging
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from imagesync.errors import ToolMissingError

log = logging.getLogger(__name__)

STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PROBE_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Kernel limits of a child: address space and file size in bytes, processor time in seconds.

    ``niceness`` is how far it stands back behind others; ``devices`` are those of this machine that it may open.
    """

    memory: int
    cpu: int
    file_size: int
    files: int = 64
    niceness: int = 0
    devices: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Confinement:
    """How a command is started. ``name`` says which confinement is in force: ``bubblewrap`` or ``limits``."""

    name: str
    prefix: tuple[str, ...]


def confine(limits: Limits, reads: Path, writes: Path, path: str = STANDARD_PATH) -> Confinement:
    """Return the command line that starts a program under ``limits``, with one file to read and one directory to write.

    ``path`` is where programs are looked for. The child is killed when the thread that started it ends
    (``PR_SET_PDEATHSIG``), so it never outlives a parent that was killed.

    Raises:
        ToolMissingError: setpriv or prlimit is missing.
    """
    prefix = (
        *((find("nice", path, "coreutils"), "-n", str(limits.niceness)) if limits.niceness else ()),
        *(find("setpriv", path, "util-linux"), "--pdeathsig", "KILL", "--no-new-privs"),
        find("prlimit", path, "util-linux"),
        f"--as={limits.memory}",
        f"--cpu={limits.cpu}:{limits.cpu + 5}",
        f"--fsize={limits.file_size}",
        f"--nofile={limits.files}",
        "--core=0",
        "--",
    )
    if bwrap := _sandbox(shutil.which("bwrap", path=path)):
        return Confinement("bubblewrap", (*prefix, *_bubble(bwrap), *_devices(limits), *_binds(reads, writes)))
    return Confinement("limits", prefix)


def find(program: str, path: str, package: str) -> str:
    """Return the absolute path of ``program``.

    Raises:
        ToolMissingError: it is not there; the hint names the Debian package.
    """
    found = shutil.which(program, path=path)
    if found is None:
        raise ToolMissingError(program, "is not installed", f"apt install {package}")
    return found


def environment(path: str = STANDARD_PATH) -> dict[str, str]:
    """Return all the environment that a child gets."""
    # glibc reserves 64 MiB of address space per arena and up to 8 arenas per processor; on a slow disk qemu-img starts
    # so many threads that this alone passes the memory limit, and it aborts once in a while.
    return {"PATH": path, "LC_ALL": "C", "MALLOC_ARENA_MAX": "2"}


def _bubble(bwrap: str) -> tuple[str, ...]:
    """Return the sandbox without any file of ours: no network, no other processes, the system read-only.

    Nor has it a /proc. Nothing in it needs one, and where the own one is partly covered, as in hardened units and in
    containers, the kernel lets nobody mount another: the sandbox would not be had where it is wanted most.
    """
    system = [("--ro-bind", "/usr", "/usr"), ("--dev", "/dev")]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        if Path("/", name).is_symlink():
            system.append(("--symlink", f"usr/{name}", f"/{name}"))
        elif Path("/", name).is_dir():
            system.append(("--ro-bind", f"/{name}", f"/{name}"))
    return (
        bwrap,
        "--unshare-all",
        "--die-with-parent",
        "--cap-drop",
        "ALL",
        *(word for bind in system for word in bind),
    )


def _devices(limits: Limits) -> tuple[str, ...]:
    return tuple(word for device in limits.devices for word in ("--dev-bind", str(device), str(device)))


def _binds(reads: Path, writes: Path) -> tuple[str, ...]:
    return ("--bind", str(writes), str(writes), "--ro-bind", str(reads), str(reads), "--chdir", str(writes), "--")


@cache
def _sandbox(bwrap: str | None) -> str:
    """Return where bubblewrap is, or nothing, with a word in the log, if it cannot build its sandbox here.

    Inside many containers it cannot. A pass is told once: each has a process of its own, or is what a command does.
    """
    if bwrap is None:
        log.warning("bubblewrap is not installed, limits alone are used: apt install bubblewrap")
        return ""
    try:
        done = subprocess.run(
            (*_bubble(bwrap), "--", "true"),
            env=environment(),
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("bubblewrap does not work here, limits alone are used: %s", error)
        return ""
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        log.warning("bubblewrap does not work here, limits alone are used: %s", said)
        return ""
    return bwrap
