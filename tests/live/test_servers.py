"""The real Nova that other tests rely on: it boots what Glance has, and treats images as users' clouds do."""

import pytest
from cloud.api import RefusedError


@pytest.fixture
def servers(nova, project):
    return nova.servers(project)


def test_a_server_boots_from_an_active_image(servers, project):
    image = project.images().add("base")

    server = servers.boot(image["id"], "one")

    assert [(found["id"], found["status"]) for found in servers.list(image=image["id"])] == [(server, "ACTIVE")]
    servers.delete(server)
    assert servers.list() == []


def test_a_server_does_not_boot_from_an_image_without_data(servers, project):
    image = project.images().create(name="queued")

    with pytest.raises(RefusedError, match="400"):
        servers.boot(image["id"])


def test_a_snapshot_inherits_properties_but_no_tags(servers, project):
    base = project.images().add("base", tags=["ours"], ours="yes", protected=True)

    snapshot = project.images().show(servers.snapshot(servers.boot(base["id"]), "snapshot"))

    assert (snapshot["ours"], snapshot["tags"], snapshot["protected"]) == ("yes", [], False)
    assert (snapshot["image_type"], snapshot["base_image_ref"]) == ("snapshot", base["id"])


def test_glance_deletes_an_image_that_a_server_uses(servers, project):
    image = project.images().add("base")
    server = servers.boot(image["id"])

    project.images().delete(image["id"])

    assert [found["id"] for found in servers.list(image=image["id"])] == [server]
