"""What an operator is told, and what becomes of images, when the configuration changes or does not fit the cloud."""

import pytest
from cloud.faults import Status
from cloud.proxy import Proxy


def notices(result):
    return [text for target in result.json["targets"] for text in target["notices"]]


@pytest.fixture
def synced(site, cloud):
    """A site with two images, whose user may work in another project too."""
    other = cloud.project()
    other.grant(site.project.user)
    site.offer("alma", "debian")
    first = site.publish_and_sync()
    assert (first.code, len(first.done())) == (0, 2), first.err
    return site, other


def statuses(site, project):
    return sorted({one["status"] for one in site.records(project)})


def test_images_follow_their_vo_to_another_project_and_back(synced):
    site, other = synced
    site.configure(projects={site.vo: other.id})

    moved, settled = site.sync(), site.sync()

    assert (moved.code, moved.done()) == (0, [("register", "alma"), ("register", "debian")])
    assert [(one["kind"], one["reason"].partition(",")[0]) for one in moved.actions if one["kind"] == "hold"] == [
        ("hold", "its VO has no images in this project any more")
    ] * 2
    assert (settled.code, settled.done()) == (0, [("retire", "alma"), ("retire", "debian")])
    assert (statuses(site, site.project), statuses(site, other)) == (["deactivated"], ["active"])
    assert site.sync().done() == []
    site.configure(projects={site.vo: site.project.id})
    back = site.sync(), site.sync()
    assert [kind for result in back for kind, _ in result.done()] == ["restore"] * 2 + ["retire"] * 2
    assert (statuses(site, site.project), statuses(site, other)) == (["active"], ["deactivated"])


@pytest.mark.parametrize("shared", [{"ownership": "shared"}, {"visibility": "community", "projects": {}}])
def test_images_follow_to_one_owner_and_what_is_left_stays_as_it_was_shared(synced, shared):
    site, owner = synced
    before = {one["id"]: one["visibility"] for one in site.records()}
    site.configure(**{"owner": owner.id, **shared})

    results = [site.sync() for _ in range(3)]

    assert [result.code for result in results] == [0, 0, 0], results[-1].err
    assert [len(result.done()) for result in results] == [2, 2, 0]
    assert (statuses(site, site.project), statuses(site, owner)) == (["deactivated"], ["active"])
    assert {one["id"]: one["visibility"] for one in site.records()} == before
    site.configure(delete_after="0s", in_use="ignore")
    assert [kind for kind, _ in site.run("prune", "--json").done()] == ["delete"] * 2
    assert site.records() == []


def test_images_that_the_login_is_not_good_for_any_more_are_said_until_they_are_forgotten(synced):
    site, other = synced
    site.entries = {"site": other.login().entry()}
    site.configure(projects={site.vo: other.id})

    first, second = site.sync(), site.sync()

    for result in (first, second):
        assert result.code == 0
        refused, left = sorted(notices(result))
        assert refused.startswith(f"nothing is done in project {site.project.id}: ")
        assert left.startswith(f"project {site.project.id}, which is no longer configured, had 2 published images")
    assert "notice: nothing is done in project" in site.run("sync").out
    assert "notice: nothing is done in project" in site.run("plan").out
    assert statuses(site, site.project) == ["active"]
    assert site.run("prune", "--unsubscribed").code == 0
    assert notices(site.sync()) == []


def test_a_name_that_others_took_is_said_before_and_after_the_upload(site):
    (theirs,) = [site.images.add("alma", b"theirs")]
    site.offer("alma", "debian")

    first, second = site.publish_and_sync(), site.sync()

    for result in (first, second):
        assert result.code == 0
        (said,) = notices(result)
        assert said.startswith(f"image {theirs['id']} of others in project {site.project.id} is named 'alma' like one")
    site.configure(image_name="{title} of {vo}")
    site.sync()
    assert notices(site.sync()) == []


def test_a_project_whose_listing_is_refused_stops_no_other(site, cloud):
    with Proxy(cloud.glance_url()) as proxy:
        refused = cloud.project()
        refused.grant(site.project.user)
        site.offer("alma")
        site.configure(projects={site.vo: refused.id})
        assert site.publish_and_sync().code == 0
        before = site.records(refused)
        more = {"projects": {site.vo: refused.id, "other": site.project.id}}
        site.configure(endpoint_override=proxy.url, **more)
        # Listings are asked for in the order of the settings.
        proxy.add("GET", "/v2/images", Status(403))
        site.withdraw("alma")
        site.offer("debian")

        result = site.publish_and_sync()

        assert (result.code, result.actions) == (1, [])
        assert "vo-list: backend-refused: " in result.json["targets"][0]["error"]
        assert "Glance answers 403" in result.json["targets"][0]["error"]
        assert site.records(refused) == before
        assert site.sync().done() == [("register", "debian"), ("retire", "alma")]


def test_the_check_of_the_configuration_names_missing_permissions_in_one_line(site):
    reader = site.project.reader()
    site.entries = {"site": site.project.login(reader).entry()}
    site.configure()
    site.published.publish()

    checked = site.run("config", "check", "--connect")

    assert checked.code == 2
    (line,) = [line for line in checked.out.splitlines() if "lacks permissions" in line]
    assert f"target site: target site: the user lacks permissions: in project {site.project.id} add_image (" in line
