"""A publisher, its images and a configured site, as the measurements of whole passes need them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from imagesync.testing import pki
from imagesync.testing.disks import Disk, Kind, write_disk
from imagesync.testing.list_server import ListServer, identity_of

COMMAND = str(Path(sys.executable).with_name("imagesync"))


@dataclass(frozen=True, slots=True)
class Scene:
    """A site below ``root`` whose lists are on ``server``."""

    root: Path
    server: ListServer

    @property
    def config(self) -> Path:
        """Return the site's configuration file."""
        return self.root / "imagesync.yaml"

    @property
    def catalogue(self) -> Path:
        """Return the folder that is the site's only target."""
        return self.root / "catalogue"

    def publish(self, vo: str, files: list[Path]) -> None:
        """Publish a list of ``files``."""
        published = self.server.add_list(vo)
        for file in files:
            published.add(file, title=file.stem)
        published.publish()

    def configure(self, formats: list[str], target: Mapping[str, object] | None = None) -> None:
        """Subscribe the site to everything that was published; ``target`` is where to, a directory if not given."""
        endorser = identity_of(self.server.signer)
        subscriptions = [
            {
                "name": vo,
                "vo": vo,
                "url": published.url,
                "endorsers": [{"dn": endorser.dn, "ca": endorser.ca}],
                "allow_private_addresses": True,
            }
            for vo, published in self.server.lists.items()
        ]
        where = target or {"backend": "directory", "path": str(self.catalogue)}
        config = {
            "state": f"sqlite:///{self.root / 'state.db'}",
            "cache": str(self.root / "cache"),
            "trust": {"anchors": str(self.root / "anchors")},
            "subscriptions": subscriptions,
            "targets": [{"name": "site", **where, "formats": formats}],
        }
        self.config.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    def forget(self) -> None:
        """Remove what passes made, so that the next one is a first one again."""
        for directory in (self.catalogue, self.root / "cache"):
            shutil.rmtree(directory)
        for file in self.root.glob("state.db*"):
            shutil.rmtree(file) if file.is_dir() else file.unlink()

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of a pass; ``arguments`` stand before it, as those of ``strace`` do."""
        return [*arguments, COMMAND, "--config", str(self.config), "--log-level", "error", "sync", "--json"]

    def sync(self, *before: str) -> dict[str, Any]:
        """Run one pass and return its report; it has to end with exit code 0."""
        done = subprocess.run(self.command(*before), capture_output=True, text=True, check=False)
        if done.returncode:
            msg = f"the pass ended with {done.returncode}: {done.stderr[-2000:]}"
            raise RuntimeError(msg)
        report: dict[str, Any] = json.loads(done.stdout)
        return report


@contextmanager
def scene(root: Path) -> Iterator[Scene]:
    """Open a publisher whom a site below ``root`` trusts."""
    now = datetime.now(UTC)
    authority = pki.Authority("/DC=org/DC=example/CN=Bench CA", now)
    pki.write_anchors(root / "anchors", [authority])
    with ListServer(authority.issue("/DC=org/DC=example/CN=Bench endorser"), now) as server:
        yield Scene(root, server)


def disks(folder: Path, count: int, size: int = 1 << 20) -> list[Path]:
    """Return so many sparse raw disks in ``folder``, each of ``size`` bytes and with bytes of its own."""
    folder.mkdir()
    paths = [folder / f"{folder.name}-{number:03}.img" for number in range(count)]
    return [write_disk(path, Kind.RAW, Disk(path.stem, size, data=8192)) for path in paths]
