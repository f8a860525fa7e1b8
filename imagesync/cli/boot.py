"""``imagesync image boot``: start an image for a moment, as a target's ``boot_check`` would."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from imagesync.cli.context import Options, as_json, environment, write_json

if TYPE_CHECKING:
    from imagesync.boot.check import Result, Wish
    from imagesync.boot.picture import Picture
    from imagesync.boot.session import Patience
    from imagesync.config.schema import Config
    from imagesync.images.examine import Examination

UNKNOWN, REFUSED = 1, 3

_CONSOLE_LINES = 20
_WRITTEN = 2 << 30


def _pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Return what ``KEY=VALUE`` stands for, of each."""
    if wrong := [value for value in values if "=" not in value]:
        raise click.BadParameter(f"{wrong[0]} is no KEY=VALUE", ctx, param)
    return {key: text for key, _, text in (value.partition("=") for value in values)}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--screenshot", type=click.Path(path_type=Path, dir_okay=False), metavar="PNG", help="Keep the screen.")
@click.option(
    "--timeout",
    type=click.IntRange(1, 86400),
    metavar="S",
    help="Seconds to wait in all. [default: limits.boot_timeout; more without KVM]",
)
@click.option(
    "--ram",
    type=click.IntRange(0),
    default=0,
    metavar="MIB",
    help="Memory, as a list's hv:ram_minimum. [default: 1024]",
)
@click.option(
    "--property",
    "properties",
    multiple=True,
    callback=_pairs,
    metavar="KEY=VALUE",
    help="A property of the image: architecture, hw_firmware_type, hw_machine_type, hw_disk_bus, hw_scsi_model.",
)
@click.option("--accelerator", type=click.Choice(["kvm", "tcg"]), help="How to run it. [default: KVM if it works]")
@as_json
@click.pass_context
def boot(ctx: click.Context, /, *, file: Path, as_json: bool, screenshot: Path | None, **wish: Any) -> None:  # noqa: ANN401 - the fields of a wish
    """Start the image FILE for a moment and say what became of it. The file is not changed.

    It runs under QEMU without a network, in a sandbox, and is inspected first: what `image inspect` refuses is not
    started. Verdicts: login, kernel, reading (it starts); no-bootable-device, bootloader-stuck, panic, reset-loop,
    powered-off, blank (it does not); inconclusive. What the guest writes goes to the directory for temporary files
    (TMPDIR), as far as cache_reserve_bytes stay free there, and is removed. Limits are those of the configuration,
    where there is one; what was seen of an image before plays no part, and what is seen now is not kept.

    Exit codes: 0 it starts; 1 that cannot be said, or a program is missing; 3 it does not start, or is refused; 5 it
    could not be read.
    """
    from imagesync.cli.images import check_readable, examined, room
    from imagesync.cli.stopping import stopping

    options: Options = ctx.obj
    config = options.config() if options.config_path.exists() else None
    options.start_logging("warning")
    check_readable(file, str(file))
    with stopping(lambda: None), TemporaryDirectory(prefix="imagesync-") as name:
        work = Path(name)
        wish["patience"] = _patience(config)
        found = examined(file, work, str(file), config)
        if found.refusal is None:
            room(work, config).ask(_WRITTEN)
        report, screen = _started(file, found, work, wish)
    if screenshot is not None and screen is not None:
        _keep(screenshot, screen)
    if as_json:
        write_json(report)
    else:
        _show(report)
    ctx.exit(report["exit"])


def _started(
    file: Path, found: Examination, work: Path, wish: Mapping[str, Any]
) -> tuple[dict[str, Any], Picture | None]:
    """Return the report, and the screen, of an image that is started unless it is refused."""
    from imagesync.boot.check import check

    if found.refusal is not None:
        refusal = found.refusal
        return _head(file) | {"verdict": "refused", "why": str(refusal), "exit": REFUSED}, None
    machine = work / "machine"
    machine.mkdir()
    result = check(_wish(file, found, wish), machine)
    return _report(file, result), result.screen


def _patience(config: Config | None) -> Patience:
    from imagesync.boot.session import Patience
    from imagesync.config.sections import Limits

    return Patience(total=(config.limits if config else Limits()).boot_timeout.total_seconds())


def _wish(file: Path, found: Examination, wish: Mapping[str, Any]) -> Wish:
    from imagesync.boot.check import Wish
    from imagesync.boot.machine import Accelerator
    from imagesync.images.confine import STANDARD_PATH

    if found.image is None or found.found is None:
        raise AssertionError
    return Wish(
        found.image,
        found.found.format,
        file.name,
        properties=wish["properties"],
        ram=wish["ram"],
        patience=wish["patience"],
        accelerators=(Accelerator(wish["accelerator"]),) if wish["accelerator"] else (),
        timeout=wish["timeout"],
        path=environment().get("PATH", STANDARD_PATH),
    )


def _head(file: Path) -> dict[str, Any]:
    values = {"source": str(file), "verdict": "", "rule": "", "why": "", "sandbox": ""}
    return values | {"machine": {}, "seconds": 0.0, "evidence": {}}


def _report(file: Path, result: Result) -> dict[str, Any]:
    finding, machine = result.finding, result.machine
    code = 0 if finding.verdict.passed else REFUSED if finding.verdict.failed else UNKNOWN
    return _head(file) | {
        "verdict": str(finding.verdict),
        "rule": finding.rule,
        "why": finding.why,
        "machine": {
            "architecture": str(machine.architecture),
            "firmware": str(machine.firmware),
            "memory_mib": machine.memory,
            "disk_bus": machine.bus,
            "accelerator": result.evidence.accelerator,
        },
        "sandbox": result.sandbox,
        "seconds": result.seconds,
        "evidence": result.evidence.as_json(),
        "exit": code,
    }


def _keep(screenshot: Path, screen: Picture) -> None:
    """Write the picture.

    Raises:
        ConfigError: it cannot be written.
    """
    from imagesync.boot.picture import png
    from imagesync.errors import ConfigError

    try:
        screenshot.write_bytes(png(screen))
    except OSError as error:
        detail = f"cannot be written: {(error.strerror or '').lower()}"
        raise ConfigError(str(screenshot), detail, "name a file in a directory that you may write to") from error


def _show(report: Mapping[str, Any]) -> None:
    from imagesync.plan.render import printable

    lines = [f"{report['verdict']}  {report['source']}", f"  {report['why']}"]
    if machine := report["machine"]:
        words = (machine["architecture"], machine["firmware"], f"{machine['memory_mib']} MiB", machine["accelerator"])
        lines += [f"machine  {', '.join(words)}", f"time     {report['seconds']:.0f} s, rule {report['rule']}"]
        console = report["evidence"]["console"].strip().split("\n")[-_CONSOLE_LINES:]
        lines += ["console", *(f"  {line}" for line in console)] if any(console) else ["console  empty"]
    click.echo("\n".join(printable(line) for line in lines))
