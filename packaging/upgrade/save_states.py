"""Saves every SQLite state below a directory before an upgrade: ``save_states.py STATES VERSION WHAT-TO-DO-THEN``.

Both packages run it, as the user of the service, with nothing but Python. The copies go to
``STATES/backups/package/VERSION-DATE``, with the version that they are of; three of these are kept. Whatever else is in
``backups`` is somebody else's.
"""

import os
import shutil
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

KEPT = 3


def main(states: Path, version: str, afterwards: str) -> None:
    """Save them all, or end with the reason why one cannot be saved."""
    os.umask(0o077)
    path = states
    try:
        unfinished = _places(states) / ".unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        found = []
        for path in _states(states):
            _save(path, unfinished / path.relative_to(states))
            found.append(path)
        if found:
            saved = unfinished.rename(_places(states) / f"{version}-{datetime.now(UTC):%Y%m%dT%H%M%S}")
            _trim(_places(states))
            sys.stdout.writelines(f"imagesync: the state {one} is saved in {saved}\n" for one in found)
    except (OSError, sqlite3.Error) as error:
        sys.exit(
            f"imagesync: {path} cannot be saved, and the new version may change it: {error}\n"
            "imagesync: Put that right, or move the file away if it is beyond repair (that costs pins and history), "
            f"then: {afterwards}"
        )


def _places(states: Path) -> Path:
    return states / "backups" / "package"


def _states(states: Path) -> list[Path]:
    found = (one for pattern in ("*.db", "*/*.db") for one in states.glob(pattern))
    return sorted(one for one in found if states / "backups" not in one.parents and _is_state(one))


def _is_state(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _save(path: Path, saved: Path) -> None:
    saved.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=30)) as source, closing(sqlite3.connect(saved)) as target:
        source.backup(target)


def _trim(ours: Path) -> None:
    kept = [one for one in ours.iterdir() if one.is_dir()]
    for old in sorted(kept, key=lambda one: one.name.rpartition("-")[2])[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:4])
