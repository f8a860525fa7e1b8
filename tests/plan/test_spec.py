import json

import pytest

from imagesync.backend import Format
from imagesync.lists.select import Matcher
from imagesync.plan.nova import architecture, objection
from imagesync.plan.spec import File, PropertyRule, acceptable, complete, fingerprint, moment, timestamp


def properties(world, **image):
    return world.wanted(world.image("a", **image)).metadata.properties


def test_mpuri_is_kept_to_the_byte(world):
    uri = "https://appdb.egi.eu/store/vo/image/63fcad1c-b737-5091-9668-1342b6d4f84c:15705/"

    found = properties(world, mpuri=uri)

    assert found["vmcatcher_event_ad_mpuri"] == found["APPLIANCE_MPURI"] == uri


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vmcatcher_event_dc_title", "Image a"),
        ("os_distro", "debian"),
        ("os_version", "12"),
        ("architecture", "x86_64"),
        ("APPLIANCE_ID", "a"),
        ("APPLIANCE_IMAGE_LIST_ID", "76fdee70-8119-5d33-9f40-3c57e1c60df1"),
        ("APPLIANCE_VO", "vo.example"),
        ("APPLIANCE_VERSION", "1"),
        ("APPLIANCE_TITLE", "Image a"),
        ("APPLIANCE_EXPIRATION_DATE", "1826884800"),
        ("imagesync_instance", "imagesync"),
        ("imagesync_signer", "/CN=endorser"),
        ("imagesync_list_version", "1"),
    ],
)
def test_property_that_others_read_is_written(world, name, value):
    world.expires = world.now.replace(year=2027)

    assert properties(world)[name] == value.replace("1826884800", str(int(world.expires.timestamp())))


@pytest.mark.parametrize("name", ["vmcatcher_event_ad_mpuri", "APPLIANCE_MPURI", "vmcatcher_event_dc_description"])
def test_what_a_list_does_not_say_is_not_written_as_empty_text(world, name):
    """An empty property hides what its readers would take instead of it."""
    assert name not in properties(world, mpuri="", description="")


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{title}", "Image a"),
        ("{vo} {title} [{version}]", "vo.example Image a [1]"),
        ("{list} {list_version} {identifier} {os} {osversion} {arch}", "fedcloud 1 a Debian 12 x86_64"),
    ],
)
def test_name_follows_the_template(world, template, name):
    world.style["name"] = template

    assert world.wanted(world.image("a")).metadata.name == name


def test_name_that_would_be_blank_is_the_identifier(world):
    assert world.wanted(world.image("a", title=" ")).metadata.name == "a"


def test_braces_in_a_title_are_no_fields(world):
    assert world.wanted(world.image("a", title="{vo} {0.x}")).metadata.name == "{vo} {0.x}"


def test_properties_of_a_rule_are_on_the_images_that_it_matches(world):
    rule = PropertyRule({"hw_firmware_type": "uefi"}, ((Matcher("title", "*a"),), (Matcher("os", "windows"),)))
    world.style["rules"] = (
        PropertyRule({"hw_disk_bus": "scsi", "note": "first"}),
        rule,
        PropertyRule({"note": "last"}),
    )

    a, b = (world.wanted(world.image(name)).metadata.properties for name in "ab")

    assert (a["hw_firmware_type"], a["hw_disk_bus"], a["note"]) == ("uefi", "scsi", "last")
    assert "hw_firmware_type" not in b
    assert b["hw_disk_bus"] == "scsi"


def test_a_rule_cannot_change_what_imagesync_says_of_itself(world):
    world.style["rules"] = (PropertyRule({"imagesync_list": "another"}),)

    assert world.wanted(world.image("a")).metadata.properties["imagesync_list"] != "another"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hw_firmware_type", "efi"),
        ("hw_disk_bus", "VIRTIO"),
        ("architecture", "arm64"),
        ("architecture", "UNKNOWN"),
        ("os_type", ""),
        ("hw_cpu_cores", "two"),
        ("hw_vif_multiqueue_enabled", "perhaps"),
        ("hw_qemu_guest_agent", "perhaps"),
        ("img_signature_hash_method", "MD5"),
        ("hypervisor_type", "proxmox"),
        ("vm_mode", "container"),
        ("vmware_adaptertype", "sata"),
    ],
)
def test_what_nova_would_refuse_is_objected_to(name, value):
    assert objection(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hw_firmware_type", "uefi"),
        ("architecture", "aarch64"),
        ("hw_cpu_cores", "2"),
        ("hw_machine_type", "q35"),
        ("vmware_adaptertype", "paraVirtual"),
        ("hypervisor_type", "kvm"),
    ],
)
def test_what_nova_takes_is_not_objected_to(name, value):
    assert objection(name, value) == ""


def test_attributes_are_one_json_object_of_allowed_keys(world):
    raw = {
        "ad:appid": 993,
        "ad:base_mpuri": "https://appdb.egi.eu/store/vm/image/x:1/",
        "ad:user:fullname": "Somebody",
        "hv:uri": "https://token:x-oauth-basic@host/image",
        "sl:osname": "",
    }

    found = json.loads(properties(world, raw=raw)["APPLIANCE_ATTRIBUTES"])

    assert found == {"ad:appid": "993", "ad:base_mpuri": "https://appdb.egi.eu/store/vm/image/x:1/"}


def test_a_url_with_userinfo_never_becomes_an_attribute(world):
    raw = {"ad:base_mpuri": "https://secret@host/", "ad:group": "General"}

    assert "secret" not in properties(world, raw=raw)["APPLIANCE_ATTRIBUTES"]


def test_appid_is_a_property_of_its_own(world):
    assert properties(world, raw={"ad:appid": "1017"})["ad:appid"] == "1017"


@pytest.mark.parametrize(
    ("written", "canonical"),
    [("x86_64", "x86_64"), ("AMD64", "x86_64"), ("i386", "i686"), ("arm64", "aarch64"), ("z80", None), ("", None)],
)
def test_architecture_is_novas_name_or_absent(world, written, canonical):
    assert architecture(written) == canonical
    assert properties(world, architecture=written).get("architecture") == canonical


def test_image_without_title_is_named_by_its_identifier(world):
    assert world.wanted(world.image("a", title="")).metadata.name == "a"


@pytest.mark.parametrize(
    "other",
    [("b" * 128, Format.QCOW2, ""), ("a" * 128, Format.RAW, ""), ("a" * 128, Format.QCOW2, "compress")],
)
def test_fingerprint_differs_by_source_format_and_options(other):
    assert fingerprint(*other) != fingerprint("a" * 128, Format.QCOW2, "")


def test_every_accepted_format_passed_through_unpacked_or_converted_is_acceptable():
    found = acceptable("a" * 128, (Format.QCOW2, Format.RAW), "compress")

    assert sorted(found.values()) == ["qcow2"] * 3 + ["raw"] * 3


def test_order_of_formats_replaces_nothing():
    one = acceptable("a" * 128, (Format.QCOW2, Format.RAW), "")
    other = acceptable("a" * 128, (Format.RAW, Format.QCOW2), "")

    assert one == other


@pytest.mark.parametrize(("virtual", "gib"), [(1, 1), (2**30, 1), (2**30 + 1, 2), (10 * 2**30, 10)])
def test_min_disk_is_the_virtual_size_rounded_up(world, virtual, gib):
    file = File("f", "a" * 128, 100, virtual, Format.RAW, Format.QCOW2)

    spec = complete(world.wanted(world.image("a", cores_min=8)), file, world.now)

    assert spec.min_disk == gib
    assert spec.metadata.properties["imagesync_source_format"] == "qcow2"


def test_times_survive_writing_and_reading(world):
    assert moment(timestamp(world.now)) == world.now
    assert moment(timestamp(world.now.replace(year=2499))) == world.now.replace(year=2499)
    assert timestamp(None) == ""
    assert moment("yesterday") is None
