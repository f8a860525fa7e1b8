"""The upload method ``glance-direct``, and hashes by another algorithm."""

import pytest
from cloud.faults import ResetRequest, Status
from cloud.proxy import Proxy

from imagesync.backend import Context, State
from imagesync.errors import BackendRefusedError, BackendUnavailableError
from imagesync.testing.subject import listed

from .conftest import VO

STAGE = r"/v2/images/[^/]+/stage"


@pytest.fixture
def proxy(cloud):
    with Proxy(cloud.glance_url()) as opened:
        yield opened


@pytest.fixture
def site(make_site, project, proxy):
    return make_site(project, endpoint_override=proxy.url, upload_method="glance-direct")


def test_an_image_is_staged_with_its_length_and_imported(site, proxy, make_bench):
    bench = make_bench(site)
    with site.open() as backend:
        image = bench.publish(backend)

        assert (image.state, image.digest) == (State.PUBLISHED, bench.own(backend).digest)
    assert [one.sent for one in proxy.exchanges if one.path.endswith("/stage")] == [image.size]
    assert not [one for one in proxy.exchanges if one.path.endswith("/file")]


def test_staging_that_is_reset_leaves_nothing_to_be_imported(site, proxy, make_bench):
    bench = make_bench(site)
    proxy.add("PUT", STAGE, ResetRequest(100_000))
    with site.open() as backend:
        with pytest.raises(BackendUnavailableError):
            bench.upload(backend)
        assert backend.owned() == ()
        assert not proxy.count("POST", r"/v2/images/[^/]+/import")

        image = bench.upload(backend)

        assert listed(backend) == {image.ref: image}


def test_bytes_that_the_import_refuses_are_an_error_and_leave_nothing(site, make_bench):
    bench = make_bench(site).with_content(lambda _: b"QFI\xfb" + bytes(511))
    with site.open() as backend:
        with pytest.raises(BackendRefusedError, match="import failed"):
            bench.upload(backend)

        assert backend.owned() == ()


def test_an_import_that_glance_refuses_to_begin_leaves_nothing(site, proxy, make_bench):
    proxy.add("POST", r"/v2/images/[^/]+/import", Status(403))
    with site.open() as backend:
        with pytest.raises(BackendRefusedError, match="403"):
            make_bench(site).upload(backend)

        assert backend.owned() == ()


def test_a_cloud_without_imports_gets_the_bytes_directly_and_it_is_said(add_glance, make_site, project, make_bench):
    said = []
    region = add_glance("[DEFAULT]\nenabled_import_methods = [web-download]\n").region
    site = make_site(project, region_name=region, upload_method="glance-direct")
    with site.enter(Context("mysite", "conformance", said.append)) as backend:
        assert make_bench(site).upload(backend).state is State.STAGED
    assert said == ["this Glance offers no glance-direct: images are uploaded directly, as upload_method: upload does"]


def test_an_import_is_waited_for_where_nobody_tells_of_tasks(site, proxy, make_bench):
    """Version 2.12 of the Image API was the first that did."""
    bench = make_bench(site)
    asked = proxy.add("GET", r"/v2/images/[^/]+/tasks", Status(404), times=None)
    with site.open() as backend:
        assert bench.upload(backend).state is State.STAGED
    assert asked.struck


@pytest.fixture
def sha256(add_glance):
    return add_glance("[DEFAULT]\nhashing_algorithm = sha256\n").region


def test_a_glance_that_hashes_otherwise_attests_the_bytes_too(sha256, make_site, cloud, project, make_bench):
    """The file is read once more, and what Glance calls it is noted."""
    shared = {"ownership": "shared", "owner": project.id, "projects": {VO: cloud.project().id}}
    site = make_site(project, region_name=sha256, **shared)
    bench = make_bench(site)
    with site.open() as backend:
        image = bench.publish(backend)
        assert site.show(image.ref)["os_hash_algo"] == "sha256"
        assert image.digest == bench.own(backend).digest
        assert bench.upload(backend) == image
    with site.open() as backend:
        assert listed(backend) == {image.ref: image}
        assert bench.upload(backend) == image

        site.change(image.ref, imagesync_record=site.show(image.ref)["imagesync_record"].replace("sha256:", "sha256:0"))

        assert listed(backend)[image.ref].digest is None


def test_a_note_is_not_believed_where_members_could_have_written_it(sha256, make_site, cloud, project, make_bench):
    """They could note the endorsed SHA-512 beside any other hash of bytes of their own."""
    own = make_site(project, region_name=sha256)
    with own.open() as backend:
        with pytest.raises(BackendRefusedError, match=r"hashes by sha256.*\(set hashing_algorithm = sha512"):
            make_bench(own).upload(backend)
        assert backend.owned() == ()
    shared = {"ownership": "shared", "owner": project.id, "projects": {VO: cloud.project().id}}
    with own.open(**shared) as backend:
        image = make_bench(own).publish_for(backend, VO)
    with own.open() as backend:
        assert [one.ref for one in backend.owned()] == [image.ref]
        with pytest.raises(BackendRefusedError, match=rf"{image.ref.partition('/')[2]}: Glance hashes by sha256"):
            backend.owners(VO)
