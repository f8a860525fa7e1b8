"""What PID 1 of a container owes: reap everybody's orphans, and pass signals on."""

from __future__ import annotations

import os
import signal
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def fork_below_init() -> int | None:
    """Fork, and return ``None`` in the child, which goes on; the parent returns the child's exit code when it ends.

    Call it while there is only one thread. A process that a signal ended counts as 128 + its number, as in shells.
    """
    child = os.fork()
    if child == 0:
        return None

    def forward(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a receiver
        os.kill(child, number)

    for number in _SIGNALS:
        signal.signal(number, forward)
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
