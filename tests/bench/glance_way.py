"""From a signed list to ten active images, against shell scripts that do the same checks."""

import os
import shutil
import subprocess
from pathlib import Path

import harness
from cloud.accounts import Project
from cloud.cloud import Cloud
from cloud.consumers import PROGRAMS
from cloud.software import software
from glance_target import settings
from scene import Scene, scene
from shell import GET

from imagesync.testing.disks import Disk, Kind, write_disk

IMAGES, MIB = 10, 300
VO = "vo.example.org"

_ONE = (
    GET
    + r"""stored=$("$OPENSTACK" image create --private --disk-format qcow2 --container-format bare --file "$file" \
  --property "source_sha512=$digest" --tag bench -f json "$title" |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["properties"]["os_hash_value"])')
[ "$stored" = "$(openssl dgst -sha512 -r "$file" | cut -d' ' -f1)" ] || { echo "$title: stored wrongly" >&2; exit 1; }
rm "$file"
"""
)


def whole_way(cloud: Cloud, root: Path) -> list[harness.Measurement]:
    """Return our seconds divided by those of the script, one image at a time and two at a time."""
    project = cloud.project()
    with scene(root / "way") as site:
        _publish(site, root / "disks-of-the-way")
        site.configure(["qcow2"], {"backend": "glance", **settings(project, root, VO)})
        actions = {
            "ours": lambda: _ours(site, project),
            "script": lambda: _script(site, project, root, 1),
            "two at a time": lambda: _script(site, project, root, 2),
        }
        taken = harness.alternate(actions)
    middle = {name: sorted(values)[len(values) // 2] for name, values in taken.items()}
    name = f"Glance: list to {IMAGES} active images of {MIB} MiB"
    return [
        harness.limit(f"{name} / script", middle["ours"] / middle["script"], at_most=0.8, unit="x", samples=taken),
        harness.limit(f"{name} / xargs -P 2", middle["ours"] / middle["two at a time"], at_most=1.0, unit="x"),
    ]


def _publish(site: Scene, folder: Path) -> None:
    folder.mkdir()
    kinds = [Kind.QCOW2, Kind.VMDK_SPARSE] * (IMAGES // 2)
    paths = [
        write_disk(folder / f"image-{number}{kind.suffix}", kind, Disk(f"image {number}", 2 << 30, data=MIB << 20))
        for number, kind in enumerate(kinds)
    ]
    site.publish(VO, paths)


def _ours(site: Scene, project: Project) -> float:
    _clear(site, project)
    seconds = harness.wall(site.sync)
    if len(list(project.images().list(status="active", owner=project.id))) != IMAGES:
        raise RuntimeError("not every image is there")
    _clear(site, project)
    return seconds


def _script(site: Scene, project: Project, root: Path, parallel: int) -> float:
    _clear(site, project)
    work = root / "script"
    work.mkdir()
    images = site.server.lists[VO].images.values()
    lines = "".join(f"{one.uri} {one.sha512} {one.title}\n" for one in images)
    env = {
        **os.environ,
        "WORK": str(work),
        "OPENSTACK": software(PROGRAMS["openstack"]).program("openstack"),
        "OS_CLOUD": "site",
    }
    command = ["xargs", "-P", str(parallel), "-L", "1", "bash", "-c", _ONE, "one"]
    seconds = harness.wall(lambda: subprocess.run(command, input=lines, text=True, env=env, check=True))
    shutil.rmtree(work)
    _clear(site, project)
    return seconds


def _clear(site: Scene, project: Project) -> None:
    """Bring cloud and site back to where nothing is known, and everything on its way to the disk is there."""
    images = project.images()
    for hidden in ("false", "true"):
        for image in list(images.list(owner=project.id, os_hidden=hidden)):
            images.delete(image["id"])
    shutil.rmtree(site.root / "cache", ignore_errors=True)
    for path in site.root.glob("state.db*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    os.sync()
