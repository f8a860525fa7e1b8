"""Images are started before they are offered, by the command line, with real QEMU: boot sectors that say something."""

import pytest

from imagesync.testing.disks import Disk, Kind, write_disk

KIB = 1 << 10


@pytest.fixture
def cautious(provider):
    """Return a site that published both lists, and from now on wants to see images start."""
    provider.configure()
    assert provider.given("sync").code == 0
    provider.options["limits"] = {"boot_timeout": "4s"}
    provider.targets[0]["boot_check"] = "require"
    for title, words in (("good", "guest login:"), ("bad", "Operating system not found")):
        path = provider.root / "publisher" / f"{title}.img"
        provider.steady.add(write_disk(path, Kind.RAW, Disk(f"{title}\r\n{words}", 1280 * KIB)), title=title)
    provider.steady.publish()
    provider.configure()
    return provider


def test_what_does_not_start_is_held_back_and_the_rest_goes_on(cautious):
    before = cautious.titles()

    result = cautious.given("sync", "--json")

    bad, good = result.action("bad"), result.action("good")
    assert (result.code, bad["outcome"], bad["error_reason"]) == (1, "failed", "boot-check")
    assert "did not pass, no-bootable-device: Operating system not found" in bad["error"]
    assert (good["outcome"], good["boot"]["verdict"]) == ("done", "login")
    assert good["boot"]["seconds"] > 0
    assert cautious.titles() == sorted([*before, "good"])
    assert cautious.leftovers() == []
    assert "started" in cautious.given("why", "bad").out
    assert "boot check: login" in cautious.given("status").out
    again = cautious.given("sync", "--json")
    assert again.action("bad")["error_reason"] == "boot-check"
    assert again.action("bad")["seconds"] < 60


def test_report_tells_and_offers_all_the_same(cautious):
    cautious.targets[0]["boot_check"] = "report"
    cautious.configure()

    result = cautious.given("sync", "--json")

    assert (result.code, result.action("bad")["boot"]["verdict"]) == (0, "no-bootable-device")
    assert {"good", "bad"} <= set(cautious.titles())
