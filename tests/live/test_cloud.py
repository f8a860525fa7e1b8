"""The real services that other tests rely on answer, and differ where they should."""

import pytest
from cloud.api import RefusedError
from cloud.cloud import write_clouds_yaml
from cloud.process import ServerError


def test_an_image_comes_back_as_it_was_sent(project):
    image = project.images().add("kept", b"content")

    assert image["status"] == "active"
    assert project.images().download(image["id"]) == b"content"


def test_projects_do_not_see_each_other(cloud, project):
    project.images().add("mine", visibility="private")

    assert list(cloud.project().images().list()) == []


def test_the_second_region_has_a_catalogue_of_its_own(cloud, project):
    assert cloud.glance_url("RegionTwo") != cloud.glance_url()

    image = project.images("RegionTwo").add("there")

    assert [found["id"] for found in project.images("RegionTwo").list()] == [image["id"]]
    assert list(project.images().list()) == []


def test_a_user_may_work_in_several_projects(cloud):
    first, second = cloud.project(), cloud.project()
    user = cloud.user([first, second])

    made = [project.account(user).images().add("shared user")["owner"] for project in (first, second)]

    assert made == [first.id, second.id]


def test_a_reader_may_not_create(project):
    images = project.account(project.reader()).images()

    assert list(images.list()) == []
    with pytest.raises(RefusedError, match="403"):
        images.add("refused")


def test_an_application_credential_logs_in(project):
    image = project.application_credential().account().images().add("by credential")

    assert image["owner"] == project.id


def test_an_application_credential_is_held_to_its_access_rules(project):
    login = project.application_credential([{"service": "image", "method": "GET", "path": "/v2/images"}])

    assert list(login.account().images().list()) == []
    with pytest.raises(RefusedError, match="401"):
        login.account().images().add("refused")


@pytest.mark.parametrize("way", ["by_access_token", "by_client_credentials", "by_password"])
def test_a_federated_user_logs_in(cloud, project, way):
    member = cloud.federation.join(project)

    image = getattr(member, way)().account().images().add(way)

    assert image["owner"] == project.id


def test_an_access_token_ends(cloud, project):
    from keystoneauth1.exceptions import Unauthorized

    member = cloud.federation.join(project)
    login = member.by_access_token()
    member.expire_tokens()

    with pytest.raises(Unauthorized):
        list(login.account().images().list())


def test_a_token_logs_in(project):
    assert list(project.token_login().account().images().list()) == []


def test_a_cloud_file_is_private(project, tmp_path):
    path = write_clouds_yaml(tmp_path / "clouds.yaml", {"site": project.login().entry()})

    assert path.stat().st_mode & 0o777 == 0o600


def test_a_glance_can_be_configured_and_killed_apart_from_the_others(add_glance, project):
    glance = add_glance("[DEFAULT]\nimage_size_cap = 10\n")
    images = project.images(glance.region)
    image = images.add("small", b"12345")
    with pytest.raises(RefusedError, match="413"):
        images.add("large", b"x" * 11)

    glance.kill()
    assert glance.pid is None
    glance.start("")

    assert images.download(image["id"]) == b"12345"
    assert images.add("large", b"x" * 11)["size"] == 11


def test_a_glance_that_cannot_start_says_why_and_is_not_kept(cloud):
    for _ in range(2):
        with pytest.raises(ServerError, match="glance-nowhere ended"):
            cloud.glance("nowhere", "[DEFAULT]\nenabled_backends = nothing:nothing\n")

    assert cloud.admin.identity.find("endpoint", region_id="nowhere") == []
