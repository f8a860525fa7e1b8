"""Running a pass from the command line: what ``sync`` and ``plan`` share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagesync.cli.stopping import stopping
from imagesync.errors import ConfigError

if TYPE_CHECKING:
    from imagesync.cli.context import Options
    from imagesync.config.schema import Config
    from imagesync.run.exits import Exit
    from imagesync.run.export import ListExport
    from imagesync.run.progress import Display
    from imagesync.run.settings import Scope
    from imagesync.run.sync import PassResult


def selectors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--list``, ``--target`` and ``--image`` to a command. With any of them nothing outside it is touched."""
    several = [
        click.option("--list", "lists", metavar="NAME", multiple=True, help="Only this subscription (repeatable)."),
        click.option("--target", "targets", metavar="NAME", multiple=True, help="Only this target (repeatable)."),
        click.option(
            "--image",
            "images",
            metavar="GLOB",
            multiple=True,
            help="Only images whose identifier or title matches, without regard to case (repeatable).",
        ),
    ]
    for option in reversed(several):
        command = option(command)
    return command


allow_removals = click.option(
    "--allow-removals",
    type=click.IntRange(min=0),
    metavar="N",
    help="Believe up to N removals of each list on each target in this run, whatever the guard says.",
)
"""The option of ``sync`` and ``plan``."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked a pass for."""

    lists: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    allow_removals: int | None = None
    dry: bool = False
    patient: bool = False
    any_time: bool = False

    def scope(self, config: Config) -> Scope:
        """Return the scope, after checking that every name is configured.

        Raises:
            ConfigError: a name that is not.
        """
        from imagesync.run.settings import Scope

        check_names("--list", self.lists, [item.name for item in config.subscriptions])
        check_names("--target", self.targets, [item.name for item in config.targets])
        return Scope(frozenset(self.lists), frozenset(self.targets), self.images)


def check_names(option: str, names: tuple[str, ...], known: list[str]) -> None:
    """Raise ``ConfigError`` for the first of ``names`` that is not ``known``; ``option`` is where it was said."""
    for name in names:
        if name not in known:
            raise ConfigError(
                option, f"there is no {name!r} in the configuration", f"known: {', '.join(known) or 'none'}"
            )


def execute(options: Options, wish: Wish, shown_on: Display | None = None) -> tuple[PassResult, dict[str, Any], Exit]:
    """Run one pass and return what it saw and did, its report, and its exit code.

    Progress is shown on standard error, or on a display of the caller's.

    Raises:
        ConfigError: the configuration or a selector is wrong.
        StateError: the state cannot be read or written.
    """
    from imagesync.cli.context import clock, environment
    from imagesync.cli.display import display
    from imagesync.run.exits import GOOD
    from imagesync.run.history import is_followed
    from imagesync.run.hours import Hours
    from imagesync.run.report import as_json, exit_code
    from imagesync.run.sync import run_pass
    from imagesync.run.wiring import open_ports, task

    config = options.config()
    run_id = options.start_logging()
    now = clock()
    work = task(config, wish.scope(config), now, allowed=wish.allow_removals, dry=wish.dry)
    work = replace(work, honour_back_off=wish.patient, hours=Hours() if wish.any_time else work.hours)
    showing = display() if shown_on is None else nullcontext(shown_on)
    with showing as shown, open_ports(config, environment(), work, shown) as ports, stopping(ports.stop.set):
        if not wish.dry:
            ports.state.begin_run(run_id, "sync", now)
        result = run_pass(work, ports)
        report = as_json(result, run_id)
        if not wish.dry:
            ended = clock()
            ports.state.finish_run(run_id, ended, report["exit"], report)
            verdicts = {item["name"]: item["verdict"] for item in report["lists"] if is_followed(item)}
            ports.state.standings.note(verdicts, now, ended, good=report["exit"] in GOOD)
    return result, report, exit_code(result)


def look(options: Options, wish: Wish) -> dict[str, Any]:
    """Return where every image stands, by the lists as last accepted and the targets as they are now.

    Raises:
        ConfigError: the configuration or a selector is wrong.
        StateError: the state cannot be read.
    """
    from imagesync.cli.context import clock, environment
    from imagesync.cli.status import as_row
    from imagesync.run.progress import Silent
    from imagesync.run.report import list_as_json
    from imagesync.run.standing import standings
    from imagesync.run.sync import run_pass
    from imagesync.run.wiring import open_ports, stored_only, task

    config = options.config()
    options.start_logging("warning")
    work = task(config, wish.scope(config), clock(), dry=True)
    with open_ports(config, environment(), work, Silent()) as ports:
        result = run_pass(work, stored_only(ports))
        boots = ports.state.boots.verdicts()
        targets = [
            {
                "name": target.name,
                "error": str(target.error) if target.error else None,
                "images": [as_row(row, boots) for row in standings(target.plan, ports.state.images(target.name))]
                if target.plan
                else [],
            }
            for target in result.targets
        ]
    return {"lists": [list_as_json(item) for item in result.seen], "targets": targets}


def recall(options: Options) -> dict[str, Any]:
    """Retire on every target what ``deny.d`` names, and do nothing else; return exit code and targets of the report.

    The lists are taken as last accepted: a recall does not wait for a server.

    Raises:
        ConfigError: the configuration is wrong.
        StateError: the state cannot be read or written.
    """
    from imagesync.cli.context import clock, environment
    from imagesync.run.progress import Silent
    from imagesync.run.report import as_json, worst_of
    from imagesync.run.settings import Scope
    from imagesync.run.sync import run_pass
    from imagesync.run.wiring import open_ports, stored_only, task

    config = options.config()
    run_id = options.start_logging("warning")
    now = clock()
    work = task(config, Scope(recalls_only=True), now)
    with open_ports(config, environment(), work, Silent()) as ports, stopping(ports.stop.set):
        ports.state.begin_run(run_id, "revoke", now)
        result = run_pass(work, stored_only(ports))
        code = worst_of(result.targets)
        report = as_json(result, run_id) | {"exit": int(code)}
        ports.state.finish_run(run_id, clock(), report["exit"], report)
    return {"exit": int(code), "targets": report["targets"]}


def export_bundles(options: Options, wish: Wish, directory: Path) -> tuple[tuple[ListExport, ...], Exit]:
    """Look at the lists, write those that are trusted with their images below ``directory``; return what became of it.

    Raises:
        ConfigError: the configuration or a selector is wrong.
        StateError: the state cannot be read.
    """
    from imagesync.cli.context import clock, environment
    from imagesync.cli.display import display
    from imagesync.run.exits import Exit, worst_code
    from imagesync.run.export import Ending, Supply, export
    from imagesync.run.preparation import open_store, sources
    from imagesync.run.report import exit_code
    from imagesync.run.sync import run_pass
    from imagesync.run.wiring import open_ports, task

    config = options.config()
    options.start_logging()
    work = replace(task(config, wish.scope(config), clock(), dry=True), targets=())
    subscriptions = {item.name: item for item in work.subscriptions}
    with display() as shown, open_ports(config, environment(), work, shown) as ports, stopping(ports.stop.set):
        result = run_pass(work, ports)
        supply = Supply(open_store(config), sources(config, subscriptions), shown, ports.stop)
        exports = export(result, directory, supply)
    failed = any(item.error or Ending.FAILED in {one.outcome for one in item.images} for item in exports)
    return exports, worst_code({exit_code(result), Exit.SOME_FAILED if failed else Exit.DONE})


def clean_up(options: Options, wish: Wish, *, unsubscribed: bool) -> tuple[dict[str, Any], Exit]:
    """Delete what is due on the targets, in the cache and in the state; return the report and the exit code.

    Raises:
        ConfigError: the configuration or a selector is wrong.
        StateError: the state cannot be read or written.
    """
    from imagesync.cli.context import clock, environment
    from imagesync.run.preparation import open_store
    from imagesync.run.progress import Silent
    from imagesync.run.report import targets_as_json, worst_of
    from imagesync.run.sync import prune_all
    from imagesync.run.wiring import open_ports, task

    config = options.config()
    options.start_logging("warning")
    now = clock()
    work = task(config, wish.scope(config), now)
    with open_ports(config, environment(), work, Silent()) as ports:
        results = prune_all(work, ports, unsubscribed=unsubscribed)
        forgotten = ports.state.prune(now - config.history)
    removed = open_store(config).prune()
    history = {"runs": forgotten.runs, "messages": forgotten.messages}
    code = worst_of(results)
    cache = [str(name) for name in removed]
    return {"exit": int(code), "targets": targets_as_json(results), "history": history, "cache": cache}, code
