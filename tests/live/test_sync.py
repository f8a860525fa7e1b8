"""Whole passes of the real command line against a real Glance: what an operator sees on a good day."""

import pytest

from imagesync.testing.disks import Kind
from imagesync.testing.faults import Status


@pytest.fixture
def synced(site):
    """Return a site whose two images are on the cloud."""
    site.offer("alma", "debian")
    first = site.publish_and_sync()
    assert (first.code, first.done()) == (0, [("register", "alma"), ("register", "debian")]), first.err
    return site


def test_the_catalogue_becomes_what_the_list_says(synced):
    assert synced.published_digests() == synced.endorsed()
    assert {one["visibility"] for one in synced.records()} == {"private"}


def test_a_second_pass_changes_nothing(synced):
    before = synced.records()

    again = synced.sync()

    assert (again.code, again.done()) == (0, [])
    assert synced.records() == before
    assert synced.run("plan", "--check").code == 0


def test_what_needs_it_is_converted(site):
    site.configure(formats=["qcow2"])
    site.offer("appliance", kind=Kind.VMDK_STREAM)

    result = site.publish_and_sync()

    assert (result.code, result.done()) == (0, [("register", "appliance")])
    [record] = site.records()
    assert (record["disk_format"], record["status"]) == ("qcow2", "active")
    assert record["os_hash_value"] == record["imagesync_sha512"] != record["imagesync_source_sha512"]
    assert site.sync().done() == []


def test_a_new_publication_of_the_same_images_updates_properties_alone(synced):
    before = {one["name"]: one for one in synced.records()}

    result = synced.publish_and_sync()

    assert result.done() == [("update", "alma"), ("update", "debian")]
    assert result.json["totals"]["bytes_uploaded"] == 0
    for record in synced.records():
        assert record["id"] == before[record["name"]]["id"]
        assert record["vmcatcher_event_ad_mpuri"] != before[record["name"]]["vmcatcher_event_ad_mpuri"]


def test_a_replaced_image_is_retired_under_another_name_after_its_successor_is_there(synced):
    synced.replace("alma", "alma-next")

    result = synced.publish_and_sync()

    assert (result.code, result.done()) == (0, [("replace", "alma"), ("update", "debian")])
    assert synced.published_digests() == synced.endorsed()
    [old] = [one for one in synced.records() if one["status"] == "deactivated"]
    assert old["name"].startswith("alma [retired ")
    assert [one["name"] for one in synced.records() if one["status"] == "active"] == ["alma", "debian"]


def test_a_withdrawn_image_is_deactivated_and_stays_listed(synced):
    synced.withdraw("debian")

    result = synced.publish_and_sync()

    assert (result.code, ("retire", "debian") in result.done()) == (0, True)
    assert synced.states() == [("alma", "active"), ("debian", "deactivated")]
    [gone] = [one for one in synced.records() if one["status"] == "deactivated"]
    assert (gone["APPLIANCE_STATUS"], gone["os_hidden"]) == ("EOL", False)
    assert gone["vmcatcher_event_ad_mpuri"]


def test_an_image_that_comes_back_is_reactivated_and_not_uploaded(synced):
    kept = synced.published.images[synced.identifier("debian")]
    synced.withdraw("debian")
    synced.publish_and_sync()
    synced.published.images[kept.identifier] = kept

    result = synced.publish_and_sync()

    assert ("restore", "debian") in result.done()
    assert result.json["totals"]["bytes_uploaded"] == 0
    assert synced.states() == [("alma", "active"), ("debian", "active")]
    assert all(one["APPLIANCE_STATUS"] == "ACTIVE" for one in synced.records())


def test_a_replaced_image_is_deleted_when_its_time_has_come(synced):
    synced.configure(delete_after="0s", in_use="ignore")
    synced.replace("alma", "alma-next")
    synced.publish_and_sync()
    assert synced.states() == [("alma", "active"), ("alma", "deactivated"), ("debian", "active")]

    assert [kind for kind, _ in synced.sync().done()] == ["delete"]
    assert synced.states() == [("alma", "active"), ("debian", "active")]


def test_an_unavailable_list_changes_nothing(synced):
    before = synced.records()
    synced.published.server.misbehave(synced.published.path, Status(503))

    result = synced.sync()

    assert result.code == 5
    assert synced.records() == before


def test_an_image_that_somebody_deleted_is_registered_again(synced):
    [alma] = [one for one in synced.records() if one["name"] == "alma"]
    synced.images.delete(alma["id"])

    result = synced.sync()

    assert result.done() == [("register", "alma")]
    assert "somebody else removed it" in result.action("alma")["reason"]
    assert synced.published_digests() == synced.endorsed()


def test_an_image_that_somebody_deactivated_is_offered_again(synced):
    [alma] = [one for one in synced.records() if one["name"] == "alma"]
    synced.images.act(alma["id"], "deactivate")

    result = synced.sync()

    assert result.done() == [("restore", "alma")]
    assert result.action("alma")["cause"] == "deactivated"
    assert synced.states() == [("alma", "active"), ("debian", "active")]


def test_edited_properties_are_put_back_and_foreign_ones_left(synced):
    [alma] = [one for one in synced.records() if one["name"] == "alma"]
    synced.images.change(
        alma["id"],
        {"op": "replace", "path": "/vmcatcher_event_ad_mpuri", "value": "https://elsewhere.example.org/"},
        {"op": "remove", "path": "/APPLIANCE_VO"},
        {"op": "add", "path": "/site_note", "value": "kept"},
    )

    result = synced.sync()

    assert result.done() == [("update", "alma")]
    [after] = [one for one in synced.records() if one["name"] == "alma"]
    assert {name: after[name] for name in ("vmcatcher_event_ad_mpuri", "APPLIANCE_VO")} == {
        name: alma[name] for name in ("vmcatcher_event_ad_mpuri", "APPLIANCE_VO")
    }
    assert after["site_note"] == "kept"


def test_hidden_or_shared_by_hand_is_put_back(synced):
    first, second = synced.records()
    synced.images.change(first["id"], {"op": "replace", "path": "/os_hidden", "value": True})
    synced.images.change(second["id"], {"op": "replace", "path": "/visibility", "value": "community"})

    result = synced.sync()

    assert result.done() == [("update", "alma"), ("update", "debian")]
    assert {(one["os_hidden"], one["visibility"]) for one in synced.records()} == {(False, "private")}


def test_a_rule_puts_a_property_on_an_image_and_its_end_takes_it_off(synced):
    synced.configure(properties=[{"match": {"title": "alma"}, "set": {"hw_firmware_type": "uefi"}}])
    synced.sync()
    assert [one.get("hw_firmware_type") for one in synced.records()] == ["uefi", None]

    synced.configure(properties=[])
    synced.sync()

    assert [one.get("hw_firmware_type") for one in synced.records()] == [None, None]


def test_names_follow_the_targets_template(synced):
    synced.configure(image_name="{vo} {title} [{version}]")

    result = synced.sync()

    assert result.done() == [("update", "alma"), ("update", "debian")]
    assert [one["name"] for one in synced.records()] == [f"{synced.vo} {name} [1.0]" for name in ("alma", "debian")]


def test_images_of_others_are_byte_and_property_identical(site):
    foreign = [
        site.images.add("alma", b"mine", imagesync_list="x", vmcatcher_event_dc_title="alma"),
        site.images.add("debian", b"other", tags=["something", "imagesync:another"]),
        site.images.create(name="snapshot", tags=["imagesync:imagesync"], image_type="snapshot", base_image_ref="x"),
    ]
    site.configure(coexist=True)
    site.offer("alma", "debian")
    site.publish_and_sync()
    site.withdraw("alma")
    site.publish_and_sync()

    assert [site.images.show(one["id"]) for one in foreign] == foreign
    assert site.images.download(foreign[0]["id"]) == b"mine"
