"""``python -m host install``: build what hosts start from. ``python -m host run``: boot one, until Ctrl-C."""

from __future__ import annotations

import shlex
import signal
import sys

from cloud.software import NotInstalledError

from host.base import base, install
from host.machine import open_host


def main(arguments: list[str]) -> None:
    """Do what the arguments say."""
    match arguments:
        case ["install"]:
            try:
                install()
            except NotInstalledError as error:
                sys.exit(f".ci/host: {error}")
        case ["run"]:
            with open_host(base(), "imagesync") as host:
                sys.stdout.write(shlex.join(host.inside("bash", TERM="linux")) + "\n")
                sys.stdout.flush()
                signal.sigwait({signal.SIGINT, signal.SIGTERM})
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main(sys.argv[1:])
