"""The command that saves the state, as the chapter on installation has it, on a state that is being written to."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

STUBS = {
    "runuser": '#!/bin/sh\nshift 3\nexec "$@"\n',
    # A second for each call.
    "date": '#!/bin/sh\necho . >>"$TOP/calls"\necho "20260101T0000$(wc -l <"$TOP/calls")"\n',
}


@pytest.fixture
def command(root: Path, tmp_path: Path, blocks: Callable[[Path, str], list[str]]) -> str:
    """Return the command, for states below a directory of this test and without other users."""
    (text,) = [block for block in blocks(root / "docs/installation.rst", "text") if "VACUUM INTO" in block]
    for program, stub in STUBS.items():
        (tmp_path / program).write_text(stub)
        (tmp_path / program).chmod(0o755)
    text = text.replace("/usr/lib/imagesync/bin/python3", sys.executable).replace(" -o imagesync -g imagesync", "")
    return text.replace("/var/lib/imagesync", str(tmp_path / "lib"))


def _rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        (count,) = database.execute("SELECT count(*) FROM accepted").fetchone()
    return int(count)


def test_it_works_every_day(command: str, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TOP": str(tmp_path)}
    with closing(sqlite3.connect(tmp_path / "lib/state.db")) as state:
        state.execute("PRAGMA journal_mode = WAL")
        state.execute("CREATE TABLE accepted (name TEXT)")
        for day in range(2):
            with state:
                state.execute("INSERT INTO accepted VALUES (?)", (str(day),))
            subprocess.run(["sh", "-euc", command], env=environment, check=True, timeout=60)

    saved = sorted((tmp_path / "lib/backups").iterdir())
    assert [_rows(path) for path in saved] == [1, 2]
