"""Retiring, restoring, deleting, and what others do to our images and theirs."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import pytest
from cloud.api import RefusedError

from imagesync.backend import DEACTIVATED, Context, Metadata, Retirement, State
from imagesync.errors import BackendConflictError, BackendRefusedError, BackendUnavailableError, ForeignToolError
from imagesync.testing.subject import LATER, NOW, listed

from .conftest import VO


# --- retire and restore ----------------------------------------------------------------------------------------------
def test_a_retired_image_is_listed_with_its_properties_and_cannot_be_downloaded(site, bench):
    with site.open() as backend:
        image = bench.publish(backend)
        backend.retire(image.ref, LATER)

    [found] = site.images.list(owner=site.project.id)
    assert (found["status"], found["ad:mpuri"]) == ("deactivated", image.metadata.properties["ad:mpuri"])
    assert (found["imagesync_state"], found["APPLIANCE_STATUS"], found["os_hidden"]) == ("retired", "EOL", False)
    with pytest.raises(RefusedError, match="403"):
        site.images.download(found["id"])


def test_a_name_finds_one_image_once_its_successor_is_published(site, bench):
    with site.open() as backend:
        old, new = bench.publish(backend, number=1), bench.publish(backend, number=2)
        backend.retire(old.ref, Retirement(NOW, "superseded", superseded=True))

        assert [one["id"] for one in site.images.list(name=new.metadata.name, owner=site.project.id)] == [
            new.ref.partition("/")[2]
        ]
        assert site.show(old.ref)["name"] == "Title of image-1 [retired 2026-03-01]"
        assert listed(backend)[old.ref].metadata.name == "Title of image-1"


def test_what_somebody_deactivated_is_said_to_be_retired_and_is_published_again(site, bench):
    with site.open() as backend:
        image = bench.publish(backend)
        site.images.act(image.ref.partition("/")[2], "deactivate")
        found = listed(backend)[image.ref]
        assert (found.state, found.retirement.reason) == (State.RETIRED, DEACTIVATED)

        backend.publish(image.ref)

        assert listed(backend) == {image.ref: image}


def test_what_somebody_activated_is_retired_again(site, bench):
    with site.open() as backend:
        image = bench.publish(backend)
        backend.retire(image.ref, LATER)
        site.images.act(image.ref.partition("/")[2], "reactivate")
        assert listed(backend)[image.ref].drift == ("state",)

        backend.retire(image.ref, LATER)

        assert listed(backend)[image.ref].retirement == LATER


@pytest.mark.parametrize(
    ("name", "value", "drift"),
    [
        ("os_hidden", True, ("hidden",)),
        ("visibility", "shared", ("visibility",)),
        ("imagesync_state", "staged", ("state",)),
        ("imagesync_record", "{}", ("record",)),
    ],
)
def test_what_somebody_edited_is_seen_and_put_right(site, bench, name, value, drift):
    metadata = Metadata(
        "Title", {"imagesync_list": "list-1", "imagesync_image": "image-1", "imagesync_fingerprint": "f" * 64}
    )
    with site.open() as backend:
        image = bench.publish(backend)
        backend.update(image.ref, metadata)
        whole = listed(backend)
        site.images.change(
            image.ref.partition("/")[2],
            {"op": "replace" if name in {"os_hidden", "visibility"} else "add", "path": f"/{name}", "value": value},
        )
        assert listed(backend)[image.ref].drift == drift if name != "imagesync_record" else True
        if name == "imagesync_record":
            assert [one.drift for one in backend.owned()] == [drift]

        backend.update(image.ref, metadata)

        found = listed(backend)[image.ref]
        assert (found.drift, found.metadata, found.state) == ((), whole[image.ref].metadata, State.PUBLISHED)


def test_properties_that_somebody_edited_removed_or_added_are_told_apart(site, bench):
    with site.open() as backend:
        image = bench.publish(backend)
        site.images.change(
            image.ref.partition("/")[2],
            {"op": "replace", "path": "/ad:mpuri", "value": "edited"},
            {"op": "remove", "path": "/imagesync_list"},
            {"op": "add", "path": "/note", "value": "theirs"},
        )
        found = listed(backend)[image.ref].metadata.properties
        assert found["ad:mpuri"] == "edited"
        assert not {"imagesync_list", "note"} & found.keys()

        backend.update(image.ref, image.metadata)

        assert listed(backend) == {image.ref: image}
        assert site.show(image.ref)["note"] == "theirs"


def test_what_somebody_deleted_is_gone_and_can_be_uploaded_again(site, bench):
    with site.open() as backend:
        image = bench.publish(backend)
        site.images.delete(image.ref.partition("/")[2])
        assert backend.owned() == ()

        assert bench.publish(backend).ref != image.ref


def test_a_record_without_its_tag_is_no_longer_ours(site, bench):
    with site.open() as backend:
        image = bench.publish(backend)
        site.images.change(image.ref.partition("/")[2], {"op": "replace", "path": "/tags", "value": []})

        assert backend.owned() == ()
        with pytest.raises(BackendConflictError, match="no such record of ours"):
            backend.retire(image.ref, LATER)
        backend.delete(image.ref)
        assert site.show(image.ref)["status"] == "active"


# --- delete ----------------------------------------------------------------------------------------------------------
def retire(bench, backend):
    """Return an image that was published once."""
    image = bench.publish(backend)
    backend.retire(image.ref, LATER)
    return listed(backend)[image.ref]


def test_a_protected_image_is_not_deleted(site, bench):
    with site.open() as backend:
        image = retire(bench, backend)
        site.images.change(image.ref.partition("/")[2], {"op": "replace", "path": "/protected", "value": True})

        with pytest.raises(BackendConflictError, match="protected"):
            backend.delete(image.ref)
        assert listed(backend) == {image.ref: image}


def test_an_image_that_somebody_published_meanwhile_is_not_deleted(site, bench):
    """Another host, whose list has it again."""
    with site.open() as one, site.open() as two:
        image = retire(bench, one)
        two.publish(image.ref)

        with pytest.raises(BackendConflictError, match="is on offer again"):
            one.delete(image.ref)
        assert listed(one)[image.ref].state is State.PUBLISHED


class Compute:
    """The one question that Nova is asked; ``answers`` has the answer by what the question ends in."""

    def __init__(self):
        self.servers: set[str] = set()
        self.is_admin = False
        self.asked: list[str] = []
        self.status = 200

    @contextmanager
    def running(self):
        compute = self

        class Exchange(BaseHTTPRequestHandler):
            def do_GET(self):
                compute.asked.append(self.path)
                status, body = compute.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Exchange) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield f"http://127.0.0.1:{server.server_port}/v2.1"
            server.shutdown()
            thread.join()

    def answer(self, path):
        if "all_tenants" in path and not self.is_admin:
            return 403, b'{"forbidden": {"message": "Policy does not allow all_tenants", "code": 403}}'
        found = [{"id": "s"} for image in self.servers if f"image={image}&" in path]
        return self.status, json.dumps({"servers": found}).encode()


@pytest.fixture
def region(cloud):
    """A region of its own, whose only service is the Glance; other tests may have put a Nova into the usual one."""
    name = f"compute-{uuid4().hex[:12]}"
    cloud.admin.identity.add_endpoint(name, "image", cloud.glance_url())
    yield name
    cloud.admin.identity.remove_region(name)


@pytest.fixture
def compute(cloud, site, region):
    """A compute service, and the site in its region."""
    nova, identity = Compute(), cloud.admin.identity
    if not identity.find("service", type="compute"):
        identity.create("service", type="compute", name="nova")
    with nova.running() as url:
        identity.add_endpoint(region, "compute", url)
        yield nova, site.with_settings(region_name=region, in_use="nova")


def test_an_image_that_a_server_uses_is_deleted_when_it_is_gone(compute, bench):
    nova, site = compute
    with site.open() as backend:
        image = retire(bench, backend)
        nova.servers = {image.ref.partition("/")[2]}
        with pytest.raises(BackendConflictError, match="a server was started from it"):
            backend.delete(image.ref)
        nova.servers = set()

        backend.delete(image.ref)

        assert backend.owned() == ()
        assert ["all_tenants" in path for path in nova.asked] == [True, False, True, False]


def test_an_administrator_is_told_of_all_projects_at_once(compute, bench):
    nova, site = compute
    nova.is_admin = True
    with site.open() as backend:
        backend.delete(retire(bench, backend).ref)

    assert ["all_tenants" in path for path in nova.asked] == [True]


def test_a_shared_image_is_not_deleted_by_who_cannot_see_all_servers(compute, bench, project):
    _, site = compute
    with site.open(ownership="shared", owner=project.id, projects={VO: "0" * 32}) as backend:
        image = retire(bench, backend)

        with pytest.raises(BackendConflictError, match="may not ask Nova"):
            backend.delete(image.ref)


def test_a_staged_image_is_deleted_without_asking(compute, bench):
    nova, site = compute
    with site.open() as backend:
        backend.delete(bench.upload(backend).ref)

    assert nova.asked == []


def test_a_nova_that_fails_leaves_the_image(compute, bench):
    nova, site = compute
    nova.status = 404
    with site.open() as backend:
        image = retire(bench, backend)
        with pytest.raises(BackendUnavailableError, match="Nova answers 404"):
            backend.delete(image.ref)

        assert listed(backend) == {image.ref: image}


def test_without_a_compute_service_an_image_is_deleted_only_if_told_so(site, bench, region):
    site = site.with_settings(region_name=region)
    with site.open(in_use="nova") as backend:
        image = retire(bench, backend)
        with pytest.raises(BackendConflictError, match=r"no compute service tells.*in_use: ignore"):
            backend.delete(image.ref)
    with site.open(in_use="ignore") as backend:
        backend.delete(image.ref)

        assert backend.owned() == ()


# --- other tools -----------------------------------------------------------------------------------------------------
SIGNS = {
    "atrope": {"tags": ["atrope"]},
    "atrope catch-all": {"tags": ["atrope-catchall"], "image_hash": "sha512:0"},
    "cloudkeeper": {"APPLIANCE_IMAGE_LIST_ID": "0c3e", "APPLIANCE_ID": "0c3f"},
    "cloudkeeper 2": {"CLOUDKEEPER_mpuri": "https://appdb"},
    "vmcatcher": {"vmcatcher_event_dc_identifier": "0c3e"},
}


@pytest.mark.parametrize("tool", SIGNS)
def test_a_project_of_another_tool_is_refused_until_told_so(site, bench, tool):
    with site.open() as backend:
        image = retire(bench, backend)
    theirs = site.images.add("theirs", **SIGNS[tool])
    with site.open() as backend:
        for _ in range(2):
            with pytest.raises(
                ForeignToolError, match=rf"{tool.split()[0]} keeps images there, such as {theirs['id']}"
            ):
                backend.owners(VO)
        assert list(listed(backend)) == [image.ref]
    with site.open(coexist=True) as backend:
        assert tuple(backend.owners(VO)) == (site.project.id,)

    assert site.images.show(theirs["id"]) == theirs


@pytest.mark.parametrize(
    "innocent",
    [
        {"image_type": "snapshot", "APPLIANCE_IMAGE_LIST_ID": "0c3e"},
        {"base_image_ref": "0c3e", "vmcatcher_event_ad_mpuri": "https://appdb"},
        {"tags": ["imagesync:other"], "APPLIANCE_IMAGE_LIST_ID": "0c3e"},
        {"tags": ["mine"], "marketplace": "https://appdb"},
    ],
)
def test_what_users_and_other_instances_have_is_no_other_tool(site, innocent):
    site.images.add("theirs", **innocent)
    with site.open() as backend:
        assert tuple(backend.owners(VO)) == (site.project.id,)


def test_another_image_of_that_name_is_said_before_the_first_byte(site, bench):
    said = []
    theirs = site.images.add("Title of image-1")
    with site.enter(Context("mysite", "conformance", said.append)) as backend:
        backend.owned()
        assert said == []
        backend.upload(bench.own(backend), bench.file(1), lambda _: said.append("sent"))

    assert said[0].startswith(
        f"image {theirs['id']} of others in project {site.project.id} is named 'Title of image-1'"
    )
    assert said[1:] == ["sent"] * len(said[1:])


# --- quotas ----------------------------------------------------------------------------------------------------------
LIMITS = """
[DEFAULT]
image_size_cap = 300000
image_property_quota = 8
image_member_quota = 0
[image_format]
require_image_format_match = true
"""


@pytest.fixture(scope="module")
def narrow(cloud):
    """The region of a Glance with small quotas."""
    region = f"narrow-{uuid4().hex[:12]}"
    cloud.glance(region, LIMITS)
    yield region
    cloud.remove_region(region)


def small(bench):
    """Let content be smaller than any quota."""
    return bench.with_content(lambda number: f"image {number}\n".encode() * 1000)


def test_an_image_over_the_size_cap_is_refused_with_what_to_raise_and_leaves_nothing(
    make_site, project, make_bench, narrow
):
    site = make_site(project, region_name=narrow)
    with site.open() as backend:
        with pytest.raises(BackendRefusedError, match=r"413.*image_size_cap"):
            make_bench(site).upload(backend)

        assert backend.owned() == ()
        assert small(make_bench(site)).publish(backend).state is State.PUBLISHED


def test_too_many_properties_are_refused_with_what_to_raise(make_site, project, make_bench, narrow):
    site = make_site(project, region_name=narrow)
    with site.open() as backend:
        image = small(make_bench(site)).publish(backend)
        many = {f"p{number}": "x" for number in range(9)}

        with pytest.raises(BackendRefusedError, match=r"413.*image_property_quota"):
            backend.update(image.ref, Metadata("Title", many))
        assert listed(backend) == {image.ref: image}


def test_an_image_whose_properties_others_used_up_is_taken_out_of_offer_all_the_same(
    make_site, project, make_bench, narrow
):
    site = make_site(project, region_name=narrow)
    with site.open() as backend:
        image = small(make_bench(site)).publish(backend)
        site.images.change(image.ref.partition("/")[2], {"op": "remove", "path": "/imagesync_state"})
        for number in range(8 - len(image.metadata.properties)):
            site.change(image.ref, **{f"theirs{number}": "x"})

        with pytest.raises(BackendRefusedError, match=r"413.*image_property_quota"):
            backend.retire(image.ref, LATER)

        assert listed(backend)[image.ref].retirement.reason == DEACTIVATED


def test_too_many_members_are_refused_with_what_to_raise(cloud, make_site, project, make_bench, narrow):
    member = cloud.project()
    site = make_site(project, region_name=narrow, ownership="shared", owner=project.id, projects={VO: member.id})
    with site.open() as backend:
        image = small(make_bench(site)).upload_for(backend, VO)

        with pytest.raises(BackendRefusedError, match=r"413.*image_member_quota"):
            backend.publish(image.ref)
        assert listed(backend)[image.ref].state is State.STAGED


def test_a_storage_quota_is_refused_with_what_to_raise(add_glance, make_site, project, make_bench):
    site = make_site(project, region_name=add_glance("[DEFAULT]\nuser_storage_quota = 500000\n").region)
    with site.open() as backend:
        first = make_bench(site).publish(backend, "image-1", 1)
        with pytest.raises(BackendRefusedError, match=r"413.*user_storage_quota"):
            make_bench(site).upload(backend, "image-2", 2)
        third = small(make_bench(site)).publish(backend, "image-3", 3)

        assert set(listed(backend)) == {first.ref, third.ref}


def test_bytes_that_glance_finds_hostile_are_refused_and_leave_nothing(site, make_bench):
    bench = make_bench(site).with_content(lambda _: b"QFI\xfb" + bytes(511))
    with site.open() as backend:
        with pytest.raises(BackendRefusedError, match=r"415.*own inspection refused"):
            bench.upload(backend)

        assert backend.owned() == ()
