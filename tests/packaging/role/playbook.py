"""Running the role, and what came of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from role.software import ROOT, ansible

COLLECTION = ROOT / "packaging" / "ansible"
RUN_LIMIT = 900
ROLE = "imagesync.imagesync.imagesync"
_HEAD = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(?:\S+ : )?(.*)\] \*+$")
_CHANGE = re.compile(r"^changed: \[[^\]]*\](?: => \(item=(.*)\))?")


@dataclass(frozen=True, slots=True)
class Run:
    """What a run of ansible-playbook said."""

    code: int
    output: str
    seconds: float

    @property
    def changed(self) -> tuple[tuple[str, str], ...]:
        """Return each task that changed something, with its item, in order."""
        found, task = [], ""
        for line in self.output.splitlines():
            if head := _HEAD.match(line):
                task = head[1]
            elif change := _CHANGE.match(line):
                found.append((task, change[1] or ""))
        return tuple(found)

    @property
    def count(self) -> int:
        """Return how many tasks changed something, as the recap says."""
        counted = re.findall(r"\bchanged=(\d+)", self.output)
        assert counted, self.output
        return sum(map(int, counted))


@dataclass(frozen=True, slots=True)
class Controller:
    """A machine with Ansible that may log in to hosts as root."""

    home: Path
    control: Path
    known: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Return the public key to let in."""
        return (self.home / "key.pub").read_text(encoding="utf-8")

    def meet(self, known_host: str) -> None:
        """Know the key of a host."""
        with (self.home / "known_hosts").open("a", encoding="utf-8") as file:
            file.write(known_host)

    def play(self, address: str, *instances: Mapping[str, Any], options: tuple[str, ...] = ()) -> Run:
        """Run the role once for each of ``instances``, which are its variables."""
        roles = [{"role": ROLE, "vars": dict(variables)} for variables in instances]
        play = self.home / "site.yml"
        play.write_text(json.dumps([{"name": "Have imagesync", "hosts": "all", "roles": roles}]), encoding="utf-8")
        command = ["-i", f"{address},", "-u", "root", *options, str(play)]
        return self.run("ansible-playbook", *command)

    def run(self, program: str, *arguments: str, where: Path | None = None) -> Run:
        """Run one of Ansible's programs."""
        start = time.monotonic()
        done = subprocess.run(
            [ansible().program(program), *arguments],
            cwd=where or self.home,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=RUN_LIMIT,
        )
        return Run(done.returncode, done.stdout, time.monotonic() - start)

    def close(self, address: str) -> None:
        """End the connection that is kept open between runs."""
        if any(self.control.iterdir()):
            path = f"ControlPath={next(self.control.iterdir())}"
            subprocess.run(
                ["ssh", "-F", "/dev/null", "-O", "exit", "-o", path, address], capture_output=True, check=False
            )

    def _environment(self) -> dict[str, str]:
        ssh = {
            "IdentityFile": self.home / "key",
            "UserKnownHostsFile": self.home / "known_hosts",
            "ControlMaster": "auto",
            "ControlPersist": "300",
            "ControlPath": self.control / "%C",
        }
        return {
            "PATH": f"{ansible().home / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_HOME": str(self.home / "ansible"),
            "ANSIBLE_COLLECTIONS_PATH": str(self.home / "collections"),
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_NOCOWS": "true",
            "ANSIBLE_SSH_ARGS": "-F /dev/null " + " ".join(f"-o {name}={value}" for name, value in ssh.items()),
            "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
            "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
        }


@contextmanager
def controller(home: Path) -> Iterator[Controller]:
    """Yield a machine with Ansible and the collection of this checkout.

    Raises:
        NotInstalledError: Ansible is not there.
    """
    ansible().check()
    home.mkdir(exist_ok=True)
    collection = home / "collections/ansible_collections/imagesync"
    collection.mkdir(parents=True)
    (collection / "imagesync").symlink_to(COLLECTION)
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / "key")]
    subprocess.run(keygen, check=True, capture_output=True)
    # The name of a socket may have 107 bytes; the directories of tests are too deep for that.
    control = Path(tempfile.mkdtemp(prefix="ssh-"))
    try:
        yield Controller(home, control)
    finally:
        shutil.rmtree(control)
