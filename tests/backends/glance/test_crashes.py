"""Dying at each request that changes something: the next session completes what was begun.

From the fatal request on, nothing reaches Glance any more, as when the process was killed. With ``lost``, that request
itself still does.
"""

import pytest
from cloud.faults import Status
from cloud.proxy import Proxy

from imagesync.backend import Retirement, State
from imagesync.errors import BackendError
from imagesync.testing.subject import LATER, NOW

from .conftest import VO

SUPERSEDED = Retirement(NOW, "superseded", superseded=True)
WRITES = ("POST", "PUT", "PATCH", "DELETE")


@pytest.fixture
def proxy(cloud):
    with Proxy(cloud.glance_url()) as opened:
        yield opened


@pytest.fixture
def make_variant(cloud, make_site, project, proxy):
    """Call it for a target with this ownership."""

    def make(ownership):
        shared = {"owner": project.id, "projects": {VO: cloud.project().id}} if ownership == "shared" else {}
        return make_site(project, endpoint_override=proxy.url, ownership=ownership, **shared)

    return make


def replace_old(bench, backend):
    """Upload and publish another version, and retire what was there, as a pass does."""
    new = bench.upload_for(backend, VO, number=2)
    backend.publish(new.ref)
    mend(backend)
    for image in backend.owned():
        if image.ref != new.ref and image.state is State.PUBLISHED:
            backend.retire(image.ref, SUPERSEDED)


def restore_old(bench, backend):
    """Publish what is retired again."""
    for image in backend.owned():
        backend.publish(image.ref)
    mend(backend)


def retire_old(bench, backend):
    """Retire what is published."""
    for image in backend.owned():
        if image.state is State.PUBLISHED:
            backend.retire(image.ref, LATER)


def mend(backend):
    for image in backend.owned():
        if image.drift:
            backend.update(image.ref, image.metadata)


def settled(backend):
    """Return what is there, without what each run makes anew."""
    return sorted((one.fingerprint, one.state, one.drift, one.digest, one.metadata.name) for one in backend.owned())


SCENARIOS = {"replace": replace_old, "restore": restore_old, "retire": retire_old}


def prepare(bench, backend, name):
    old = bench.publish_for(backend, VO, number=1)
    if name == "restore":
        backend.retire(old.ref, LATER)


def fatal_requests(proxy):
    """Return each request that changes something: its method, and which of that method it is."""
    methods = [one.method for one in proxy.exchanges if one.method in WRITES]
    return [(method, methods[: index + 1].count(method)) for index, method in enumerate(methods)]


@pytest.mark.parametrize("lost", [False, True], ids=["refused", "lost"])
@pytest.mark.parametrize(
    ("name", "ownership"),
    [("replace", "per-project"), ("replace", "shared"), ("restore", "per-project"), ("retire", "per-project")],
)
def test_what_dies_at_any_request_is_completed_by_the_next_session(
    make_variant, proxy, make_bench, name, ownership, lost
):
    site = make_variant(ownership)
    bench, scenario = make_bench(site).with_content(lambda number: f"image {number}".encode()), SCENARIOS[name]
    with site.open("whole") as backend:
        prepare(bench, backend, name)
        proxy.clear()
        scenario(bench, backend)
        requests, expected = fatal_requests(proxy), settled(backend)
    assert len(requests) >= 2

    for number, (method, nth) in enumerate(requests):
        proxy.clear()
        with site.open(f"run-{number}") as backend:
            prepare(bench, backend, name)
            proxy.clear()
            for other in set(WRITES) - {method}:
                proxy.add(
                    other, ".*", Status(403), nth=1 + sum(one[0] == other for one in requests[:number]), times=None
                )
            proxy.add(method, ".*", Status(403, forward=lost), nth=nth)
            proxy.add(method, ".*", Status(403), nth=nth, times=None)
            with pytest.raises(BackendError):
                scenario(bench, backend)
        proxy.clear()
        with site.open(f"run-{number}") as backend:
            if name == "replace":
                assert State.PUBLISHED in {one.state for one in backend.owned()}
            scenario(bench, backend)

            assert settled(backend) == expected, (method, nth)
