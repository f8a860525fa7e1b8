"""The options of the daemon."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from imagesync.config.secrets import SecretRef
from imagesync.config.values import Duration, Section, off_for_false

OFF = "off"
_LABEL = r"[A-Za-z0-9-]{1,63}"
_HOST_AND_PORT = re.compile(rf"(\[[0-9A-Fa-f:.]+\]|{_LABEL}(?:\.{_LABEL})*\.?):(\d{{1,5}})")


def _check_listen(value: str) -> str:
    if value == OFF or (value.startswith("unix:/") and len(value.encode()) <= len("unix:") + 107):
        return value
    found = _HOST_AND_PORT.fullmatch(value)
    if not found or not 0 < int(found[2]) < 1 << 16:
        raise ValueError('is nowhere to listen: write HOST:PORT, [ADDRESS]:PORT, unix:/PATH or "off"')
    return value


Listen = Annotated[str, Field(strict=True), BeforeValidator(off_for_false), AfterValidator(_check_listen)]
"""Where the status page is: ``HOST:PORT``, ``unix:/PATH`` or ``off``."""


class Daemon(Section):
    """How ``imagesync daemon`` works. The other commands do not look here."""

    listen: Listen = Field(
        default="127.0.0.1:8642",
        description="Where the status page, the metrics and the API are: ``HOST:PORT``, ``unix:/PATH`` or ``off``.",
    )
    auth: SecretRef | None = Field(
        default=None,
        description="The secret that the page asks for: a bearer token, or the password of any user name.",
    )
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
        description="How often old history and unused cache entries are removed.",
    )
