"""The upload method ``glance-direct``, and hashes by another algorithm."""

import pytest
from cloud.faults import ResetRequest, Status
from cloud.proxy import Proxy

from imagesync.backend import State
from imagesync.errors import BackendRefusedError, BackendUnavailableError
from imagesync.testing.subject import listed

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


def test_a_cloud_without_imports_gets_the_bytes_directly_and_it_is_said(
    add_glance, make_site, project, make_bench, caplog
):
    region = add_glance("[DEFAULT]\nenabled_import_methods = [web-download]\n").region
    site = make_site(project, region_name=region, upload_method="glance-direct")
    with site.open() as backend:
        assert make_bench(site).upload(backend).state is State.STAGED
    assert "offers no glance-direct" in caplog.text


def test_a_glance_that_hashes_otherwise_attests_the_bytes_too(add_glance, make_site, project, make_bench):
    """The file is read once more, and what Glance calls it is noted."""
    site = make_site(project, region_name=add_glance("[DEFAULT]\nhashing_algorithm = sha256\n").region)
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
