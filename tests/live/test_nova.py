"""What Nova makes of the images of a pass: they boot, snapshots of them stay their users', and use is respected."""

import json
import os
import subprocess

import pytest
from cloud.api import RefusedError
from cloud.nova import fill_snapshot
from cloud.nova_setup import nova_software
from cloud.software import HERE

from imagesync.plan import nova as known

NONSENSE = ("-", "no such word")


@pytest.fixture(scope="module")
def fields():
    """What the installed Nova says of properties; and of our words, and of nonsense, which it refuses."""
    tried = {name: sorted({*words, *NONSENSE}) for name, words in known.ENUMERATIONS.items()}
    tried |= {name: ["1", *NONSENSE] for name in known.NUMBERS}
    tried |= {older: tried[name] for older, name in known.OLDER_NAMES.items() if name in tried}
    nova = nova_software()
    nova.check()
    done = subprocess.run(
        [nova.program("python"), str(HERE / "programs/nova_fields.py"), json.dumps(tried)],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_our_words_are_novas(fields):
    ours = {name: sorted(words) for name, words in known.ENUMERATIONS.items() if name not in known.BOOLEANS}
    del ours["vmware_adaptertype"]  # which Nova has in no table

    assert ours == fields["enumerations"]
    assert sorted(known.NUMBERS) == fields["numbers"]
    assert sorted(known.BOOLEANS) == fields["booleans"]
    assert {tuple(sorted(known.ENUMERATIONS[name])) for name in known.BOOLEANS} == {tuple(fields["boolean words"])}
    assert fields["older names"] == known.OLDER_NAMES


def test_nova_takes_every_word_of_ours_and_nothing_that_we_refuse(fields):
    for name, refused in fields["refused"].items():
        words = known.ENUMERATIONS.get(known.OLDER_NAMES.get(name, name), {"1"})
        assert all(known.objection(name, word) == "" for word in words), name
        is_boolean = known.OLDER_NAMES.get(name, name) in known.BOOLEANS
        assert sorted(refused) == ([] if is_boolean else list(NONSENSE)), name
        assert all(known.objection(name, text) for text in NONSENSE), name


def test_nova_boots_nothing_with_a_property_that_we_refuse(nova, project):
    refused = {
        "architecture": "arm64",
        "hw_firmware_type": "efi",
        "hw_disk_bus": "VIRTIO",
        "hw_vif_model": "fast",
        "hw_cpu_cores": "two",
        "hypervisor_type": "proxmox",
        "img_config_drive": "yes",
        "os_type": "",
        "vmware_adaptertype": "sata",
    }
    servers = nova.servers(project)
    answers = {}
    for name, value in refused.items():
        assert known.objection(name, value)
        image = project.images().add(name, **{name: value})
        with pytest.raises(RefusedError) as caught:
            servers.create(image["id"])
        answers[name] = caught.value.status

    assert answers == dict.fromkeys(refused, 400)


def test_an_image_with_properties_of_ours_boots(nova, site):
    """What every image carries, and what rules may add."""
    allowed = {
        "hw_disk_bus": "scsi",
        "hw_firmware_type": "uefi",
        "hw_machine_type": "q35",
        "hw_qemu_guest_agent": "yes",
        "hw_rng_model": "virtio",
        "hw_scsi_model": "virtio-scsi",
        "hw_vif_model": "virtio",
        "hw_video_model": "virtio",
        "hw_vif_multiqueue_enabled": "true",
        "os_type": "linux",
    }
    site.configure(properties=[{"set": allowed}])
    site.offer("alma", sl_arch="amd64", sl_osname="AlmaLinux")
    assert site.publish_and_sync().code == 0
    [record] = site.records()
    assert allowed.items() <= record.items()
    assert record["architecture"] == "x86_64"

    nova.servers(site.project).boot(record["id"])


def offered(site):
    """Return the record of an image; another one keeps its list from being empty."""
    site.offer("alma", "other")
    result = site.publish_and_sync()
    assert result.code == 0, result.err
    [record] = [one for one in site.records() if one["name"] == "alma"]
    return record


def test_a_snapshot_of_a_server_of_ours_is_left_alone(nova, site):
    record = offered(site)
    servers = nova.servers(site.project)
    snapshot = servers.snapshot(servers.boot(record["id"]), "of alma")
    before = fill_snapshot(site.images, snapshot)
    assert before["imagesync_image"] == record["imagesync_image"]  # it carries everything of ours but the tag
    site.withdraw("alma")

    result = site.publish_and_sync()

    assert (result.code, result.done()) == (0, [("retire", "alma"), ("update", "other")])
    assert site.images.show(snapshot) == before
    assert snapshot not in {one["id"] for one in site.records()}


def test_an_image_is_deleted_only_when_no_server_uses_it(nova, site):
    site.configure(delete_after="0s")
    record = offered(site)
    servers = nova.servers(site.project)
    server = servers.boot(record["id"])
    site.replace("alma", "alma-next")
    assert ("replace", "alma") in site.publish_and_sync().done()

    held = site.sync()

    assert held.done() == []
    [refused] = [one for one in held.actions if one["kind"] == "delete"]
    assert "a server was started from it" in refused["error"]
    assert site.states() == [("alma", "active"), ("alma", "deactivated"), ("other", "active")]
    servers.delete(server)
    assert site.sync().done() == [("delete", "alma")]
    assert site.states() == [("alma", "active"), ("other", "active")]
