"""What a user may not do: found out without changing anything, and said at once."""

import json
from uuid import uuid4

import pytest
from cloud.faults import Status
from cloud.proxy import Proxy

from imagesync.backend import Context
from imagesync.errors import BackendRefusedError
from imagesync.testing.subject import LATER

from .conftest import VO, inline

LIMITS = {
    "communitize_image": "!",
    "deactivate": "!",
    "reactivate": "!",
    "add_member": "!",
    "delete_image": "role:admin",
}


@pytest.fixture(scope="module")
def limited(cloud, tmp_path_factory):
    """A region whose policy lets members do less than usual."""
    policy = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_text(json.dumps(dict.fromkeys(LIMITS, "role:admin")))
    region = f"limited-{uuid4().hex[:12]}"
    cloud.glance(region, f"[oslo_policy]\npolicy_file = {policy}\n")
    yield region
    cloud.remove_region(region)


def checked(site, **changes):
    """Return what is found to be missing before anything is changed."""
    with site.enter(Context("mysite", "conformance", check=True), **changes) as backend:
        with pytest.raises(BackendRefusedError) as refused:
            backend.owned()
        return str(refused.value)


def test_a_check_names_what_is_missing_in_every_project_and_leaves_nothing(limited, make_site, cloud, project):
    other = cloud.project()
    user = cloud.user([project, other], role="reader")
    site = make_site(project, **inline(project.login(user)), projects={VO: project.id, "other": other.id})

    found = checked(site)

    assert found.startswith("target mysite: the user lacks permissions: ")
    for one in (project, other):
        assert f"in project {one.id} add_image (create images)" in found
        assert list(one.images().list()) == []
    community = {"visibility": "community", "owner": project.id, "projects": {}}
    lacking = checked(make_site(project, region_name=limited, **community))
    assert f"in project {project.id} communitize_image (offer images to who knows their id) (give the user" in lacking
    assert list(project.images(limited).list(os_hidden="true", owner=project.id)) == []


def test_a_project_whose_listing_is_refused_is_left_alone_and_stops_no_other(make_site, cloud, project, make_bench):
    other = cloud.project()
    user = cloud.user([project, other])
    with Proxy(cloud.glance_url()) as proxy:
        login = inline(project.login(user))
        site = make_site(project, **login, endpoint_override=proxy.url, projects={VO: project.id, "other": other.id})
        with site.open() as backend:
            make_bench(site).publish_for(backend, VO)
            seen = make_bench(site).publish_for(backend, "other")
        proxy.add("GET", "/v2/images", Status(403))  # the first project's
        with site.open() as backend:
            assert [image.ref for image in backend.owned()] == [seen.ref]
            assert backend.owners("other") == (other.id,)
            with pytest.raises(BackendRefusedError, match=f"project {project.id}: Glance answers 403"):
                backend.owners(VO)
        proxy.add("GET", "/v2/images", Status(403), times=None)
        with site.open() as backend, pytest.raises(BackendRefusedError, match="Glance answers 403"):
            backend.owned()


def test_a_check_with_every_permission_finds_nothing_and_changes_nothing(make_site, cloud, project, make_bench):
    site = make_site(project, ownership="shared", owner=project.id, projects={VO: cloud.project().id})
    with site.open() as backend:
        old, new = (make_bench(site).publish_for(backend, VO, number=number) for number in (1, 2))
        backend.retire(old.ref, LATER)
        before = backend.owned()
    bodies = [site.show(image.ref) for image in (old, new)]
    with site.enter(Context("mysite", "conformance", check=True)) as backend:
        assert backend.owned() == before
    assert [site.show(image.ref) for image in (old, new)] == bodies


def test_a_check_tries_what_is_there(limited, make_site, cloud, project, make_bench):
    site = make_site(project, region_name=limited, ownership="shared", owner=project.id)
    site = site.with_settings(projects={VO: cloud.project().id})
    admin = inline(project.login(cloud.user([project], "admin")))
    with site.open(**{**admin, "region_name": limited}) as backend:
        old, _ = (make_bench(site).publish_for(backend, VO, number=number) for number in (1, 2))
        backend.retire(old.ref, LATER)

    found = checked(site)

    assert f"in project {project.id} add_member (share images), deactivate (take images out of offer) (give" in found


def test_a_pass_says_once_what_it_will_miss_before_the_first_byte(limited, make_site, project, make_bench):
    said = []
    site = make_site(project, region_name=limited)
    with site.enter(Context("mysite", "conformance", said.append)) as backend:
        bench = make_bench(site)
        first, _ = bench.publish(backend, "one", 1), bench.publish(backend, "two", 2)
        with pytest.raises(BackendRefusedError, match="rule deactivate"):
            backend.retire(first.ref, LATER)
        with pytest.raises(BackendRefusedError, match="rule delete_image"):
            backend.delete(bench.upload(backend, "three", 3).ref)

    assert len(said) == 1
    assert said[0].startswith(
        f"the user lacks permissions: in project {project.id} deactivate (take images out of offer), "
        "delete_image (delete images), reactivate (offer retired images again): give the user"
    )


def test_what_could_never_be_offered_is_not_even_created(limited, make_site, project, make_bench, cloud):
    with Proxy(cloud.glance_url(limited)) as proxy:
        site = make_site(project, endpoint_override=proxy.url, visibility="community", owner=project.id, projects={})
        with site.open() as backend:
            for number in (1, 2):
                with pytest.raises(BackendRefusedError, match="communitize_image"):
                    make_bench(site).upload_for(backend, VO, number=number)

        assert [one.status for one in proxy.exchanges if one.method != "GET"] == [403]
