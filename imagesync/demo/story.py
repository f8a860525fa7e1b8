"""Tells the story: first sync, an update by the publisher, a failing publisher.

Everything is done by the real command line in processes of its own; this module only plays the publisher and says
what is going on.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from imagesync.demo import images
from imagesync.demo.site import Site, configure, offer, publish, trust
from imagesync.errors import ConfigError
from imagesync.testing.faults import Status
from imagesync.testing.list_server import ListServer

Echo = Callable[[str], None]
Run = Callable[[Sequence[str]], int]
"""Runs ``imagesync`` with these arguments, output to the terminal, and returns its exit code."""

_RULE = "=" * 78


@dataclass(frozen=True, slots=True)
class _Telling:
    """One telling: where, how commands are run, where the words go, and what did not go as it should."""

    site: Site
    run: Run
    echo: Echo
    surprises: list[str]

    def chapter(self, title: str, *lines: str) -> None:
        """Begin a part of the story."""
        self.echo(f"\n{_RULE}\n{title}\n{_RULE}")
        for line in lines:
            self.echo(line)

    def command(self, *arguments: str, expected: int = 0) -> None:
        """Show and run ``imagesync`` with the site's configuration."""
        line = " ".join(arguments)
        self.echo(f"\n  $ imagesync {line}")
        code = self.run(["--config", str(self.site.config), *arguments])
        self.echo(f"[exit {code}]")
        if code != expected:
            self.surprises.append(f"`imagesync {line}` ended with {code}, expected {expected}")


def run_demo(directory: Path | None, keep: bool, echo: Echo, run: Run | None = None) -> int:  # noqa: FBT001 - a flag of the command line
    """Tell the story in ``directory`` (default: a temporary one) and return 0 if all went as it should, else 1.

    The directory is removed afterwards unless ``keep``. It must not exist or be empty. Nothing is left running.

    Raises:
        ConfigError: the directory holds something already.
        ToolMissingError: qemu-img is not installed.
    """
    with _place(directory, keep=keep) as place:
        telling = _Telling(Site(place), run or run_command, echo, [])
        _tell(telling)
        _farewell(telling, keep=keep)
    return 1 if telling.surprises else 0


def _tell(telling: _Telling) -> None:
    now = datetime.now(UTC)
    site = telling.site
    telling.echo("Making a certificate authority and four disk images with qemu-img ...")
    telling.echo(f"Each command below runs with --config {site.config} and --log-level warning.")
    with ListServer(trust(site, now), now) as server:
        published, identifiers = publish(server, site)
        configure(site, published)
        _first(telling, published.url)

        published.withdraw(identifiers[images.STORAGE.file])
        published.images[identifiers[images.COMPUTE.file]].title = images.COMPUTE_NEXT.title
        published.replace(identifiers[images.COMPUTE.file], images.COMPUTE_NEXT.write(site.images))
        offer(published, site, images.NOTEBOOK)
        server.now = datetime.now(UTC)
        published.publish()
        _second(telling)

        server.misbehave(published.path, Status(503))
        _third(telling)


def _first(telling: _Telling, url: str) -> None:
    telling.chapter(
        "1. A signed list becomes a catalogue",
        f"A publisher offers four images (qcow2, raw, vmdk, OVA) in a signed list at\n  {url}",
        "The site takes qcow2 and raw: the other two are converted.",
    )
    telling.command("sync")
    telling.echo("\nWhat is there now, and who signed it:")
    telling.command("status")


def _second(telling: _Telling) -> None:
    telling.chapter(
        "2. The publisher changes the list",
        "Withdrawn: Storage node.  Updated: Compute node, 1.0 to 1.1.  New: Notebook.",
        "First see what would happen, then do it:",
    )
    telling.command("plan")
    telling.command("sync")
    telling.command("status")


def _third(telling: _Telling) -> None:
    before = _catalogue(telling.site)
    telling.chapter(
        "3. The publisher's server fails",
        "It answers 503. A list that could not be read is unknown, not empty: nothing may be lost.",
    )
    telling.command("sync", expected=5)
    telling.command("status")
    after = _catalogue(telling.site)
    if before == after and before:
        telling.echo(f"\nNothing is lost: the same {len(after)} images are published as before.")
    else:
        telling.surprises.append(f"published before the failure {sorted(before)}, after it {sorted(after)}")


def _catalogue(site: Site) -> dict[str, str]:
    """Return title or key and SHA-512 of what the catalogue offers."""
    try:
        entries = json.loads((site.target / "catalogue.json").read_bytes())["images"]
    except FileNotFoundError:
        return {}
    return {str(entry["key"]): str(entry["sha512"]) for entry in entries if entry["state"] == "published"}


def _farewell(telling: _Telling, *, keep: bool) -> None:
    site = telling.site
    if telling.surprises:
        telling.chapter("This did not go as it should", *telling.surprises)
        if not keep:
            telling.echo("`imagesync demo --keep DIR` keeps everything to look at.")
        return
    telling.chapter("That was the main job. The publisher is gone, nothing is left running.")
    if not keep:
        telling.echo("Everything was in a directory that is removed now; `imagesync demo --keep DIR` keeps it.")
        return
    telling.echo(f"configuration   {site.config}")
    telling.echo(f"catalogue       {site.target / 'catalogue.json'}")
    telling.echo(f"trust anchors   {site.anchors}")
    telling.echo(f"publisher       {site.images}")
    telling.echo(f"Look around:    imagesync --config {site.config} status")
    telling.echo("                `sync` can only fail there: the publisher is gone")


@contextmanager
def _place(directory: Path | None, *, keep: bool) -> Iterator[Path]:
    """Yield an empty directory, as an absolute path, and remove it afterwards unless it is to be kept."""
    place = _empty(directory)
    try:
        yield place
    finally:
        if not keep:
            shutil.rmtree(place)


def _empty(directory: Path | None) -> Path:
    if directory is None:
        return Path(tempfile.mkdtemp(prefix="imagesync-demo-"))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        occupied = any(directory.iterdir())
    except OSError as error:
        raise ConfigError(str(directory), f"cannot be used: {error.strerror}", "name another directory") from error
    if occupied:
        raise ConfigError(str(directory), "is not empty", "name a directory that does not exist yet")
    return directory.absolute()


def run_command(arguments: Sequence[str], *, to_stderr: bool = False) -> int:
    """Run ``imagesync`` in a process of its own and return its exit code; its output goes where ours goes."""
    sys.stdout.flush()  # what was said before stands above what the command says
    command = [sys.executable, "-m", "imagesync", "--log-level", "warning", *arguments]
    return subprocess.run(command, check=False, stdout=sys.stderr if to_stderr else None).returncode
