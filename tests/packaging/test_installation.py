"""The scripts behind the make verbs: they install what is missing, and only that."""

import os
import subprocess
from pathlib import Path

import pytest

# Stands for the interpreter, and for the one in the environment that it makes; writes down how it was called.
PYTHON = """#!/bin/sh
echo "$*" >>"$CALLS"
[ "$2" != venv ] || { mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; }
"""


def _program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def _system_packages(root: Path, verb: str, path: str, python: str) -> subprocess.CompletedProcess[str]:
    command = [str(root / ".ci" / "system-packages"), verb]
    environment = {"PATH": path, "PYTHON": python}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_without_root_it_prints_the_one_line_to_run(root: Path, tmp_path: Path) -> None:
    _program(tmp_path / "id", "#!/bin/sh\necho 1000\n")

    ran = _system_packages(root, "demo", str(tmp_path), "no-such-python")

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.splitlines()[-1] == "  apt-get install --no-install-recommends python3-venv qemu-utils openssl"


def test_with_everything_there_it_says_nothing(root: Path, tmp_path: Path) -> None:
    tools = (
        "qemu-img",
        "openssl",
        "bwrap",
        "chromium",
        "curl",
        "wrk",
        "strace",
        "xz",
        "bzip2",
        "zstd",
        "nginx",
        "initdb",
        "promtool",
        "systemd-analyze",
        "qemu-system-x86_64",
        "man",
        "mandoc",
        "zsh",
        "fish",
    )
    for tool in (*tools, "python"):
        _program(tmp_path / tool, "#!/bin/sh\n")

    ran = _system_packages(root, "test", str(tmp_path), "python")

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_an_unknown_verb_is_wrong_usage(root: Path) -> None:
    assert _system_packages(root, "everything", os.defpath, "python3").returncode == 2


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """Return a checkout with what the virtual environment depends on, and a stand-in for the interpreter."""
    for name in (".ci/venv", "pyproject.toml", "imagesync/__init__.py"):
        _program(tmp_path / name, (root / name).read_text(encoding="utf-8"))
    _program(tmp_path / "python", PYTHON)
    return tmp_path


def _installations(checkout: Path, *extra: str) -> list[str]:
    calls = checkout / "calls"
    calls.write_text("")
    environment = {"PATH": os.environ["PATH"], "PYTHON": str(checkout / "python"), "CALLS": str(calls)}
    subprocess.run(
        [str(checkout / ".ci" / "venv"), *extra], env=environment, capture_output=True, check=True, timeout=60
    )
    return [line.split()[-1] for line in calls.read_text().splitlines() if " install " in line]


def test_the_environment_is_made_once(checkout: Path) -> None:
    assert _installations(checkout) == ["."]
    assert _installations(checkout) == []


def test_the_environment_for_tests_serves_the_demo_too(checkout: Path) -> None:
    assert _installations(checkout, "test") == [".[test]"]
    assert _installations(checkout) == []


def test_the_environment_of_the_demo_does_not_serve_the_tests(checkout: Path) -> None:
    assert _installations(checkout) == ["."]
    assert _installations(checkout, "test") == [".[test]"]


def test_changed_dependencies_make_the_environment_anew(checkout: Path) -> None:
    _installations(checkout)
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")

    assert _installations(checkout) == ["."]


def test_an_installation_that_failed_is_not_taken_for_done(checkout: Path) -> None:
    _program(checkout / "python", PYTHON + '[ "$3" != install ]\n')
    with pytest.raises(subprocess.CalledProcessError):
        _installations(checkout)
    _program(checkout / "python", PYTHON)

    assert _installations(checkout) == ["."]


def test_make_alone_lists_every_verb(root: Path) -> None:
    listed = subprocess.run(
        ["make", "--no-print-directory"], cwd=root, capture_output=True, text=True, check=True, timeout=60
    )

    assert [line.split()[1] for line in listed.stdout.splitlines()] == [
        "help", "demo", "cloud", "test", "test-live", "test-boot", "test-packaging", "test-lowest", "test-newest",
        "fuzz", "mutation", "soak", "lint", "fixtures", "man", "docs", "deb", "bench", "lock", "audit", "dist",
        "rpm", "wheels", "container", "clean",
    ]  # fmt: skip


@pytest.mark.parametrize(("asked", "made"), [([], "test"), (["test-packaging", "audit"], "test-packaging audit")])
def test_ci_runs_make_in_the_checkout_it_lies_in(root: Path, tmp_path: Path, asked: list[str], made: str) -> None:
    make = _program(tmp_path / "make", '#!/bin/sh\necho "$PWD $CI $*"\n')
    path = f"{make.parent}:{os.environ['PATH']}"

    ran = subprocess.run(
        [str(root / ".ci/run"), *asked], env={"PATH": path}, cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert ran.stdout == f"{root} true {made}\n"


def test_ci_goes_through_all_that_is_long_and_says_what_failed(root: Path, tmp_path: Path) -> None:
    _program(tmp_path / "make", '#!/bin/sh\necho "$*"\ncase $* in soak | test-lowest*3.13) exit 1 ;; esac\n')
    for minor in range(11, 20):
        _program(tmp_path / f"python3.{minor}", f"#!/bin/sh\nexit {int(minor not in {12, 13})}\n")
    other = tmp_path / ".pyenv/versions/3.12.9/bin/python3"
    other.parent.mkdir(parents=True)
    _program(other, "#!/bin/sh\nexit 0\n")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}

    ran = subprocess.run(
        [str(root / ".ci/run"), "nightly"], env=environment, capture_output=True, text=True, check=False
    )

    long = ["test-packaging", "test-boot", "test-live", "fuzz", "mutation", "soak"]
    pythons = ("python3.12", "python3.13", str(other))
    ends = [f"{end} PYTHON={python}" for python in pythons for end in ("test-lowest", "test-newest")]
    assert ran.stdout.splitlines() == long + ends
    assert ran.returncode == 1
    *without, first, second = ran.stderr.splitlines()
    assert len(without) == 7
    assert without[0] == "run: without python3.11, which is not there, too old, or not whole"
    assert [first, second] == ["run: failed: make soak", "run: failed: make test-lowest PYTHON=python3.13"]
