"""The distributions, built once from this checkout, and hosts to install them on."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cloud.software import exclusive
from cloud.turns import everything
from following import Publisher
from host.base import base
from host.machine import Host, open_host

ROOT = Path(__file__).parents[2]
LONG = frozenset(
    f"test_{what}.py" for what in ("ansible_hosts", "boot_unit", "container", "deb", "host", "pip", "release", "rpm")
)
"""What builds packages or installs them on hosts takes minutes: ``make test-packaging`` runs it."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what is long, unless everything is wanted or it is named on the command line."""
    named = any(collection_path.stem in word for word in config.invocation_params.args)
    return True if collection_path.name in LONG and not (named or everything()) else None


def _build(kind: str, into: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(into)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert built.returncode == 0, built.stderr
    (found,) = into.iterdir()
    return found


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the top of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a wheel of this checkout."""
    return _build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a source distribution of this checkout."""
    return _build("sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def build_once(root: Path, testrun_uid: str) -> Callable[[str], None]:
    """Return a function that runs a script of ``.ci`` once in a run of tests, however many processes ask for it.

    Such scripts begin by removing what they made before, which another process may be looking at.
    """

    def build(script: str) -> None:
        built = root / "build" / f"{script}.run"
        with exclusive(built.with_suffix(".lock")):
            if built.exists() and built.read_text(encoding="utf-8") == testrun_uid:
                return
            ran = subprocess.run([root / ".ci" / script], capture_output=True, text=True, check=False, timeout=1800)
            assert ran.returncode == 0, ran.stdout + ran.stderr
            built.write_text(testrun_uid, encoding="utf-8")

    return build


@pytest.fixture(scope="session")
def deb(root: Path) -> Path:
    """Return the Debian package of this checkout."""
    found = sorted((root / "build" / "deb").glob("*.deb"))
    assert found, "there is no package to test: make deb"
    return found[-1]


@pytest.fixture
def make_host() -> Iterator[Callable[[str], Host]]:
    """Return a function that boots a host with a name; all are gone at the end of the test."""
    with ExitStack() as hosts:
        yield lambda name: hosts.enter_context(open_host(base(), name))


@pytest.fixture
def publisher(host: Host, tmp_path: Path) -> Iterator[Publisher]:
    """Return a publisher in the network of the host."""
    publisher = Publisher(host, tmp_path / "publisher")
    yield publisher
    publisher.close()


@pytest.fixture
def host(make_host: Callable[[str], Host]) -> Host:
    """Return a host on which nothing is installed."""
    return make_host("fresh")
