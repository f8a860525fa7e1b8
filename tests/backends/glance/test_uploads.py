"""Uploads and listings that are disturbed, between imagesync and the real Glance."""

import tracemalloc
from dataclasses import replace

import pytest
from cloud.faults import CutAnswer, Flood, Hang, Meanwhile, ResetAnswer, ResetRequest, ShortenAnswer, Status
from cloud.proxy import Proxy

from imagesync.backend import State
from imagesync.errors import (
    BackendConflictError,
    BackendError,
    BackendRefusedError,
    BackendUnavailableError,
    StoredDigestError,
)
from imagesync.testing.subject import listed

from .conftest import VO

MIB = 1 << 20
IMAGES = "/v2/images"
ONE = r"/v2/images/[^/]+"
FILE = r"/v2/images/[^/]+/file"


@pytest.fixture
def proxy(cloud):
    with Proxy(cloud.glance_url()) as opened:
        yield opened


@pytest.fixture
def site(make_site, project, proxy):
    """A target that reaches its Glance through the proxy."""
    return make_site(project, endpoint_override=proxy.url)


@pytest.fixture
def large(make_bench, site):
    """Files of 3 MiB."""
    return make_bench(site).with_content(lambda number: bytes([number]) * (3 * MIB))


def requests(proxy):
    return [(one.method, one.path.rpartition("/v2")[2]) for one in proxy.exchanges]


# --- one upload ------------------------------------------------------------------------------------------------------
def test_an_upload_has_its_length_and_is_asked_for_once(site, proxy, large):
    with site.open() as backend:
        first, second = large.upload(backend, "image-1"), large.upload(backend, "image-2")

    one, two = (f"/images/{image.ref.partition('/')[2]}" for image in (first, second))
    assert [seen for seen in requests(proxy) if seen[0] != "GET"] == [
        ("POST", "/images"),
        # Whether it can be retired later is asked once, of the image without bytes.
        ("POST", f"{one}/actions/deactivate"),
        ("POST", f"{one}/actions/reactivate"),
        ("PUT", f"{one}/file"),
        ("POST", "/images"),
        ("PUT", f"{two}/file"),
    ]
    assert [put.sent for put in proxy.exchanges if put.method == "PUT"] == [3 * MIB] * 2


def test_an_upload_is_not_held_in_memory(site, make_bench):
    bench = make_bench(site).with_content(lambda _: b"x" * (48 * MIB))
    with site.open() as backend:
        spec = bench.own(backend)
        data = bench.file(1)
        tracemalloc.start()
        backend.upload(spec, data, lambda _: None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert peak < 8 * MIB


def test_a_record_has_tag_and_properties_from_its_first_moment_and_is_hidden(site, proxy, large, project):
    seen = []
    proxy.add("POST", IMAGES, Meanwhile(lambda: seen.extend(project.images().list(os_hidden="true")), answer=True))
    with site.open() as backend:
        large.upload(backend)

    [first] = seen
    assert (first["status"], first["tags"], first["visibility"]) == ("queued", ["imagesync:conformance"], "private")
    assert {"ad:mpuri", "imagesync_record", "imagesync_state"} <= first.keys()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_an_upload_that_is_reset_leaves_nothing_and_the_next_succeeds(site, proxy, large, share):
    with site.open() as backend:
        old = large.publish(backend, number=1)
        proxy.add("PUT", FILE, ResetRequest(int(3 * MIB * share)))
        with pytest.raises(BackendUnavailableError):
            large.upload(backend, number=2)
        assert listed(backend) == {old.ref: old}

        new = large.publish(backend, number=2)

        assert listed(backend) == {old.ref: old, new.ref: new}


def test_what_could_not_be_removed_is_listed_as_partial_and_replaced(site, proxy, large):
    proxy.add("PUT", FILE, ResetRequest(MIB))
    proxy.add("DELETE", ONE, Status(500))
    with site.open() as backend:
        with pytest.raises(BackendUnavailableError):
            large.upload(backend)
        [left] = backend.owned()
        assert left.state is State.PARTIAL

        image = large.upload(backend)

        assert listed(backend) == {image.ref: image}
        assert image.ref != left.ref


def test_an_answer_that_is_lost_after_the_upload_is_made_good(site, proxy, large):
    proxy.add("PUT", FILE, Status(502, forward=True))
    with site.open() as backend:
        with pytest.raises(BackendUnavailableError):
            large.upload(backend)

        image = large.publish(backend)
        assert listed(backend) == {image.ref: image}


def test_a_creation_whose_answer_is_lost_leaves_one_image_in_the_end(site, proxy, large):
    proxy.add("POST", IMAGES, Status(502, forward=True))
    with site.open() as backend:
        with pytest.raises(BackendUnavailableError):
            large.upload(backend)

        image = large.publish(backend)
        assert listed(backend) == {image.ref: image}


def test_a_token_that_is_refused_in_the_middle_is_renewed_and_the_file_sent_again(site, proxy, large):
    proxy.add("PUT", FILE, Status(401))
    steps = []
    with site.open() as backend:
        spec = large.own(backend)
        image = backend.upload(spec, large.file(1), steps.append)

        assert (image.digest, sum(steps)) == (spec.digest, 3 * MIB)
    assert [one.status for one in proxy.exchanges if one.method == "PUT"] == [401, 204]


def test_a_token_that_stays_refused_is_an_error(site, proxy, large):
    proxy.add("PUT", FILE, Status(401), times=None)
    with site.open() as backend, pytest.raises(BackendRefusedError, match="also with a new token"):
        large.upload(backend)

    assert len([one for one in proxy.exchanges if one.method == "PUT"]) == 2


def test_a_glance_that_takes_no_more_bytes_is_given_up(site, proxy, make_bench):
    bench = make_bench(site).with_content(lambda _: bytes(32 * MIB))
    proxy.add("PUT", FILE, Hang(after=MIB))
    with site.open(stall_timeout=0.5) as backend:
        with pytest.raises(BackendUnavailableError):
            bench.upload(backend)

        assert [one.state for one in backend.owned()] in ([], [State.PARTIAL])


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, BackendRefusedError),
        (409, BackendConflictError),
        (413, BackendRefusedError),
        (500, BackendUnavailableError),
    ],
)
def test_an_upload_that_glance_refuses_leaves_nothing(site, proxy, large, status, kind):
    proxy.add("PUT", FILE, Status(status))
    with site.open() as backend:
        with pytest.raises(kind, match=f"Glance answers {status}: made by the test's proxy"):
            large.upload(backend)

        assert backend.owned() == ()


def test_an_image_that_somebody_deletes_while_it_is_sent_is_a_conflict(site, proxy, large, project):
    def delete():
        for image in project.images().list(os_hidden="true"):
            project.images().delete(image["id"])

    proxy.add("PUT", FILE, Meanwhile(delete, after=MIB))
    with site.open() as backend:
        with pytest.raises(BackendConflictError):
            large.upload(backend)

        assert backend.owned() == ()


def test_a_file_that_grows_or_shrinks_is_not_sent(site, large):
    with site.open() as backend:
        spec, data = large.own(backend), large.file(1)
        for size in (3 * MIB - 1, 3 * MIB + 1):
            data.write_bytes(bytes(size))
            with pytest.raises(StoredDigestError):
                backend.upload(spec, data, lambda _: None)

        assert backend.owned() == ()


def test_a_file_that_shrinks_while_it_is_sent_leaves_nothing(site, large, proxy):
    with site.open() as backend:
        spec, data = large.own(backend), large.file(1)
        with pytest.raises(StoredDigestError):
            backend.upload(spec, data, lambda _: data.write_bytes(b""))

        assert backend.owned() == ()


def test_an_empty_file_is_refused(site, make_bench):
    bench = make_bench(site).with_content(lambda _: b"")
    with site.open() as backend, pytest.raises(BackendRefusedError, match="is empty"):
        bench.upload(backend)


def test_a_staged_image_with_wrong_bytes_is_replaced(site, proxy, large):
    proxy.add("DELETE", ONE, Status(500))
    with site.open() as backend:
        spec = large.own(backend)
        with pytest.raises(StoredDigestError):
            backend.upload(replace(spec, digest=large.own(backend, number=2).digest), large.file(1), lambda _: None)
        assert [one.state for one in backend.owned()] == [State.STAGED]
        assert backend.owned()[0].digest == spec.digest

        second = replace(spec, digest=large.own(backend, number=2).digest)
        image = backend.upload(second, large.file(2), lambda _: None)

        assert listed(backend) == {image.ref: image}


# --- listings --------------------------------------------------------------------------------------------------------
def test_a_pass_without_changes_costs_two_listings_whatever_is_there(site, proxy, make_bench, project):
    bench = make_bench(site).with_content(lambda number: f"image {number}".encode())
    with site.open() as backend:
        for number in range(1, 6):
            bench.publish(backend, f"image-{number}", number)
    proxy.clear()
    with site.open() as backend:
        owned = backend.owned()
        backend.owners(VO)

    assert len(owned) == 5
    assert [(one.method, one.path) for one in proxy.exchanges] == [("GET", "/"), ("GET", IMAGES), ("GET", IMAGES)]


def test_many_images_are_listed_page_by_page_and_none_is_asked_for_alone(add_glance, make_site, project):
    """Glance gives at most its own limit: here 10 of 30. A full page is followed by an empty one."""
    glance = add_glance("[DEFAULT]\napi_limit_max = 10\n")
    made = _fill(project.images(glance.region), 30)
    with Proxy(glance.url) as proxy:
        site = make_site(project, region_name=glance.region, endpoint_override=proxy.url)
        with site.open() as backend:
            owned = backend.owned()
            backend.owners(VO)

        assert proxy.count("GET", IMAGES) == len(proxy.exchanges) - 1 == 1 + 4
    assert {image.ref.partition("/")[2] for image in owned} == made
    assert len(owned) == 30


def _fill(images, count):
    record = '{"at": "2026-03-01T12:00:00+00:00", "list": "l", "image": "%d", "fingerprint": "f", "size": 1, "virtual_size": 1, "sha512": ""}'
    return {
        images.create(name=f"{number}", tags=["imagesync:conformance"], imagesync_record=record % number)["id"]
        for number in range(count)
    }


@pytest.mark.parametrize("fault", [Status(503), Status(500), Status(429, retry_after=1), ResetAnswer(5), CutAnswer(9)])
def test_a_listing_that_fails_once_is_read_again(site, proxy, large, fault):
    with site.open() as backend:
        image = large.publish(backend)
        proxy.add("GET", IMAGES, fault)

        assert listed(backend) == {image.ref: image}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Status(500), BackendUnavailableError),
        (Status(503, html=True), BackendUnavailableError),
        (Status(503, retry_after=9999), BackendUnavailableError),
        (Status(403), BackendRefusedError),
        (ResetAnswer(), BackendUnavailableError),
        (CutAnswer(9), BackendUnavailableError),
        (ShortenAnswer(40), BackendUnavailableError),
        (Flood(), BackendUnavailableError),
        (Status(302, location="http://127.0.0.1:9/v2/images"), BackendRefusedError),
    ],
)
def test_a_listing_that_fails_is_an_error_and_never_empty(site, proxy, fault, kind):
    with site.open() as backend:
        proxy.add("GET", IMAGES, fault, times=None)

        with pytest.raises(kind):
            backend.owned()


def test_a_glance_that_is_down_is_unavailable(site, proxy, large):
    with site.open() as backend:
        image = large.publish(backend)
        proxy.stop()
        for call in (backend.owned, lambda: backend.publish(image.ref), lambda: backend.delete(image.ref)):
            with pytest.raises(BackendUnavailableError):
                call()
        with pytest.raises(BackendUnavailableError):
            large.upload(backend, number=2)
        proxy.start()

        assert listed(backend) == {image.ref: image}


# --- publish, retire, delete -----------------------------------------------------------------------------------------
STEPS = ["publish", "retire", "restore", "delete"]


@pytest.mark.parametrize("fault", [Status(503), Status(502, forward=True)], ids=["refused", "lost"])
@pytest.mark.parametrize("step", STEPS)
def test_a_change_that_fails_once_is_made_all_the_same(site, proxy, large, step, fault):
    with site.open() as backend:
        image = large.upload(backend)
        if step != "publish":
            backend.publish(image.ref)
        if step in {"restore", "delete"}:
            backend.retire(image.ref, _later())
        for method, path in (("PATCH", ONE), ("DELETE", ONE), ("POST", f"{ONE}/actions/.*")):
            if not (method == "POST" and fault.code == 502):
                proxy.add(method, path, fault)
        _do(step, backend, image)

        states = [one.state for one in backend.owned()]
    expected = {"publish": [State.PUBLISHED], "restore": [State.PUBLISHED], "retire": [State.RETIRED], "delete": []}
    assert states == expected[step]


@pytest.mark.parametrize("method", ["PATCH", "POST"])
@pytest.mark.parametrize("step", ["publish", "retire", "restore"])
def test_a_change_that_fails_half_way_is_completed_by_the_next(site, proxy, large, step, method):
    with site.open() as backend:
        image = large.upload(backend)
        if step != "publish":
            backend.publish(image.ref)
        if step == "restore":
            backend.retire(image.ref, _later())
        rule = proxy.add(method, ONE if method == "PATCH" else f"{ONE}/actions/.*", Status(409), times=2)
        if (step, method) == ("publish", "POST"):
            _do(step, backend, image)
        else:
            with pytest.raises(BackendError):
                _do(step, backend, image)
            assert rule.struck
        proxy.clear()

        _do(step, backend, image)
        backend.update(image.ref, image.metadata)

        [found] = backend.owned()
        assert found.state is (State.RETIRED if step == "retire" else State.PUBLISHED)
        assert found.drift == ()


def _later():
    from imagesync.testing.subject import LATER

    return LATER


def _do(step, backend, image):
    match step:
        case "publish" | "restore":
            backend.publish(image.ref)
        case "retire":
            backend.retire(image.ref, _later())
        case "delete":
            backend.delete(image.ref)
