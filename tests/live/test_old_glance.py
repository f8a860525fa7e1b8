"""Whole passes against an older Glance, Debian's, which inspects nothing: what reaches it is what we let through."""

import subprocess
from hashlib import sha512

import pytest
from cloud.api import RefusedError


@pytest.fixture
def site(site, old_glance):
    """Return a site on the older Glance."""
    site.region = old_glance.region
    site.configure()
    return site


@pytest.fixture
def synced(site):
    """Return a site whose two images are on the cloud."""
    site.offer("alma", "debian")
    first = site.publish_and_sync()
    assert (first.code, first.done()) == (0, [("register", "alma"), ("register", "debian")]), first.err
    return site


def boots(site):
    """Return the digest of what users get of each image that they can boot, by its name."""
    active = [one for one in site.records() if one["status"] == "active" and not one["os_hidden"]]
    return {one["name"]: sha512(site.images.download(one["id"])).hexdigest() for one in active}


def test_the_catalogue_becomes_what_the_list_says_and_stays_so(synced):
    before = synced.records()

    again = synced.sync()

    assert (again.code, again.done()) == (0, [])
    assert synced.records() == before
    assert synced.endorsed() == synced.published_digests() == boots(synced)


def test_a_replaced_image_is_retired_and_deleted_in_time(synced):
    synced.configure(delete_after="0s", in_use="ignore")
    synced.replace("alma", "alma-next")

    result = synced.publish_and_sync()

    assert (result.code, result.done()) == (0, [("replace", "alma"), ("update", "debian")])
    assert synced.endorsed() == synced.published_digests() == boots(synced)
    [old] = [one for one in synced.records() if one["status"] == "deactivated"]
    with pytest.raises(RefusedError, match=" 403 "):
        synced.images.download(old["id"])
    assert synced.sync().done() == [("delete", "alma")]
    assert synced.states() == [("alma", "active"), ("debian", "active")]
    assert synced.sync().done() == []


def test_a_withdrawn_image_is_retired_and_comes_back_without_an_upload(synced):
    kept = synced.published.images[synced.identifier("debian")]
    synced.withdraw("debian")
    assert ("retire", "debian") in synced.publish_and_sync().done()
    assert synced.states() == [("alma", "active"), ("debian", "deactivated")]
    synced.published.images[kept.identifier] = kept

    result = synced.publish_and_sync()

    assert ("restore", "debian") in result.done()
    assert result.json["totals"]["bytes_uploaded"] == 0
    assert synced.endorsed() == boots(synced)


def test_images_are_shared_with_the_project_of_their_vo_alone(cloud, site):
    owner, stranger = cloud.project(), cloud.project()
    site.entries = {"site": owner.login().entry(site.region), "vo": site.project.login().entry(site.region)}
    site.configure(ownership="shared", owner=owner.id, projects={site.vo: {"id": site.project.id, "cloud": "vo"}})
    site.offer("alma")

    result = site.publish_and_sync()

    assert (result.code, result.done()) == (0, [("register", "alma")]), result.err
    [record] = site.records(project=owner)
    assert record["visibility"] == "shared"
    assert owner.images(site.region).members(record["id"]) == {site.project.id: "accepted"}
    assert record in site.images.list()
    with pytest.raises(RefusedError, match=" 404 "):
        stranger.images(site.region).show(record["id"])
    assert site.sync().done() == []


# What this Glance swallows: a disk that shows a guest a file of the host, and no disk at all.
def backed(path):
    command = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", path, "1M"]
    subprocess.run(command, check=True)


def text(path):
    path.write_text("404 page not found\n")


def changes_of(project, log):
    """Return method and status of every request of a project that was to change something."""
    lines = (line.partition('] "') for line in log.splitlines() if f" {project.id} " in line)
    words = [line.replace('"', "").split() for _, found, line in lines if found]
    return [f"{method} {status}" for method, _, _, status, *_ in words if method not in {"GET", "HEAD"}]


def is_newer(site):
    """Return whether apt offers another Glance than that of Debian 12, which may inspect."""
    return "v2.16" in {one["id"] for one in site.images.get("/")["versions"]}


@pytest.mark.parametrize(("write", "why"), [(backed, "backing-file"), (text, "unknown-format")])
def test_what_it_would_swallow_never_reaches_it(site, old_glance, tmp_path, write, why):
    bad = tmp_path / "bad.qcow2"
    write(bad)
    site.published.add(bad, title="bad", hv_format="qcow2")
    site.offer("alma")

    result = site.publish_and_sync()

    assert (result.code, result.done()) == (1, [("register", "alma")])
    assert why in result.action("bad")["error"]
    assert site.states() == [("alma", "active")]
    # Of the good one, of which it is also asked, before it has bytes, whether it may be retired.
    assert changes_of(site.project, old_glance.log) == ["POST 201", "POST 403", "POST 403", "PUT 204", "PATCH 200"]
    assert is_newer(site) or site.images.add("bad", bad.read_bytes(), disk_format="qcow2")["status"] == "active"
