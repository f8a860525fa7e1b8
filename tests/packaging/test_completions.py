"""The completions complete, in the shells that they are for."""

import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAMS = Path(sys.executable).parent
ENVIRONMENT = {"PATH": f"{PROGRAMS}:{os.defpath}", "LC_ALL": "C.UTF-8", "TERM": "dumb", "PS1": "ready> "}


@pytest.fixture(scope="module")
def completions(root: Path) -> Path:
    """Return the directory of the completions."""
    return root / "packaging" / "completions"


def test_the_completions_are_current(completions: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(completions / "generate.py"), str(tmp_path)], check=True, timeout=60)

    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made == {name: (completions / name).read_text() for name in made}, "run `make man`, commit what it changed"
    assert set(made) == {"imagesync.bash", "_imagesync", "imagesync.fish"}


@pytest.mark.parametrize(
    ("shell", "name"), [("bash", "imagesync.bash"), ("zsh", "_imagesync"), ("fish", "imagesync.fish")]
)
def test_a_shell_finds_no_fault_in_its_completion(completions: Path, shell: str, name: str) -> None:
    judged = subprocess.run(
        [shell, "-n", str(completions / name)], capture_output=True, text=True, check=False, timeout=60
    )

    assert (judged.returncode, judged.stderr) == (0, "")


class Typist:
    """Somebody at a terminal on which a shell runs."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self.seen = ""

    def types(self, keys: str) -> None:
        self.seen = ""
        os.write(self._terminal, keys.encode())

    def loads(self, command: str) -> None:
        """Have the shell run a command, and wait for its next prompt: earlier keys go to the terminal, not to it."""
        self.types(f"{command}; echo loa''ded\n")
        assert self.sees("loaded"), self.seen
        self.seen = self.seen.partition("loaded")[2]
        assert self.sees("ready> "), self.seen

    def sees(self, text: str) -> bool:
        """Return whether ``text`` appears; a shell that does not show it for 20 seconds never does."""
        while text not in self.seen:
            ready, _, _ = select.select([self._terminal], [], [], 20)
            if not ready:
                return False
            self.seen += os.read(self._terminal, 4096).decode()
        return True


@contextmanager
def _typist(*shell: str, home: Path) -> Iterator[Typist]:
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        shell, stdin=theirs, stdout=theirs, stderr=theirs, cwd=home, start_new_session=True,
        env=ENVIRONMENT | {"HOME": str(home)},
    )  # fmt: skip
    os.close(theirs)
    try:
        yield Typist(ours)
    finally:
        running.kill()
        running.wait()
        os.close(ours)


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("imagesync statu\t", "imagesync status "),
        ("imagesync list ver\t", "imagesync list verify "),
        ("imagesync --log-l\t", "imagesync --log-level "),
        ("imagesync --log-level war\t", "imagesync --log-level warning "),
        ("imagesync -c some.y\t", "imagesync -c some.yaml "),
    ],
)
def test_bash_completes(completions: Path, tmp_path: Path, typed: str, completed: str) -> None:
    (tmp_path / "some.yaml").touch()

    with _typist("bash", "--norc", "--noprofile", "-i", home=tmp_path) as typist:
        typist.loads(f". {completions}/imagesync.bash")
        typist.types(typed)
        assert typist.sees(completed), typist.seen


def test_bash_offers_every_command_but_the_hidden_one(completions: Path, tmp_path: Path) -> None:
    with _typist("bash", "--norc", "--noprofile", "-i", home=tmp_path) as typist:
        typist.loads(f". {completions}/imagesync.bash")
        typist.types("imagesync \t\t")
        for command in ("daemon", "demo", "list", "plan", "sync", "why"):
            assert typist.sees(command), typist.seen

    assert "pass" not in typist.seen.split()


def test_zsh_completes(completions: Path, tmp_path: Path) -> None:
    with _typist("zsh", "-f", "-i", home=tmp_path) as typist:
        typist.loads(f"fpath=({completions} $fpath); autoload -U compinit; compinit -u -D")
        typist.types("imagesync list ver\t")
        assert typist.sees("verify "), typist.seen


def test_fish_completes(completions: Path, tmp_path: Path) -> None:
    command = f"source {completions}/imagesync.fish; complete -C 'imagesync list ver'"
    ran = subprocess.run(
        ["fish", "--no-config", "-c", command], env=ENVIRONMENT | {"HOME": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert (ran.returncode, ran.stdout.split()[:1], ran.stderr) == (0, ["verify"], "")
