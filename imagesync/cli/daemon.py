"""``imagesync daemon``."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from imagesync.cli.context import INTERRUPTED, Options, clock, complain, environment, new_run_id

if TYPE_CHECKING:
    from imagesync.daemon.passes import Site


@click.command()
@click.pass_context
def daemon(ctx: click.Context, /) -> None:
    """Look at every list when it is due, for years.

    Each subscription is looked at as often as its `every` or `cron` says, in a process of its own. SIGHUP reads the
    configuration again; SIGTERM ends within 30 seconds. Under systemd it is a service of Type=notify; as PID 1 of a
    container it reaps what others leave.

    Exit codes: 0 ended by a signal; 2 the configuration is wrong; 6 another daemon works with the same state.
    """
    from imagesync.daemon.init import fork_below_init

    # Whoever asks for a reload before there is anything to reload must not end it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    code = fork_below_init() if os.getpid() == 1 else None
    if code is None:
        # For years, unlike a pass: cycles are looked for as often as is usual.
        gc.set_threshold(700)
        _raise_limit_of_descriptors()
        _serve(ctx.obj)
    ctx.exit(code or 0)


def _serve(options: Options) -> None:
    from imagesync.daemon.passes import Passes, Program
    from imagesync.daemon.service import Service
    from imagesync.daemon.systemd import Notifier

    site = _checked(_read(options), starting=True)
    options.start_logging()
    program = Program(_command(options), dict(environment()), clock, new_run_id)
    passes = Passes(program)
    passes.stop.enforce(_abandon)
    service = Service(site, passes, lambda: _checked(_read(options)), Notifier.of(environment(), os.getpid()))
    # What is imported stays: a look for cycles that goes through it all holds up every thread for a tenth of a second.
    gc.collect()
    gc.freeze()
    with _alone(site):
        service.serve()


@contextmanager
def _alone(site: Site) -> Iterator[None]:
    """Keep other daemons from the same state: two would tell everything twice. Without a state nobody can tell.

    Raises:
        LockedError: there is one already.
    """
    from imagesync.errors import LockedError, StateError
    from imagesync.run.wiring import DAEMON, open_configured_state

    with ExitStack() as stack:
        try:
            state = stack.enter_context(open_configured_state(site.config))
            stack.enter_context(state.lock(DAEMON, clock()))
        except LockedError:
            raise
        except StateError as error:
            complain(f"imagesync: whether another daemon is at work is not known: {error}")
        yield


def _raise_limit_of_descriptors() -> None:
    """Take as many as may be had: a page that is besieged must not keep passes from starting."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _abandon() -> None:
    complain("not everything ended in time; the next run cleans up")
    os._exit(INTERRUPTED)


def _command(options: Options) -> list[str]:
    command = [sys.executable, "-m", "imagesync", "--config", str(options.config_path.absolute())]
    command += ["--log-level", options.log_level or "info"]
    return [*command, "--log-json"] if options.log_json else command


def _read(options: Options) -> Site:
    """Return the configuration as it is now.

    Raises:
        ConfigError: with every problem found.
    """
    from imagesync.config.load import load, snapshot
    from imagesync.daemon.passes import Site

    files = snapshot(options.config_path)
    return Site(load(options.config_path, environment(), files), files)


def _checked(site: Site, *, starting: bool = False) -> Site:
    """Return ``site``, after looking also for what its words alone do not show.

    At the start there is nothing to go on with instead: what may come in time, as secrets and trust anchors, keeps
    none from starting, and is told by the passes that need it.

    Raises:
        ConfigError: with every problem found.
    """
    from imagesync import registry
    from imagesync.config.check import check, check_settings
    from imagesync.config.load import refusal

    problems = (check_settings if starting else check)(site.config, registry.load_backend, registry.sources())
    if problems:
        raise refusal(site.config.path, problems)
    return site
