"""Where a pass writes down what is found out while images are prepared, and the one time that it knows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from imagesync.state.repository import Repository


@dataclass(frozen=True, slots=True)
class Notebook:
    """The state, and when the pass began.

    ``again`` says that somebody asked for these very images: what failed for them before is looked at anew.
    """

    state: Repository
    now: datetime
    again: bool = False
