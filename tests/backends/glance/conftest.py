"""A Glance target on the real cloud."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from imagesync_glance import open_backend

from imagesync.backend import Context, OwnedImage
from imagesync.testing.subject import Bench, Subject, listed

VO = "vo.example.org"


@dataclass(frozen=True)
class Hidden:
    """A secret as the configuration hands it to a backend."""

    text: str

    def value(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return "Hidden(***)"


def inline(login: Any) -> dict[str, Any]:
    """Return the settings that log in as ``login`` does."""
    words = ("password", "secret", "token")
    auth = {
        key: Hidden(value) if any(word in key for word in words) and not key.endswith("endpoint") else value
        for key, value in login.auth.items()
    }
    return {"auth_type": login.auth_type, "auth": auth, "region_name": "RegionOne", "in_use": "ignore"}


@dataclass(frozen=True)
class Site:
    """Settings of a target, and what it takes to look at the same records past imagesync."""

    settings: Mapping[str, Any]
    project: Any
    region: str = "RegionOne"

    def open(self, instance: str = "conformance", **changes: Any) -> Any:
        return self.enter(Context("mysite", instance), **changes)

    def enter(self, context: Context, **changes: Any) -> Any:
        """Open the target for who else is calling."""
        return open_backend({**self.settings, **changes}, context)

    def with_login(self, **login: Any) -> Site:
        """Return the same target with another login than the inline one."""
        kept = {key: value for key, value in self.settings.items() if key not in {"auth", "auth_type"}}
        return replace(self, settings={**kept, **login})

    def with_settings(self, **settings: Any) -> Site:
        """Return the same target with other settings."""
        return replace(self, settings={**self.settings, **settings})

    @property
    def images(self) -> Any:
        return self.project.images(self.region)

    def show(self, ref: str) -> dict[str, Any]:
        return self.images.show(ref.partition("/")[2])

    def change(self, ref: str, **values: Any) -> None:
        operations = [{"op": "add", "path": f"/{name}", "value": value} for name, value in values.items()]
        self.images.change(ref.partition("/")[2], *operations)


@pytest.fixture
def make_site() -> Callable[..., Site]:
    """Call it for a target whose images are owned by a project, with other settings if need be."""

    def make(project: Any, **settings: Any) -> Site:
        base = {**inline(project.login()), "projects": {VO: project.id}}
        return Site({**base, **settings}, project, settings.get("region_name", "RegionOne"))

    return make


@pytest.fixture
def site(make_site, project) -> Site:
    """A target whose images are owned by the VO's project."""
    return make_site(project)


@pytest.fixture
def shared_site(make_site, cloud, project) -> Site:
    """A target whose images are owned by one project and shared with the VO's."""
    return make_site(project, ownership="shared", owner=project.id, projects={VO: cloud.project().id})


class VoBench(Bench):
    """Files and specifications of images that belong to a VO, as those of the core do."""

    def with_content(self, content: Callable[[int], bytes]) -> VoBench:
        """Return a bench with other files."""
        return VoBench(replace(self.subject, content=content), Path(mkdtemp(dir=self._folder)))

    def upload_for(self, backend: Any, vo: str, image: str = "image-1", number: int = 1) -> OwnedImage:
        spec = self.spec(image, number, owner=backend.owners(vo)[0])
        properties = {**spec.metadata.properties, "APPLIANCE_VO": vo}
        spec = replace(spec, metadata=replace(spec.metadata, properties=properties))
        return backend.upload(spec, self.file(number), lambda _: None)

    def publish_for(self, backend: Any, vo: str, image: str = "image-1", number: int = 1) -> OwnedImage:
        ref = self.upload_for(backend, vo, image, number).ref
        backend.publish(ref)
        return listed(backend)[ref]


@pytest.fixture
def make_bench(tmp_path) -> Callable[[Site], VoBench]:
    """Call it for files and specifications to be used with a site."""

    def make(place: Site) -> VoBench:
        subject = Subject(open_backend, place.settings, plant_foreign=lambda: None, foreign=lambda: None, vo=VO)
        return VoBench(subject, tmp_path)

    return make


@pytest.fixture
def bench(make_bench, site) -> VoBench:
    return make_bench(site)


@pytest.fixture
def imported_by() -> Callable[[str], set[str]]:
    """Call it for the names of the packages that a program imports."""

    def run(code: str) -> set[str]:
        ending = "import sys\nprint(*{name.split('.')[0] for name in sys.modules})\n"
        done = subprocess.run([sys.executable, "-c", code + ending], check=True, capture_output=True, text=True)
        return set(done.stdout.split())

    return run
