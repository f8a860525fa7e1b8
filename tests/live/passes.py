"""Passes in processes of their own, to be killed: forked from one that has imported everything, so that they are quick."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(
    [
        "glanceclient.v2.images",
        "imagesync.cli.main",
        "imagesync.run.preparation",
        "imagesync.run.wiring",
        "imagesync_glance.backend",
        "keystoneauth1.loading",
        "openstack.config",
    ]
)


def start(words: Sequence[str], environment: Mapping[str, str], output: Path) -> ForkServerProcess:
    """Start the command line with an environment; what it prints goes to the file ``output``."""
    process = _FORKED.Process(target=_run, args=(tuple(words), dict(environment), output), daemon=True)
    process.start()
    return process


def _run(words: tuple[str, ...], environment: dict[str, str], output: Path) -> None:
    from imagesync.cli.main import run

    with output.open("ab", buffering=0) as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["imagesync", *words]
    run()
