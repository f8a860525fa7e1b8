"""What cannot be observed again.

A state is a database: SQLite in a file, or PostgreSQL where several hosts share one. Everything that a plan needs is
read from the targets; here are only the pins and floors of lists, the dates and signed bytes of what was accepted,
back-off, what became of uploaded files, and history. Losing it costs just that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagesync.state.records import (
    ActionRecord,
    ArtifactRecord,
    AttemptRecord,
    BootRecord,
    ChangeRecord,
    Evidence,
    EvidenceKind,
    ImageRecord,
    ListStandingRecord,
    ListVersion,
    MessageRecord,
    MetadataRecord,
    PassRecord,
    Pausable,
    PauseRecord,
    Pruned,
    Resets,
    RunRecord,
    StoredList,
    TroubleRecord,
    key_digest,
)

if TYPE_CHECKING:
    from imagesync.state.repository import Repository

__all__ = [
    "ActionRecord",
    "ArtifactRecord",
    "AttemptRecord",
    "BootRecord",
    "ChangeRecord",
    "Evidence",
    "EvidenceKind",
    "ImageRecord",
    "ListStandingRecord",
    "ListVersion",
    "MessageRecord",
    "MetadataRecord",
    "PassRecord",
    "Pausable",
    "PauseRecord",
    "Pruned",
    "Resets",
    "RunRecord",
    "StoredList",
    "TroubleRecord",
    "key_digest",
    "open_state",
]


def open_state(url: str, password: str | None = None, *, readonly: bool = False) -> Repository:
    """Return the state at ``url``, made or brought up to date if necessary. A context manager that closes it.

    ``url`` is an SQLAlchemy URL, ``sqlite:////absolute/path`` or ``postgresql+psycopg://…``; ``password`` goes with
    the latter. With ``readonly`` nothing is written: a state that does not exist yet reads as an empty one.

    Raises:
        StateError: it cannot be opened, is damaged, is no state of imagesync, or was made by a newer imagesync.
    """
    from imagesync.state.repository import Repository

    return Repository.open(url, password, readonly=readonly)
