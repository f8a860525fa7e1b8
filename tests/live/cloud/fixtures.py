"""Fixtures of every test that needs a real cloud. Tests keep apart by projects, not by clouds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

# Imported at first use: most tests need no cloud, and pytest loads this for all of them.
if TYPE_CHECKING:
    from cloud.accounts import Project
    from cloud.cloud import Cloud, Service
    from cloud.nova import Nova


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The cloud of this test run, shared by all its workers: do not stop its services."""
    from cloud.cloud import Cloud

    base = tmp_path_factory.getbasetemp()
    with Cloud((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cloud") as opened:
        yield opened


@pytest.fixture
def project(cloud: Cloud) -> Project:
    """A new project with one member."""
    return cloud.project()


@pytest.fixture(scope="session")
def nova(cloud: Cloud) -> Nova:
    """The Nova beside the shared cloud, started by the first test that asks for it."""
    from cloud.nova import open_nova

    return open_nova(cloud)


@pytest.fixture(scope="session")
def old_glance(cloud: Cloud) -> Service:
    """The older Glance beside the shared cloud, in a region of its own, started by the first test that asks for it."""
    from cloud.old_glance import open_old_glance

    return open_old_glance(cloud)


@pytest.fixture
def own_cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A cloud for this test only, whose services may be killed."""
    from cloud.cloud import Cloud

    with Cloud(tmp_path / "cloud") as opened:
        yield opened


@pytest.fixture
def add_glance(cloud: Cloud) -> Iterator[Callable[..., Service]]:
    """Call it for a Glance in a region of its own beside the shared Keystone: to be configured, stopped, killed.

    ``add_glance("[DEFAULT]\\nuser_storage_quota = 50MB\\n").region`` is where to find it in the catalogue.
    """
    regions = []

    def add(extra: str = "") -> Service:
        regions.append(f"region-{uuid4().hex[:12]}")
        return cloud.glance(regions[-1], extra)

    yield add
    for region in regions:
        cloud.remove_region(region)
