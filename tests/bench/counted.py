"""The command line with every SQL statement written to a file: ``python counted.py FILE ARGUMENT...``."""

import json
import sys
from pathlib import Path

import sqlalchemy as sa

from imagesync.cli.main import cli

statements: list[str] = []


@sa.event.listens_for(sa.Engine, "before_cursor_execute")
def _note(connection: object, cursor: object, statement: str, *_: object) -> None:
    statements.append(" ".join(statement.split()))


code = cli.main(sys.argv[2:], standalone_mode=False)
Path(sys.argv[1]).write_text(json.dumps(statements), encoding="utf-8")
sys.exit(code)
