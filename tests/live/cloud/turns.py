"""What is too long for every run, and whose turn it is: another part for each commit."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

PARTS = (
    ("test_consumers", "test_lifetime", "test_permissions", "test_crashes"),
    ("test_many", "test_old_glance", "test_by_hand", "test_writers"),
    ("test_nova", "test_configuration", "test_definitions", "test_servers", "test_logins", "test_proxy", "test_limits"),
    ("test_answers", "test_services", "test_hosts", "test_killed", "test_secrets"),
)
"""Modules with real services of which ``make test`` takes one part; ``make test-live`` takes all."""


def everything() -> bool:
    """Return whether everything is wanted, as ``make test-live`` says in the environment."""
    return bool(os.environ.get("IMAGESYNC_FULL"))


@cache
def commit() -> int:
    """Return the commit as a number, 0 outside a repository."""
    where = Path(__file__).parent
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=where, capture_output=True, text=True, check=False)
    return int(asked.stdout.strip() or "0", 16)


def not_yet() -> frozenset[str]:
    """Return the modules whose turn it is not."""
    if everything():
        return frozenset()
    turn = commit() % len(PARTS)
    return frozenset(name for part in PARTS[:turn] + PARTS[turn + 1 :] for name in part)
