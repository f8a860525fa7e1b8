from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from imagesync.errors import LockedError
from imagesync.state.repository import Repository

HOLD = """
import os, sys
from datetime import datetime, UTC
from imagesync.state import open_state
with open_state(sys.argv[1], os.environ.get("PASSWORD")) as state, state.lock("site", datetime(2026, 3, 1, tzinfo=UTC)):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(place: Any) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | ({"PASSWORD": place.password} if place.password else {})
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, place.url], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_whether_a_lock_is_held_is_seen_without_taking_it(
    place: Any, holder: subprocess.Popen[bytes], repository: Repository, now: datetime
) -> None:
    with place.open(readonly=True) as onlooker:
        assert onlooker.is_locked("site")
        assert not onlooker.is_locked("other")
        with repository.lock("other", now):
            assert onlooker.is_locked("other")
        assert not onlooker.is_locked("other")


def test_a_held_lock_names_the_process_that_holds_it(
    holder: subprocess.Popen[bytes], repository: Repository, now: datetime
) -> None:
    text = f"site: is locked by process {holder.pid} on {re.escape(socket.gethostname())} since 43200 s"
    with pytest.raises(LockedError, match=text), repository.lock("site", now):
        pass


def test_the_lock_of_another_target_is_free(
    holder: subprocess.Popen[bytes], repository: Repository, now: datetime
) -> None:
    with repository.lock("other", now):
        pass


def test_a_killed_holder_leaves_the_lock_free(holder: subprocess.Popen[bytes], place: Any, now: datetime) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with place.open() as repository, ExitStack() as held:
        # PostgreSQL's server notices the broken connection a moment after the process is gone.
        eventually = retry(retry=retry_if_exception_type(LockedError), stop=stop_after_delay(30), wait=wait_fixed(0.05))
        eventually(lambda: held.enter_context(repository.lock("site", now)))()


def test_a_lock_is_free_after_use_and_after_an_error(repository: Repository, now: datetime) -> None:
    with pytest.raises(KeyError), repository.lock("site", now):
        raise KeyError
    mine = f"process {os.getpid()} "
    second = repository.lock("site", now + timedelta(seconds=1))
    with repository.lock("site", now), pytest.raises(LockedError, match=mine), second:
        pass
    with repository.lock("site", now):
        pass


def test_names_of_targets_do_not_leave_the_directory(sqlite_place: Any, now: datetime, tmp_path: Path) -> None:
    with sqlite_place.open() as repository, repository.lock("../../etc", now):
        names = {path.name for path in (tmp_path / "state" / "state.db.locks").iterdir()}
    assert names == {"..%2F..%2Fetc.lock", "..%2F..%2Fetc.json"}


def test_unreadable_facts_about_the_holder_do_not_open_the_lock(
    sqlite_place: Any, now: datetime, tmp_path: Path
) -> None:
    with sqlite_place.open() as repository, repository.lock("site", now):
        (tmp_path / "state" / "state.db.locks" / "site.json").write_text("[]")
        with pytest.raises(LockedError, match="is locked by another process"), repository.lock("site", now):
            pass
