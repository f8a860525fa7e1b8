"""A site whose ways to Keystone and Glance lead through proxies, and what holds there after whatever happened."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cloud.api import ImageApi, RefusedError
from cloud.cloud import Cloud
from cloud.faults import Meanwhile
from cloud.proxy import Proxy
from cloud.turns import commit, everything
from keystoneauth1.exceptions import ClientException

T = TypeVar("T")

_TOKEN = re.compile(rb"^x-auth-token: *([^\r\n]+)", re.IGNORECASE | re.MULTILINE)

TAG = "imagesync:imagesync"
UPLOAD = r"/v2/images/[^/]+/file"
RECORD = r"/v2/images/[^/]+"
TOKENS = "/v3/auth/tokens"

_CHANGING = (("POST", r"/v2/images.*"), ("PUT", r"/v2/images/.*"), ("PATCH", RECORD), ("DELETE", RECORD))


@dataclass
class Trial:
    """A site with images of others in its project. ``missing`` names what had no published copy at some moment."""

    site: Any
    glance: Proxy
    keystone: Proxy
    project: Any
    images: ImageApi
    foreign: dict[str, tuple[dict[str, Any], bytes]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    away: Any = None

    # --- before ---
    def add_foreign(self) -> None:
        """Put images of others into the project: namesakes, hidden ones, and a snapshot that carries all of ours."""
        copied = {"imagesync_state": "published", "imagesync_list": "x", "tags": [TAG]}
        made = (
            self.images.add("one", b"foreign one", site_note="kept"),
            self.images.add("hidden", b"foreign two", os_hidden=True, tags=["imagesync:another"]),
            self.images.add("one", b"snapshot", image_type="snapshot", base_image_ref="x", **copied),
            self.images.create(name="queued"),
        )
        self.foreign = {image["id"]: (image, self._bytes(image)) for image in made}

    def start(self, *titles: str) -> None:
        """Publish images and bring them to the cloud."""
        self.site.offer(*titles)
        first = self.site.publish_and_sync()
        assert first.code == 0, first.out + first.err

    def renew(self) -> None:
        """Publish a list whose next pass replaces, updates, and retires or restores; look after every step of it.

        It takes a site whose images are called as here.
        """
        published = self.site.published
        self.site.replace("changes", f"changes {published.version}")
        if self.away:
            published.images[self.away.identifier] = self.away
            self.away = None
        else:
            self.away = published.images.pop(self.site.identifier("swings"))
        published.publish()
        self.glance.clear()
        self.watch()

    # --- meanwhile ---
    def watch(self) -> None:
        """Look from now on, after whatever Glance did, whether an image lost its only published copy."""
        had = self.published()
        for method, path in _CHANGING:
            self.glance.add(method, path, Meanwhile(partial(self.look, had), answer=True), times=None)

    def tokens(self) -> set[str]:
        """Return the tokens that went to Glance."""
        heads = [relay.request.head for relay in self.glance._relays]
        return {token.decode() for head in heads for token in _TOKEN.findall(head)}

    def look(self, had: Iterable[str]) -> None:
        """Note which endorsed images out of ``had`` have no published copy now."""
        endorsed = set(self.site.endorsed())
        with suppress(RefusedError, ClientException):  # the service is down, or was killed
            self.missing += sorted((set(had) & endorsed) - self.published())

    def allow(self, seconds: int = 60) -> None:
        """Say how long a service may be silent: briefly only where it hangs, for a busy machine is slow as well."""
        self.site.configure(request_timeout=f"{seconds}s", stall_timeout=f"{seconds}s")

    # --- after ---
    def records(self) -> list[dict[str, Any]]:
        """Return all records with our tag, the hidden ones too, but for the images of others."""
        owner = self.project.id
        found = [one for hidden in (False, True) for one in self.images.list(owner=owner, tag=TAG, os_hidden=hidden)]
        return [one for one in found if one["id"] not in self.foreign]

    def states(self) -> list[tuple[str, str]]:
        """Return (title, status) of every record of ours; a hidden one says so."""
        return sorted(
            (one["vmcatcher_event_dc_title"], one["status"] + (" hidden" if one["os_hidden"] else ""))
            for one in self.records()
        )

    def published(self) -> set[str]:
        """Return the titles that users can boot."""
        return {title for title, status in self.states() if status == "active"}

    def assert_converged(self) -> Any:
        """Run the next pass with every fault gone, and return it once all is as it should be."""
        self.glance.clear()
        self.keystone.clear()
        self.allow()
        after = self.site.sync()
        assert after.code == 0, after.out + after.err
        self.assert_good()
        assert self.site.run("plan", "--check").code == 0
        return after

    def assert_good(self) -> None:
        """Return if every endorsed image is there once, nothing else of ours can be booted, and nothing was harmed."""
        records = self.records()
        active = [one for one in records if one["status"] == "active"]
        bootable = sorted((one["vmcatcher_event_dc_title"], one["os_hash_value"]) for one in active)
        assert bootable == sorted(self.site.endorsed().items()), self.states()
        assert {one["status"] for one in records} <= {"active", "deactivated"}, self.states()
        assert not any(one["os_hidden"] for one in records), self.states()
        assert self.missing == []
        for identifier, (image, data) in self.foreign.items():
            assert self.images.show(identifier) == image
            assert self._bytes(image) == data

    def _bytes(self, image: dict[str, Any]) -> bytes:
        return self.images.download(image["id"]) if image["status"] == "active" else b""


@pytest.fixture
def proxied() -> Iterator[Callable[[str], Proxy]]:
    """Return a function that puts a proxy before an address until the end of the test."""
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(Proxy(url))


@pytest.fixture
def try_site(make_site: Callable[..., Any], proxied: Callable[[str], Proxy]) -> Callable[..., Trial]:
    """Return a function that makes a site on a region of a cloud, reached through proxies only."""

    def make(on: Cloud, region: str = "RegionOne", **target: Any) -> Trial:
        site = make_site(on)
        glance, keystone = proxied(on.glance_url(region)), proxied(on.auth_url)
        entry = site.project.login().entry(region)
        site.entries = {"site": {**entry, "auth": {**entry["auth"], "auth_url": keystone.url}}}
        site.configure(endpoint_override=glance.url, **target)
        trial = Trial(site, glance, keystone, site.project, site.project.images(region))
        trial.add_foreign()
        return trial

    return make


@pytest.fixture
def trial(try_site: Callable[..., Trial], cloud: Cloud) -> Trial:
    """Return a site on the shared cloud, whose list is empty and not published yet."""
    return try_site(cloud)


@pytest.fixture
def share() -> Callable[[Sequence[T], int], list[T]]:
    """Return a function that takes one of so many parts of a matrix, another for each commit.

    With ``IMAGESYNC_FULL`` in the environment, as ``make test-live`` sets it, it takes everything.
    """

    def take(whole: Sequence[T], parts: int) -> list[T]:
        return list(whole) if everything() else list(whole[commit() % parts :: parts])

    return take


@pytest.fixture(scope="session")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud whose services may be killed, by those who start them again; its Glance gives three images a page."""
    with Cloud(Path(tmp_path_factory.mktemp("fragile")) / "cloud") as opened:
        # It also forgets at once what Keystone said of a token.
        opened.glance().start("[DEFAULT]\napi_limit_max = 3\n[keystone_authtoken]\ntoken_cache_time = -1\n")
        yield opened
