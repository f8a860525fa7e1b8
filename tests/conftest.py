"""What every area shares: what documents say, and the count of tests per area at the end of a run."""

import doctest
import re
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from cloud.turns import not_yet
from hypothesis import HealthCheck, settings

pytest_plugins = ["cloud.fixtures"]


def _patient(install: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return a ``sys.settrace`` that waits while another thread is at it.

    CPython 3.11 refuses that, and an audit hook, such as filelock's, lets other threads run in the middle of it. A
    thread that is measured by coverage would end before it began.
    """

    def installed(function: Any) -> None:
        while True:
            try:
                install(function)
            except RuntimeError:
                time.sleep(0.001)
            else:
                return

    return installed


sys.settrace = _patient(sys.settrace)

# How fast a shared machine is says nothing about the code.
settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, str], Path]]:
    """Return a function that mounts a small file system at a path; unmounted at the end."""
    points: list[Path] = []

    def mount(point: Path, size: str) -> Path:
        point.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(point)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"this test mounts a tmpfs and has to run as root: {done.stderr}"
        points.append(point)
        return point

    yield mount
    for point in points:
        subprocess.run(["umount", str(point)], check=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out those live modules whose turn it is not, unless they are named on the command line."""
    others = not_yet()
    named = {name for name in others if any(name in word for word in config.invocation_params.args)}
    out = [item for item in items if _is_live(item.path) and item.path.stem in others - named]
    if out:
        items[:] = [item for item in items if item not in set(out)]
        config.hook.pytest_deselected(items=out)


def _is_live(path: Path) -> bool:
    return bool({"live", "glance"} & set(path.parts))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests of each area passed and how many did not."""
    counts = {
        outcome: Counter(_area(report.nodeid) for report in terminalreporter.stats.get(outcome, ()))
        for outcome in ("passed", "failed", "error")
    }
    terminalreporter.section("tests per area")
    for area in sorted(set().union(*counts.values())):
        passed, bad = counts["passed"][area], counts["failed"][area] + counts["error"][area]
        terminalreporter.write_line(f"{area:<16} {passed:>5} passed{f' {bad:>5} not' if bad else ''}")


def _area(nodeid: str) -> str:
    parts = PurePosixPath(nodeid.split("::", maxsplit=1)[0]).parts
    return parts[1] if len(parts) > 2 else "tests"


# --- what documents say -----------------------------------------------------------------------------------------------
@pytest.fixture(scope="session")
def blocks() -> Callable[[Path, str], list[str]]:
    """Return a function from a document and a language to the text of its code blocks, in order."""
    return _blocks


@pytest.fixture(scope="session")
def prints() -> Callable[[str, str], bool]:
    """Return whether a text is what a document says, in which ``...`` stands for anything."""

    def same(said: str, printed: str) -> bool:
        options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        return not said or doctest.OutputChecker().check_output(f"{said}\n", printed, options)

    return same


@pytest.fixture(scope="session")
def decisions() -> dict[str, set[str]]:
    """Return the reasons of the safety model, each with the decisions that it may stand for."""
    text = (Path(__file__).parents[1] / "docs" / "safety.rst").read_text(encoding="utf-8")
    table = text[text.index("The reasons in a plan") : text.index("Why a list is not used")]
    rows = re.findall(r"^   \* - ``([a-z-]+)``\n     - ([a-z, ]+)\n     - \S", table, flags=re.MULTILINE)
    return {word: set(kinds.split(", ")) for word, kinds in rows}


def _blocks(document: Path, language: str) -> list[str]:
    lines = iter(document.read_text(encoding="utf-8").splitlines())
    heads = (line for line in lines if line.strip() == f".. code-block:: {language}")
    return [_block(lines, len(line) - len(line.lstrip())) for line in heads]


def _block(lines: Iterator[str], indent: int) -> str:
    taken: list[str] = []
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        taken.append(line)
    return textwrap.dedent("\n".join(taken)).strip("\n")
