"""Images are started before they are offered, by the command line, with real QEMU: boot sectors that say something."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest

from imagesync.testing.disks import Disk, Kind, write_disk

KIB = 1 << 10


@pytest.fixture
def cautious(provider):
    """Return a site that published both lists, and from now on wants to see images start."""
    provider.configure()
    assert provider.given("sync").code == 0
    provider.options["limits"] = {"boot_timeout": "4s"}
    # As if KVM had failed before: on machines that are virtual themselves it is tried in vain, for seconds.
    shutil.copyfile("/proc/sys/kernel/random/boot_id", provider.root / "cache" / "kvm-failed")
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
    assert min(good["boot"]["seconds"], bad["boot"]["seconds"]) > 0
    assert cautious.titles() == sorted([*before, "good"])
    assert cautious.leftovers() == []
    said = r"  started \S+Z under tcg for \d+ s: no-bootable-device: Operating system not found \(file "
    assert re.search(said, cautious.given("why", "bad").out)
    assert "boot check: login" in cautious.given("status").out
    (remembered,) = cautious.given("status", "--from-state", "--json", "--image", "good").json["targets"]
    assert [one["boot"] for one in remembered["images"]] == ["login"]
    (told,) = cautious.given("why", "good", "--json").json["images"]
    assert [(one["on"], one["verdict"]) for one in told["boot_checks"]] == [([cautious.targets[0]["name"]], "login")]
    assert "not installed" not in cautious.given("config", "check").out
    first = _started(cautious)
    again = cautious.given("sync", "--json").action("bad")
    assert (again["error_reason"], again["boot"]["seconds"]) == ("boot-check", 0.0)
    assert _started(cautious) == first
    assert cautious.given("sync", "--json", "--image", "bad").action("bad")["error_reason"] == "boot-check"
    assert _started(cautious) > first


def _started(site):
    """Return when the image that does not start was started last."""
    return max(one["at"] for story in site.given("why", "bad", "--json").json["images"] for one in story["boot_checks"])


def _name(process):
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return ""


def test_nothing_is_left_of_a_check_at_the_shell_that_is_ended(tmp_path, ending):
    image = write_disk(tmp_path / "one.img", Kind.RAW, Disk("one\r\nwaits", 1280 * KIB))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "imagesync", "-c", tmp_path / "none", "image", "boot", image, "--ram", "512"]
    environment = os.environ | {"TMPDIR": str(scratch)}
    with ending(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)) as process:
        children = []
        while not any(_name(child).startswith("qemu-system") for child in children):
            assert process.poll() is None
            children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        _, said = process.communicate()

    _, alive = psutil.wait_procs(children, timeout=20)
    assert (process.returncode, said.strip(), alive) == (130, b"interrupted", [])
    assert list(scratch.iterdir()) == []


def test_the_version_that_is_there_stays_where_the_new_one_does_not_start(cautious):
    one, *_ = cautious.steady.images
    title = cautious.steady.images[one].title
    path = cautious.root / "publisher" / "new.img"
    cautious.steady.images = {one: cautious.steady.images[one]}
    cautious.steady.replace(one, write_disk(path, Kind.RAW, Disk("new\r\nNo bootable device.", 1280 * KIB)))
    cautious.steady.publish()
    (before,) = (held for held in cautious.held(cautious.steady) if held[0]["name"] == title)

    action = cautious.given("sync", "--json", "--image", title).action(title)

    assert (action["kind"], action["outcome"], action["error_reason"]) == ("replace", "failed", "boot-check")
    assert "No bootable device." in action["error"]
    assert [held for held in cautious.held(cautious.steady) if held[0]["name"] == title] == [before]
    assert before[0]["state"] == "published"


@pytest.mark.parametrize("timeout", ["inf", "nan", "0"])
def test_a_time_to_wait_is_a_number_of_seconds(provider, timeout):
    assert provider.given("image", "boot", provider.root, "--timeout", timeout).code == 2


# --- at the shell ----------------------------------------------------------------------------------------------------
def test_an_image_that_starts_is_told_as_text(provider):
    image = write_disk(provider.root / "one.img", Kind.RAW, Disk("one\r\nguest login:", 1280 * KIB))

    result = provider.given("image", "boot", image, "--ram", "512", "--accelerator", "tcg")

    assert (result.code, result.err) == (0, "")
    first, why, machine, time, console, *lines = result.out.splitlines()
    assert (first, why, console) == (f"login  {image}", "  guest login:", "console")
    assert machine == "machine  x86_64, bios, 512 MiB, tcg"
    assert re.fullmatch(r"time     \d+ s, rule login-prompt", time)
    assert lines == ["  imagesync: one", "  guest login:"]


def test_an_image_of_which_nothing_is_certain_is_neither_good_nor_bad(provider):
    image = write_disk(provider.root / "one.img", Kind.RAW, Disk("one\r\nwaits", 1280 * KIB))
    words = ["--property", "hw_disk_bus=sata", "--property", "hw_machine_type=q35", "--timeout", "2"]

    result = provider.given("image", "boot", image, *words, "--accelerator", "tcg", "--json")

    assert (result.code, result.json["exit"], result.json["verdict"]) == (1, 1, "inconclusive")
    assert result.json["machine"]["disk_bus"] == "sata"


@pytest.mark.parametrize(
    ("value", "code", "said"),
    [
        ("nonsense", 2, "nonsense is no KEY=VALUE"),
        ("architecture=s390x", 1, "there is no machine for the architecture 's390x'"),
    ],
)
def test_a_machine_that_cannot_be_had_is_said(provider, value, code, said):
    result = provider.given("image", "boot", provider.image("one"), "--property", value)

    assert (result.code, said in result.err) == (code, True)


def test_without_room_for_what_a_guest_writes_nothing_is_started(provider, small_disk):
    room = small_disk(provider.root / "room", "8m")

    result = provider.run("image", "boot", provider.image("one"), TMPDIR=str(room))

    assert (result.code, result.out) == (1, "")
    assert "2147483648 bytes needed" in result.err
    assert list(room.iterdir()) == []


def test_report_tells_and_offers_all_the_same(cautious):
    cautious.targets[0]["boot_check"] = "report"
    cautious.configure()

    result = cautious.given("sync", "--json")

    assert (result.code, result.action("bad")["boot"]["verdict"]) == (0, "no-bootable-device")
    assert {"good", "bad"} <= set(cautious.titles())
