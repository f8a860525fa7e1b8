"""A pass with nothing to do over 1,000 images in Glance, against reading them with a plain loop."""

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import harness
import requests
import structlog
from cloud.accounts import Project
from cloud.cloud import Cloud
from glance_target import settings
from scene import Scene, disks, scene

from imagesync.config.load import load
from imagesync.run.progress import Silent
from imagesync.run.settings import Scope
from imagesync.run.sync import run_pass
from imagesync.run.wiring import open_ports, task

IMAGES = 1000
VO = "vo.example.org"


def nothing_to_do(cloud: Cloud, root: Path) -> list[harness.Measurement]:
    """Return the seconds of a pass in a process that is warm, as in a daemon, divided by those of the loop.

    The pass fetches and verifies the list, logs in, lists, and plans; the loop logs in and lists, once with Glance's
    own pages (25) and once with the largest that it gives (1,000).
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    project = cloud.project()
    with scene(root) as site:
        site.publish(VO, disks(root / "disks", IMAGES))
        site.configure(["raw"], {"backend": "glance", **settings(project, root, VO)})
        begin = time.perf_counter()
        site.sync()
        harness.log(f"registered {IMAGES} images in {time.perf_counter() - begin:.0f} s")
        actions = {
            "pass": lambda: harness.wall(lambda: _pass(site)),
            "loop": lambda: harness.wall(lambda: _loop(cloud, project, 25)),
            "large pages": lambda: harness.wall(lambda: _loop(cloud, project, 1000)),
        }
        taken = harness.alternate(actions)
    return [_ratio("a plain paged loop", taken, "loop", 1.5)]


def _ratio(what: str, taken: dict[str, list[float]], reference: str, at_most: float) -> harness.Measurement:
    middle = {name: sorted(values)[len(values) // 2] for name, values in taken.items()}
    name = f"Glance: nothing to do over {IMAGES} images / {what}"
    return harness.limit(name, middle["pass"] / middle[reference], at_most=at_most, unit="x", samples=taken)


def _pass(site: Scene) -> None:
    config = load(site.config, {})
    work = task(config, Scope(), datetime.now(UTC))
    with open_ports(config, {}, work, Silent()) as ports:
        result = run_pass(work, ports)
    plan = result.targets[0].plan
    if plan is None or plan.changes or len(plan.actions) != IMAGES:
        raise RuntimeError(f"there was something to do: {result.targets[0]}")


def _loop(cloud: Cloud, project: Project, limit: int) -> None:
    found = len(list(_pages(cloud, project, limit)))
    if found != IMAGES:
        raise RuntimeError(f"the loop found {found} images")


def _pages(cloud: Cloud, project: Project, limit: int) -> Iterator[dict[str, Any]]:
    with requests.Session() as session:
        session.trust_env = False
        session.headers["X-Auth-Token"] = project.account().token
        path = f"/v2/images?limit={limit}"
        while path:
            page = session.get(cloud.glance_url() + path, timeout=60).json()
            yield from page["images"]
            path = page.get("next", "")
