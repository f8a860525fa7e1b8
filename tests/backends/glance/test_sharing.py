"""Who sees an image at which moment."""

import pytest
from cloud.api import RefusedError
from cloud.cloud import write_clouds_yaml

from imagesync.backend import Context, Retirement, State
from imagesync.errors import BackendRefusedError
from imagesync.testing.subject import LATER, NOW

from .conftest import VO, inline


class Onlooker:
    """What a project sees of an image."""

    def __init__(self, project):
        self.images = project.images()

    def sees(self, ref):
        """Return whether the image can be read, and whether it is in the project's list."""
        image = ref.partition("/")[2]
        listed = image in {one["id"] for one in self.images.list()}
        return self._reads(image), listed

    def _reads(self, image):
        try:
            self.images.show(image)
        except RefusedError as refused:
            return {404: False}[refused.status]
        return True


@pytest.fixture
def member(cloud):
    return cloud.project()


@pytest.fixture
def stranger(cloud):
    return Onlooker(cloud.project())


@pytest.fixture
def site(make_site, project, member):
    """A target of one owner whose images are shared with one project."""
    return make_site(project, ownership="shared", owner=project.id, projects={VO: member.id})


@pytest.fixture
def trusted(site, member, tmp_path, monkeypatch):
    """The same with credentials of the member project."""
    path = write_clouds_yaml(tmp_path / "clouds.yaml", {"member": member.application_credential().entry()})
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
    return site.with_settings(projects={VO: {"id": member.id, "cloud": "member"}})


def publish(make_bench, site, backend, vo=VO):
    return make_bench(site).publish_for(backend, vo)


def members(site, image):
    return site.images.members(image.ref.partition("/")[2])


def test_nobody_but_the_owner_sees_an_image_before_it_is_published(site, make_bench, member, stranger):
    with site.open() as backend:
        image = make_bench(site).upload_for(backend, VO)

        assert Onlooker(member).sees(image.ref) == stranger.sees(image.ref) == (False, False)
        assert site.show(image.ref)["visibility"] == "private"


def test_a_published_image_is_offered_to_the_project_of_its_vo_alone(site, make_bench, member, stranger):
    said = []
    with site.enter(Context("mysite", "conformance", said.append)) as backend:
        image = publish(make_bench, site, backend)

        assert Onlooker(member).sees(image.ref) == (True, False)
        assert stranger.sees(image.ref) == (False, False)
        assert members(site, image) == {member.id: "pending"}
        assert said == [f"images wait until project {member.id} accepts them, or has credentials here (cloud)"]
        assert backend.owned()[0].drift == ()


def test_a_share_is_accepted_where_the_project_has_credentials_here(trusted, make_bench, member, stranger):
    with trusted.open() as backend:
        image = publish(make_bench, trusted, backend)

        assert Onlooker(member).sees(image.ref) == (True, True)
        assert stranger.sees(image.ref) == (False, False)
        assert members(trusted, image) == {member.id: "accepted"}


@pytest.mark.parametrize("named_by", ["id", "name"])
def test_a_share_is_accepted_later_when_credentials_come(site, trusted, make_bench, member, named_by):
    with site.open() as backend:
        image = publish(make_bench, site, backend)
    named = {"id": member.id} if named_by == "id" else {"name": member.name}
    with trusted.open(projects={VO: {**named, "cloud": "member"}}) as backend:
        assert backend.owned()[0].drift == ("members",)
        backend.update(image.ref, image.metadata)

        assert members(site, image) == {member.id: "accepted"}
        assert backend.owned()[0].drift == ()


def test_what_a_member_rejected_stays_rejected(site, trusted, make_bench, member):
    with site.open() as backend:
        image = publish(make_bench, site, backend)
    member.images().answer_member(image.ref.partition("/")[2], member.id, "rejected")
    with trusted.open() as backend:
        backend.update(image.ref, image.metadata)

        assert members(site, image) == {member.id: "rejected"}
        assert backend.owned()[0].drift == ()


def test_a_login_that_is_for_both_projects_accepts_for_the_member(cloud, project, member, make_site, make_bench):
    user = cloud.user([project, member])
    login = inline(project.login(user))
    site = make_site(project, **login, ownership="shared", owner=project.id, projects={VO: {"name": member.name}})
    with site.open() as backend:
        image = publish(make_bench, site, backend)

        assert members(site, image) == {member.id: "accepted"}


def test_a_project_that_is_no_longer_the_vos_loses_its_membership(cloud, site, make_bench, member):
    with site.open() as backend:
        image = publish(make_bench, site, backend)
    other = cloud.project()
    with site.open(projects={VO: other.id}) as backend:
        assert backend.owned()[0].drift == ("members",)
        backend.update(image.ref, image.metadata)

        assert members(site, image) == {other.id: "pending"}
        assert Onlooker(member).sees(image.ref) == (False, False)
        assert backend.owned()[0].drift == ()


def test_an_image_of_one_vo_is_not_shared_with_another(cloud, site, make_bench, member):
    other = cloud.project()
    with site.open(projects={VO: member.id, "other": other.id}) as backend:
        image = publish(make_bench, site, backend, vo="other")

        assert members(site, image) == {other.id: "pending"}


def test_a_retired_image_stays_with_its_members_and_is_not_theirs_to_boot(trusted, make_bench, member):
    with trusted.open() as backend:
        image = publish(make_bench, trusted, backend)
        backend.retire(image.ref, LATER)

    assert Onlooker(member).sees(image.ref) == (True, True)
    assert member.images().show(image.ref.partition("/")[2])["status"] == "deactivated"


def test_a_retired_image_leaves_a_project_that_is_no_longer_the_vos_and_goes_to_no_new_one(
    cloud, site, make_bench, member
):
    with site.open() as backend:
        image = publish(make_bench, site, backend)
        backend.retire(image.ref, LATER)
        assert backend.owned()[0].drift == ()
    with site.open(projects={VO: cloud.project().id}) as backend:
        [retired] = backend.owned()
        assert retired.drift == ("members",)
        backend.update(retired.ref, retired.metadata)

        assert members(site, image) == {}
        [after] = backend.owned()
        assert (after.drift, after.state, after.retirement) == ((), State.RETIRED, LATER)


def test_a_revoked_image_is_taken_from_its_members_and_comes_back_with_them(trusted, make_bench, member):
    with trusted.open() as backend:
        image = publish(make_bench, trusted, backend)
        backend.retire(image.ref, Retirement(NOW, "revoked"))
        assert Onlooker(member).sees(image.ref) == (False, False)

        backend.publish(image.ref)

        assert Onlooker(member).sees(image.ref) == (True, True)


def test_an_image_that_is_revoked_after_it_was_retired_is_taken_from_its_members_then(trusted, make_bench, member):
    with trusted.open() as backend:
        image = publish(make_bench, trusted, backend)
        backend.retire(image.ref, Retirement(NOW, "withdrawn"))
        before = Onlooker(member).sees(image.ref)

        backend.retire(image.ref, Retirement(LATER.at, "revoked"))

        [recalled] = backend.owned()
        assert (before, Onlooker(member).sees(image.ref)) == ((True, True), (False, False))
        assert (recalled.retirement, recalled.drift) == (Retirement(NOW, "revoked"), ())


def test_a_recall_takes_an_image_from_members_that_cannot_be_looked_up(site, make_bench, member):
    with site.open() as backend:
        image = publish(make_bench, site, backend)
    with site.open(projects={VO: {"name": member.name}}) as backend:
        [before] = backend.owned()
        shared = members(site, image)
        backend.retire(before.ref, Retirement(NOW, "revoked"))

    assert (shared, members(site, image)) == ({member.id: "pending"}, {})


@pytest.mark.parametrize("ownership", ["shared", "per-project"])
def test_a_recall_takes_an_image_from_its_members_also_in_a_project_that_is_no_longer_configured(
    cloud, make_site, site, project, make_bench, member, ownership
):
    with site.open() as backend:
        image = publish(make_bench, site, backend)
    other = cloud.project()
    other.grant(project.user)
    moved = site.with_settings(owner=other.id) if ownership == "shared" else make_site(project)
    context = Context("mysite", "conformance", former=frozenset({project.id}))
    with moved.enter(context, projects={VO: other.id}) as backend:
        [left] = backend.owned()
        backend.retire(left.ref, LATER)
        shared = members(site, image)
        backend.retire(left.ref, Retirement(LATER.at, "revoked"))

    assert (shared, members(site, image)) == ({member.id: "pending"}, {})


def test_an_image_that_somebody_else_deactivated_is_taken_from_its_members_too(trusted, make_bench, member):
    with trusted.open() as backend:
        image = publish(make_bench, trusted, backend)
        trusted.images.act(image.ref.partition("/")[2], "deactivate")

        backend.retire(image.ref, Retirement(LATER.at, "revoked"))

        [recalled] = backend.owned()
        assert (recalled.retirement.reason, Onlooker(member).sees(image.ref)) == ("revoked", (False, False))


def test_a_project_that_cannot_be_looked_up_refuses_its_vo_and_loses_nothing(site, make_bench, member, project):
    with site.open() as backend:
        image = publish(make_bench, site, backend)
    with site.open(projects={VO: {"name": member.name}}) as backend:
        with pytest.raises(BackendRefusedError, match=f"project {member.name} in domain Default"):
            backend.owners(VO)
        backend.update(image.ref, image.metadata)

        assert backend.owned()[0].drift == ()
        assert members(site, image) == {member.id: "pending"}


def test_members_that_somebody_added_go_with_the_next_change(cloud, site, make_bench):
    other = cloud.project()
    with site.open() as backend:
        image = publish(make_bench, site, backend)
        site.images.add_member(image.ref.partition("/")[2], other.id)
        backend.update(image.ref, image.metadata)

        assert other.id not in members(site, image)


@pytest.mark.parametrize("change", ["private", "community"])
def test_a_visibility_that_somebody_changed_is_put_right(site, make_bench, member, change):
    with site.open() as backend:
        image = publish(make_bench, site, backend)
        site.images.change(image.ref.partition("/")[2], {"op": "replace", "path": "/visibility", "value": change})
        assert backend.owned()[0].drift == ("visibility",)
        backend.update(image.ref, image.metadata)

        assert backend.owned()[0].drift == ()
        assert members(site, image) == {member.id: "pending"}


def test_an_image_for_each_project_is_seen_by_that_project_alone(make_site, make_bench, project, stranger):
    site = make_site(project)
    with site.open() as backend:
        image = make_bench(site).publish_for(backend, VO)

    assert Onlooker(project).sees(image.ref) == (True, True)
    assert stranger.sees(image.ref) == (False, False)


def test_a_community_image_is_for_who_knows_it(make_site, make_bench, project, stranger):
    site = make_site(project, owner=project.id, visibility="community", projects={})
    with site.open() as backend:
        assert tuple(backend.owners("any")) == (project.id,)
        image = make_bench(site).upload_for(backend, "any")
        assert stranger.sees(image.ref) == (False, False)
        backend.publish(image.ref)

        assert stranger.sees(image.ref) == (True, False)
        assert backend.owned()[0].drift == ()
        assert not backend.capabilities().editable


def test_a_public_image_needs_a_role_that_may_publish(make_site, make_bench, cloud, project, stranger):
    site = make_site(project, owner=project.id, visibility="public", projects={})
    with site.open() as backend:
        with pytest.raises(
            BackendRefusedError, match=r"lacks permissions: .* publicize_image \(offer images to everyb"
        ):
            make_bench(site).upload_for(backend, VO)
        assert list(site.images.list(os_hidden="true", owner=project.id)) == []
    project.grant(project.user, "admin")
    with site.open() as backend:
        image = make_bench(site).upload_for(backend, VO)
        assert stranger.sees(image.ref) == (False, False)
        backend.publish(image.ref)

        assert stranger.sees(image.ref) == (True, True)
        make_bench(site).remove(backend, image.ref)  # it is in everybody's list
