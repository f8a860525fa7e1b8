"""One booted host, and what is done on it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from host.base import Base
from host.power import HostError, Power, claim_number

RUN_LIMIT = 280.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Host:
    """A host that is running."""

    power: Power

    @property
    def name(self) -> str:
        """Return its host name."""
        return self.power.name

    @property
    def address(self) -> str:
        """Return where it answers over its cable."""
        return self.power.address

    @property
    def console(self) -> str:
        """Return what it has printed since it was made."""
        return self.power.console

    def boot(self) -> None:
        """Return once it is booted, with all its units.

        Raises:
            HostError: this machine cannot boot a host, or a unit failed.
        """
        self.power.start()
        self.check_units()

    def check_units(self) -> None:
        """Raise HostError unless the host is running, and no unit of it has failed."""
        state = self.ask("systemctl", "is-system-running", "--wait")
        if state != "running":
            failed = self.attempt("systemctl", "--failed", "--no-legend", "--plain").stdout
            raise HostError(f"{self.name} is {state}: {failed}{self.attempt('journalctl', '-p', 'err').stdout}")

    def stop(self) -> None:
        """Power it off in an orderly way; its files stay."""
        self.power.stop()

    def reboot(self) -> None:
        """Power it off and boot the same tree. (systemd-nspawn ends when a host reboots by itself.)"""
        self.stop()
        self.boot()

    def power_cut(self) -> None:
        """End it from one moment to the next; its files stay as they are."""
        self.power.cut()

    def inside(self, *command: str, **environment: str) -> list[str]:
        """Return the command that runs a command on the host, as root, with nothing of our environment."""
        variables = {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", **environment}
        clean = ["env", "-i", *(f"{name}={value}" for name, value in variables.items())]
        return ["nsenter", "--target", str(self.power.leader), "--all", "--", *clean, *command]

    def inside_network(self, *command: str) -> list[str]:
        """Return the command that runs a program of this machine in the network of the host."""
        return ["nsenter", "--target", str(self.power.leader), "--net", "--", *command]

    def attempt(self, *command: str, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the host with ``text`` as its input; return whatever comes of it."""
        return subprocess.run(
            self.inside(*command, **environment),
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_LIMIT,
        )

    def run(self, *command: str, text: str = "", **environment: str) -> str:
        """Run a command on the host with ``text`` as its input; return what it prints.

        Raises:
            HostError: it ended with another status than 0; has all that it said.
        """
        done = self.attempt(*command, text=text, **environment)
        if done.returncode:
            said = f"{done.stdout}\n{done.stderr}"
            raise HostError(f"{self.name}: {' '.join(command)} ended with {done.returncode}:\n{said}")
        return done.stdout

    def ask(self, *command: str) -> str:
        """Return the first line that a command prints, whatever its status."""
        return self.attempt(*command).stdout.partition("\n")[0]

    def copy(self, source: Path, into: str) -> None:
        """Copy a file, or a directory under its name, into a directory of the host, which is made."""
        self.run("mkdir", "-p", into)
        pack = ["tar", "--create", "--owner=0", "--group=0", f"--directory={source.parent}", source.name]
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
            unpack = self.inside("tar", "--extract", f"--directory={into}")
            subprocess.run(unpack, stdin=packing.stdout, check=True, timeout=RUN_LIMIT)
        if packing.returncode:
            raise HostError(f"{source} could not be packed")

    def write(self, path: str, text: str, *, mode: int = 0o644, owner: str = "root", group: str = "root") -> None:
        """Write a file on the host; directories above it are made."""
        rights = ["-D", f"--mode={mode:o}", f"--owner={owner}", f"--group={group}"]
        self.run("install", *rights, "/dev/stdin", path, text=text)

    def read(self, path: str) -> str:
        """Return the text of a file of the host."""
        return self.run("cat", path)

    def journal(self, *of: str) -> str:
        """Return what the journal has, of a unit when ``-u``, ``UNIT`` are given."""
        return self.run("journalctl", "--no-pager", "--output=cat", *of)

    def authorize(self, public_key: str) -> str:
        """Let whoever has the key in as root over SSH; return the line of ``known_hosts`` for this host."""
        self.write("/root/.ssh/authorized_keys", public_key, mode=0o600)
        kind, key, *_ = self.read("/etc/ssh/ssh_host_ed25519_key.pub").split()
        return f"{self.address} {kind} {key}\n"


@contextmanager
def open_host(base: Base, name: str) -> Iterator[Host]:
    """Make a host from a base and boot it; at the end nothing is left of it.

    Raises:
        NotInstalledError: the base was not built.
        HostError: this machine cannot boot a host.
    """
    base.check()
    number, claim = claim_number()
    with claim:
        power = Power(name, base, number, claim)
        power.prepare()
        host = Host(power)
        try:
            host.boot()
            yield host
        finally:
            power.remove()
