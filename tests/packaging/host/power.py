"""Switching a host on and off: systemd as PID 1 with its own processes, mounts, network and control groups.

All of these belong to namespaces of the process that runs the host, and that process dies with the thread that started
it: the kernel cleans up, whatever happens to us. What a kill leaves, a directory in the cache and empty control groups,
is removed by the next host with the same number.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cloud.software import cache

from host.base import Base

BOOT_LIMIT = 90.0
STOP_LIMIT = 60.0
_GROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))

# Control groups: with nothing but the unified hierarchy in sight, a host is the same on every machine.
# /proc: systemd-nspawn 252 leaves the mounts of this machine below those of the host. There the kernel would find a
# /proc that nothing covers, and let everybody mount another; a machine of its own has only the one that it sees.
_START = """
set -eu
home=$1 base=$2 unit=$3
shift 3
mount -t overlay overlay -o "lowerdir=$base,upperdir=$home/upper,workdir=$home/work" "$home/root"
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$unit"
echo $$ >"/sys/fs/cgroup/$unit/cgroup.procs"
mount --bind /proc/sys /proc/sys
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
exec systemd-nspawn --quiet --boot --directory="$home/root" --machine="$unit" "$@"
"""
# systemd-nspawn does not take the host along when it is killed; a process namespace around both does.
_NAMESPACES = (
    *("setpriv", "--pdeathsig", "KILL", "--"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--"),
)
_OPTIONS = (
    "--register=no",
    "--keep-unit",
    "--console=pipe",
    "--notify-ready=yes",
    "--network-veth",
    "--resolv-conf=off",
    "--timezone=off",
    "--link-journal=no",
)
# What systemd-nspawn covers of /proc, a real machine does not. Some of it lies in other parts, and some is in use.
_UNCOVER = """
points() { awk '$5 ~ "^/proc/" { print $5 }' /proc/self/mountinfo; }
points | while read -r point; do umount --lazy "$point" 2>/dev/null || true; done
test -z "$(points)"
"""


class HostError(Exception):
    """A host did not do what it should, with what it said."""


@dataclass(slots=True)
class Power:
    """The host with a ``number``, which no other host of this machine has while ``claim`` is open.

    Its files stay from one start to the next, until ``remove``.
    """

    name: str
    base: Base
    number: int
    claim: socket.socket
    _process: subprocess.Popen[bytes] | None = field(default=None)
    _leader: int = 0

    @property
    def home(self) -> Path:
        """Return the directory of what it writes."""
        return cache() / "hosts" / str(self.number)

    @property
    def unit(self) -> str:
        """Return its name among the control groups and network interfaces of this machine."""
        return f"imgsync-{self.number}"

    @property
    def address(self) -> str:
        """Return where it answers."""
        return f"10.213.{self.number}.2"

    @property
    def leader(self) -> int:
        """Return the process number, as this machine sees it, of the host's PID 1."""
        if self._process is None:
            raise HostError(f"{self.name} is not running")
        return self._leader

    @property
    def console(self) -> str:
        """Return what it has printed since it was made."""
        return (self.home / "console").read_text(encoding="utf-8", errors="replace")

    def prepare(self) -> None:
        """Make room for it; what an earlier host with its number left is removed.

        Raises:
            HostError: only root can boot hosts.
        """
        if os.geteuid() != 0:
            raise HostError("hosts are booted by root: run this as root")
        self.remove()
        for name in ("upper", "work", "root"):
            (self.home / name).mkdir(parents=True)

    def start(self) -> None:
        """Return once systemd has started all that belongs to its default target.

        Raises:
            HostError: this machine cannot boot a host; the text says what systemd-nspawn said.
        """
        with _mailbox(self.home / "notify") as mailbox:
            self._process = self._spawn()
            try:
                self._await_ready(self._process, mailbox)
                self._plug_in()
            except BaseException:
                self.cut()
                raise

    def stop(self) -> None:
        """Power it off in an orderly way.

        Raises:
            HostError: it was still there after ``STOP_LIMIT`` seconds, and was killed.
        """
        if self._process is None:
            return
        os.kill(self.leader, signal.SIGRTMIN + 4)  # "power off", in the language of systemd
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_LIMIT)
        late = self._process.poll() is None
        self.cut()
        if late:
            raise HostError(f"{self.name} did not power off within {STOP_LIMIT:.0f} s: {self.console[-3000:]}")

    def cut(self) -> None:
        """End it from one moment to the next."""
        if self._process is None:
            return
        nspawn = _child(self._process.pid)
        self._process.kill()
        self._process.wait()
        _await_end(nspawn)
        self._process, self._leader = None, 0
        _remove_groups(self.unit)

    def remove(self) -> None:
        """End it, and remove what it has written."""
        self.cut()
        _remove_groups(self.unit)
        shutil.rmtree(self.home, ignore_errors=not self.home.exists())

    def _spawn(self) -> subprocess.Popen[bytes]:
        arguments = [str(self.home), str(self.base.tree), self.unit, f"--hostname={self.name}", *_OPTIONS]
        with (self.home / "console").open("ab") as console:
            return subprocess.Popen(
                [*_NAMESPACES, "sh", "-c", _START, "sh", *arguments],
                env={"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(self.home / "notify")},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def _await_ready(self, process: subprocess.Popen[bytes], mailbox: socket.socket) -> None:
        """Wait until systemd-nspawn tells that the host's PID 1 told that it has booted."""
        until = time.monotonic() + BOOT_LIMIT
        while "READY=1" not in _said(mailbox):
            if process.poll() is not None:
                raise HostError(f"systemd-nspawn cannot boot a host here: {self.console[-3000:]}")
            if time.monotonic() > until:
                raise HostError(f"{self.name} did not boot within {BOOT_LIMIT:.0f} s: {self.console[-3000:]}")
        self._leader = _child(_child(process.pid))

    def _plug_in(self) -> None:
        """Lay the cable, and make the host's /proc that of a machine."""
        cable = f"ve-{self.unit}"
        within = ["nsenter", "--target", str(self._leader)]
        for command in (
            ["ip", "address", "add", f"10.213.{self.number}.1/30", "dev", cable],
            ["ip", "link", "set", cable, "up"],
            [*within, "--net", "ip", "address", "add", f"{self.address}/30", "dev", "host0"],
            [*within, "--net", "ip", "link", "set", "host0", "up"],
            [*within, "--all", "sh", "-euc", _UNCOVER],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise HostError(f"{self.name}: {' '.join(command)}: {done.stderr}")


def claim_number() -> tuple[int, socket.socket]:
    """Return a number that no other host of this machine has, and what reserves it for as long as it is open."""
    for number in range(1, 255):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0imagesync-test-host-{number}")
        except OSError:
            claim.close()
        else:
            return number, claim
    raise HostError("254 hosts are running")


@contextmanager
def _mailbox(path: Path) -> Iterator[socket.socket]:
    """Open the socket that takes what systemd-nspawn has to tell."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mailbox:
        mailbox.bind(str(path))
        mailbox.settimeout(1.0)
        try:
            yield mailbox
        finally:
            path.unlink()


def _said(mailbox: socket.socket) -> list[str]:
    try:
        return mailbox.recv(4096).decode().splitlines()
    except TimeoutError:
        return []


def _child(process: int) -> int:
    """Return the first child of a process of ours, 0 when there is none."""
    with suppress(FileNotFoundError, ProcessLookupError):
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        return int(children[0]) if children else 0
    return 0


def _await_end(process: int) -> None:
    """Return once a process is gone. PID 1 of a namespace goes last."""
    with suppress(ProcessLookupError, OSError):
        descriptor = os.pidfd_open(process)
        try:
            select.select([descriptor], [], [], STOP_LIMIT)
        finally:
            os.close(descriptor)


def _remove_groups(unit: str) -> None:
    for hierarchy in _GROUPS:
        for folder, _, _ in os.walk(hierarchy / unit, topdown=False):
            with suppress(FileNotFoundError):
                os.rmdir(folder)
