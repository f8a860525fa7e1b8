"""``make cloud``: the same cloud as in the tests, with a publisher and a configuration, for trying things by hand."""

from __future__ import annotations

import fcntl
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import yaml

from cloud.accounts import Project
from cloud.cloud import Cloud, write_clouds_yaml
from imagesync.demo.site import VO, Site, configure, publish, trust
from imagesync.testing.list_server import ListServer

GUIDE = """
Keystone {identity}, Glance {image}, project {project}; a publisher with four images.
Everything is in {directory}. In another terminal:

  export OS_CLIENT_CONFIG_FILE={clouds} OS_CLOUD=site
  export IMAGESYNC_CONFIG={config}
  {program} sync
  {program} status
  openstack image list          # where python-openstackclient is installed

The clouds are site (an application credential), site-password, reader and admin. Ctrl-C ends everything.
"""


def run(directory: Path) -> None:
    """Run the cloud in ``directory``, which is emptied first, until Ctrl-C or SIGTERM; then only files are left."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    directory = directory.absolute()
    now = datetime.now(UTC)
    with suppress(KeyboardInterrupt), _only_one(directory):
        site = Site(directory)
        _say("starting Keystone and Glance, and making four images ...")
        with Cloud(directory / "servers") as cloud, ListServer(trust(site, now), now) as server:
            published, _ = publish(server, site)
            project = cloud.project("demo")
            _write_clouds(directory, cloud, project)
            _point_to_glance(configure(site, published), project)
            _say(_guide(cloud, project, site))
            signal.pause()
    _say("stopped")


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"a cloud is running in {directory}: end that one with Ctrl-C first")
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        yield


def _write_clouds(directory: Path, cloud: Cloud, project: Project) -> None:
    logins = {
        "site": project.application_credential(),
        "site-password": project.login(),
        "reader": project.login(project.reader()),
        "admin": cloud.admin.login,
    }
    write_clouds_yaml(directory / "clouds.yaml", {name: login.entry() for name, login in logins.items()})


def _point_to_glance(config: Path, project: Project) -> None:
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    content["targets"] = [
        {
            "name": "site",
            "backend": "glance",
            "cloud": "site",
            "formats": ["qcow2", "raw"],
            "projects": {VO: project.id},
        }
    ]
    config.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _guide(cloud: Cloud, project: Project, site: Site) -> str:
    return GUIDE.format(
        identity=cloud.auth_url,
        image=cloud.glance_url(),
        project=project.name,
        directory=site.directory,
        clouds=site.directory / "clouds.yaml",
        config=site.config,
        program=Path(sys.executable).with_name("imagesync"),
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
