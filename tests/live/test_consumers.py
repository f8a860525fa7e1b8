"""What programs of others, run unchanged, read of the images of a pass: information system, accounting, users."""

import json
from hashlib import sha512

import pytest
from cloud.api import RefusedError
from cloud.consumers import make_reader, openstack
from cloud.nova import fill_snapshot

from imagesync.testing.disks import Kind

# By the state of an image: what cloud-info-provider gives as its address in the marketplace, and what cASO calls the
# image of a server that was started from it. Public ones, which all tests would see, are to both as active ones.
READ = {
    "active": ("mpuri", "mpuri"),
    "deactivated": (None, "mpuri"),
    "hidden": (None, "id"),
    "deleted": (None, "id"),
    "community of others": (None, "id"),
    "shared, pending": (None, "id"),
    "shared, accepted": ("mpuri", "mpuri"),
    "private of others": (None, None),
    "queued": (None, None),
    "empty mpuri": ("file", ""),
    "marketplace": ("mpuri", "id"),
    "no mpuri": ("file", "id"),
    "snapshot": ("mpuri of active", "mpuri of active"),
}
MPURI = "vmcatcher_event_ad_mpuri"
UNBOOTABLE = {"deactivated", "deleted", "private of others", "queued"}


def mpuri(name):
    return f"https://appdb.example.org/store/vo/image/{name.replace(' ', '-')}:1/"


def in_words(found, name, image):
    """Return what an address is, in the words of ``READ``."""
    known = {mpuri("active"): "mpuri of active", mpuri(name): "mpuri", image: "id"}
    is_file = found is not None and found.endswith(f"/v2/images/{image}/file")
    return "file" if is_file else known.get(found, found)


def register(mine, other, project):
    """Return the ids of images, by the state that they have or are to have."""
    images = {name: mine.add(name, **{MPURI: mpuri(name)}) for name in ("active", "deactivated", "hidden", "deleted")}
    for name, visibility in (("community of others", "community"), ("private of others", "private")):
        images[name] = other.add(name, visibility=visibility, **{MPURI: mpuri(name)})
    for name in ("shared, pending", "shared, accepted"):
        images[name] = other.add(name, visibility="shared", **{MPURI: mpuri(name)})
        other.add_member(images[name]["id"], project)
    images["queued"] = mine.create(name="queued", **{MPURI: mpuri("queued")})
    images["empty mpuri"] = mine.add("empty mpuri", **{MPURI: ""})
    images["marketplace"] = mine.add("marketplace", marketplace=mpuri("marketplace"))
    images["no mpuri"] = mine.add("no mpuri")
    mine.answer_member(images["shared, accepted"]["id"], project, "accepted")
    mine.change(images["hidden"]["id"], {"op": "replace", "path": "/os_hidden", "value": True})
    return {name: image["id"] for name, image in images.items()}


def refused(servers, image):
    try:
        servers.create(image)
    except RefusedError as error:
        return error.status == 400
    return False


def test_what_each_state_of_an_image_is_to_its_readers(nova, cloud, project, tmp_path):
    mine, servers = project.images(), nova.servers(project)
    images = register(mine, cloud.project().images(), project.id)
    begun = [servers.create(images[name], name) for name in images if name not in {"private of others", "queued"}]
    running = [servers.wait(server) for server in begun]
    images["snapshot"] = servers.snapshot(running[0], "snapshot")
    fill_snapshot(mine, images["snapshot"])
    servers.boot(images["snapshot"], "snapshot")
    mine.act(images["deactivated"], "deactivate")
    mine.delete(images["deleted"])
    reader = make_reader(cloud, {"vo.example.org": project})

    published = {one["ID"]: one["MarketplaceURL"] for one in reader.published({"vo.example.org": project}, tmp_path)}
    accounted = {one["MachineName"]: one["ImageId"] for one in reader.accounted([project], tmp_path).values()}

    assert {
        name: (in_words(published.get(image), name, image), in_words(accounted.get(name), name, image))
        for name, image in images.items()
    } == READ
    assert {name for name in UNBOOTABLE if refused(servers, images[name])} == UNBOOTABLE


def entries(site):
    """Return the entries of the list as published, by title."""
    found = json.loads(site.published.content)["hv:imagelist"]["hv:images"]
    return {entry["hv:image"]["dc:title"]: entry["hv:image"] for entry in found}


def as_published(entry):
    """Return what the information system is to say of an image of a list."""
    return {
        "Name": entry["dc:title"],
        "MarketplaceURL": entry["ad:mpuri"],
        "Description": entry["dc:description"],
        "OSName": entry["sl:osname"].lower(),
        "OSVersion": entry["sl:osversion"],
        "OSPlatform": entry["sl:arch"],
        "base_mpuri": entry["ad:base_mpuri"],
    }


def images_of(reader, site):
    found = reader.published({site.vo: site.project}, site.root)
    words = ("Name", "MarketplaceURL", "Description", "OSName", "OSVersion", "OSPlatform")
    told = [{word: one[word] for word in words} | {"base_mpuri": one["OtherInfo"]["base_mpuri"]} for one in found]
    return sorted(told, key=lambda one: one["Name"])


@pytest.fixture
def keeper(cloud, site, request):
    """The project that owns the images: the VO's own, or one that shares them with it."""
    if request.param == "per-project":
        return site.project
    owner = cloud.project()
    site.entries = {"site": owner.login().entry(), "vo": site.project.login().entry()}
    site.configure(ownership="shared", owner=owner.id, projects={site.vo: {"id": site.project.id, "cloud": "vo"}})
    return owner


@pytest.mark.parametrize("keeper", ["per-project", "shared"], indirect=True)
def test_readers_follow_a_site_through_replacement_and_retirement(nova, cloud, site, keeper):
    site.offer("alma", "debian", "kept", dc_description="An image, tested", sl_osname="AlmaLinux", sl_osversion="9.5")
    first = site.publish_and_sync()
    assert first.code == 0, first.err
    reader = make_reader(cloud, {site.vo: site.project})
    before = entries(site)
    assert images_of(reader, site) == [as_published(before[title]) for title in sorted(before)]
    servers = nova.servers(site.project)
    begun = [servers.create(record["id"], record["name"]) for record in site.records(project=keeper)]
    assert [servers.wait(server) for server in begun] == begun

    site.replace("alma", "alma-next")
    site.withdraw("debian")
    assert site.publish_and_sync().code == 0

    after = entries(site)
    assert images_of(reader, site) == [as_published(after[title]) for title in ("alma", "kept")]
    assert after["alma"]["ad:mpuri"] != before["alma"]["ad:mpuri"]
    accounted = reader.accounted([site.project], site.root).values()
    assert {one["MachineName"]: (one["ImageId"], one["FQAN"], one["Status"]) for one in accounted} == {
        # What is no longer offered keeps the address under which its servers were started.
        "alma": (before["alma"]["ad:mpuri"], site.vo, "started"),
        "debian": (before["debian"]["ad:mpuri"], site.vo, "started"),
        # An unchanged image gets another address at each publication.
        "kept": (after["kept"]["ad:mpuri"], site.vo, "started"),
    }


# Each as the value of several keys of its own image. A list that itself is no list is refused long before.
HOSTILE = [
    '"',
    '"}',
    '{"a": 1}',
    "in:alma,debian",
    "[1]",
    "null",
    "5",
    "\\u0000",
    "Ünïcödé ☃",
    "\u2028 <!-- </script> %s {0}",
]
HOSTILE_JSON = [["a", 1], {"a": {"b": []}}, 5, True, 1.5, None]


def test_no_text_of_a_list_silences_the_information_system(cloud, site):
    """One image whose attributes are no JSON object takes all others of the site with it."""
    for number, value in enumerate([*HOSTILE, *HOSTILE_JSON]):
        text = value if isinstance(value, str) else "text"
        named = {"dc_description": text, "sl_osname": text, "sl_osversion": text, "sl_comments": text}
        site.offer(f"{number} {text}" if "/" not in text else f"{number}", ad_group=value, ad_appid=value, **named)
    result = site.publish_and_sync()
    assert result.code == 0, [one["error"] for one in result.actions if one["outcome"] != "done"]
    reader = make_reader(cloud, {site.vo: site.project})

    found = reader.published({site.vo: site.project}, site.root)

    assert {one["MarketplaceURL"] for one in found} == {entry["ad:mpuri"] for entry in entries(site).values()}
    assert len(found) == len(HOSTILE) + len(HOSTILE_JSON)
    for one in found:
        info = one["OtherInfo"]
        assert info["base_mpuri"] == info["ad:base_mpuri"]
        assert all(isinstance(value, str) for value in info.values())
    for record in site.records():
        assert isinstance(json.loads(record["APPLIANCE_ATTRIBUTES"]), dict)


@pytest.fixture
def converted(site):
    """Return a site with one image, which had to be converted."""
    site.configure(formats=["qcow2"])
    site.offer("appliance", kind=Kind.VMDK_STREAM)
    assert site.publish_and_sync().code == 0
    return site


def test_openstackclient_lists_shows_and_saves_what_we_registered(converted):
    site = converted
    [record] = site.records()
    saved = site.root / "saved"

    listed = openstack(site.project, site.root, "image", "list", "-f", "json")
    shown = openstack(site.project, site.root, "image", "show", "appliance", "-f", "json")
    openstack(site.project, site.root, "image", "save", "--file", str(saved), "appliance")

    assert [(one["ID"], one["Name"], one["Status"]) for one in listed] == [(record["id"], "appliance", "active")]
    assert shown["disk_format"] == "qcow2"
    ours = {name: value for name, value in record.items() if name.startswith(("imagesync_", "APPLIANCE_", "vmcatcher"))}
    assert ours.items() <= shown["properties"].items()
    [kept] = [path for path in (site.root / "cache/converted").iterdir() if path.suffix != ".json"]
    assert saved.read_bytes() == kept.read_bytes()
    assert sha512(saved.read_bytes()).hexdigest() == record["imagesync_sha512"] == record["os_hash_value"]
