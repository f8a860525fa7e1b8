"""What a service manager is told (sd_notify(3)). Without one, nothing."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from imagesync.plan.render import one_line

_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Notifier:
    """Where to send messages: ``address`` is that of a datagram socket, or empty.

    ``watchdog`` is the time in seconds within which the service manager wants a sign of life, or 0.
    """

    address: str = ""
    watchdog: float = 0.0

    @classmethod
    def of(cls, environment: Mapping[str, str], pid: int) -> Notifier:
        """Return what ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` say to the process ``pid``."""
        address = environment.get("NOTIFY_SOCKET", "")
        wanted = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
        return cls(address, int(wanted) / 1e6 if wanted.isdecimal() and ours else 0.0)

    def tell(self, *assignments: str) -> None:
        """Send assignments such as ``READY=1``. A service manager that does not listen is no error."""
        if not self.address:
            return
        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
            link.settimeout(0)
            link.sendto("\n".join(assignments).encode("utf-8", "replace"), name)

    def status(self, text: str) -> None:
        """Show ``text`` in ``systemctl status``; one line of 200 characters at most, that steers no terminal."""
        self.tell("STATUS=" + one_line(text, _LONGEST))
