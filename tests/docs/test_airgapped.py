"""docs/airgapped.rst is true: what it exports on one side is published on the other, where no server answers."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from imagesync.testing.disks import Disk, Kind, write_disk
from imagesync.testing.list_server import ListServer
from imagesync.testing.pki import Authority, write_anchors

VO = "vo.example.org"
PLACES = {"/etc/grid-security/certificates": "certificates", "/srv/bundles": "bundles", "/srv/images": "images"}


def _here(text: str, root: Path) -> str:
    for place, name in PLACES.items():
        text = text.replace(place, str(root / name))
    return text


@pytest.fixture
def server(tmp_path: Path) -> ListServer:
    now = datetime.now(UTC)
    authority = Authority("/DC=org/DC=example/CN=Example CA", now)
    write_anchors(tmp_path / "certificates", [authority])
    return ListServer(authority.issue("/DC=org/DC=example/CN=Ada Lovelace"), now)


def _publish(server: ListServer, root: Path) -> str:
    published = server.add_list(VO)
    for title, size in (("AlmaLinux 9", 2 << 20), ("Debian 12", 3 << 20)):
        published.add(write_disk(root / f"{size}.img", Kind.RAW, Disk(title, size)), title=title)
    published.publish()
    return published.url


def _configure(file: Path, configuration: dict[str, object], **more: object) -> None:
    own = {"state": f"sqlite:///{file.with_suffix('.db')}", "cache": str(file.with_suffix(".cache"))}
    file.write_text(yaml.safe_dump({**configuration, **own, "cache_reserve_bytes": 0, **more}), encoding="utf-8")


def test_a_list_is_carried_as_the_chapter_says(
    root: Path,
    tmp_path: Path,
    server: ListServer,
    blocks: Callable[[Path, str], list[str]],
    commands: Callable[[Path], list[tuple[str, str]]],
    shell: Callable[[str, Path], subprocess.CompletedProcess[str]],
    prints: Callable[[str, str], bool],
) -> None:
    document = root / "docs" / "airgapped.rst"
    (text,) = blocks(document, "yaml")
    inside = yaml.safe_load(_here(text, tmp_path))
    (export, exported), (sync, synced) = commands(document)
    shell(f'PATH="{Path(sys.executable).parent}:$PATH"', tmp_path)

    with server:
        outside = {**inside["subscriptions"][0], "url": _publish(server, tmp_path), "allow_private_addresses": True}
        _configure(tmp_path / "outside.yaml", {**inside, "subscriptions": [outside]}, targets=[])
        shell(f"export IMAGESYNC_CONFIG={tmp_path}/outside.yaml", tmp_path)
        ran = shell(_here(export, tmp_path), tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert prints(exported, ran.stdout), ran.stdout

    _configure(tmp_path / "inside.yaml", inside)
    shell(f"export IMAGESYNC_CONFIG={tmp_path}/inside.yaml", tmp_path)
    ran = shell(sync, tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert prints(synced, ran.stdout), ran.stdout
    assert len([path for path in (tmp_path / "images").iterdir() if path.is_symlink()]) == 2
