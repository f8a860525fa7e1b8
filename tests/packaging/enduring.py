"""What a daemon on a booted host endures, however it was installed there."""

import time

from cloud.processes import wait_until
from following import pages
from host.machine import Host

PROMISED_END = 30.0
QUICK = "RestartSec=1\nWatchdogSec=10\n"
"""What a test cannot wait for, as lines of the service's."""


def property_of(host: Host, name: str, unit: str = "imagesync.service") -> str:
    """Return what systemd says of a unit."""
    return host.ask("systemctl", "show", "--value", f"--property={name}", unit)


def starts_again_when_it_is_killed_or_hangs(host: Host) -> None:
    for signal, result in (("KILL", "killed"), ("STOP", "watchdog")):
        before = property_of(host, "MainPID")
        host.run("kill", f"-{signal}", before)
        wait_until(lambda before=before: property_of(host, "MainPID") not in {"0", before})
        wait_until(lambda: pages(host) == 200)
        assert f"result '{'signal' if result == 'killed' else result}'" in host.journal("--unit", "imagesync.service")


def stops_in_time(host: Host) -> None:
    began = time.monotonic()
    host.run("systemctl", "stop", "imagesync.service")

    assert time.monotonic() - began < PROMISED_END
    assert property_of(host, "Result") == "success"
    assert host.attempt("pgrep", "--euid", "imagesync").stdout == ""


def survives_a_reboot(host: Host) -> None:
    """The service is enabled, and nothing of this machine is in the host's network any more."""
    host.reboot()
    wait_until(lambda: pages(host) == 200)

    assert host.ask("systemctl", "is-active", "imagesync.service") == "active"
