"""What every answer is made from, and the one thing that can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from imagesync.config.schema import Config
from imagesync.daemon.web.access import Rules
from imagesync.daemon.web.metrics import Metrics
from imagesync.daemon.web.window import Glances


@dataclass(frozen=True, slots=True)
class Desk:
    """The daemon as it is seen, its metrics, and who may look."""

    glances: Glances
    metrics: Metrics
    rules: Rules

    @property
    def config(self) -> Config:
        """Return the configuration in force."""
        return self.glances.window.site().config

    def hasten(self, name: str) -> datetime | None:
        """Make the pass over list ``name`` due now; return when that is, ``None`` if no such list is followed."""
        if not any(item.name == name and item.enabled for item in self.config.subscriptions):
            return None
        window = self.glances.window
        at = window.clock()
        window.hasten(name)
        self.glances.forget()
        return at
