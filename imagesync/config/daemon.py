"""The options of the daemon."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from imagesync.config.values import Duration, Section


class Daemon(Section):
    """How ``imagesync daemon`` works. The other commands do not look here."""

    jitter: Duration = Field(
        default=timedelta(minutes=5),
        description="By how much the time of a pass varies at random, so that sites do not all ask at once.",
    )
    silence: Duration = Field(
        default=timedelta(minutes=30),
        description="A pass that shows no sign of life for this long is stuck: it is killed and tried again later.",
    )
    deadline: Duration = Field(
        default=timedelta(hours=24),
        description="A pass that takes longer is killed; the next one goes on where it was.",
    )
    housekeeping: Duration = Field(
        default=timedelta(hours=24),
        description="How often due images, old history and unused cache entries are removed (``imagesync prune``).",
    )
