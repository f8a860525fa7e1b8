"""What every area shares: the count of tests per area at the end of a run."""

from collections import Counter
from pathlib import PurePosixPath

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["cloud.fixtures"]

# How fast a shared machine is says nothing about the code.
settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")


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
