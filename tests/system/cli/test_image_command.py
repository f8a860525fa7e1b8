import hashlib
import json
import os
import signal
import subprocess
import sys

import pytest
import yaml

from imagesync.testing.disks import Disk, Kind, write_disk
from imagesync.testing.faults import Held


def test_an_image_is_said_to_be_what_its_bytes_are(provider):
    file = provider.image("one", Kind.QCOW2)

    result = provider.given("image", "inspect", file, "--json")

    assert result.code == 0
    report = result.json
    assert (report["verdict"], report["format"], report["archive"]) == ("accepted", "qcow2", None)
    assert report["virtual_size"] == 1280 << 10
    assert report["size"] == file.stat().st_size
    assert report["sha512"] == hashlib.sha512(file.read_bytes()).hexdigest()
    assert report["targets"] == [
        {"name": "site", "outcome": "converted", "format": "raw", "reason": "", "hint": ""},
    ]


@pytest.mark.parametrize(
    ("kind", "formats", "outcome", "format"),
    [
        (Kind.RAW, ["qcow2", "raw"], "as published", "raw"),
        (Kind.OVA, ["vmdk"], "unpacked", "vmdk"),
        (Kind.VMDK_SPARSE, ["qcow2"], "converted", "qcow2"),
        (Kind.QCOW2, ["iso"], "refused", None),
    ],
    ids=["as it is", "unpacked", "converted", "refused"],
)
def test_what_a_target_would_make_of_an_image_is_what_a_pass_makes_of_it(provider, kind, formats, outcome, format):  # noqa: A002
    provider.targets[0]["formats"] = formats
    provider.configure()
    file = provider.image("one", kind)
    provider.steady.add(file, title="one")
    provider.steady.publish()

    result = provider.given("image", "inspect", file, "--json")
    provider.given("sync", "--json")

    (target,) = result.json["targets"]
    assert (target["outcome"], target["format"]) == (outcome, format)
    assert result.code == (3 if outcome == "refused" else 0)
    assert [one["format"] for one in provider.entries() if one["name"] == "one"] == [format] * (outcome != "refused")


def test_a_refused_image_is_explained(provider, tmp_path):
    file = tmp_path / "page.qcow2"
    file.write_text("<html>Please log in</html>")

    result = provider.given("image", "inspect", file)

    assert result.code == 3
    assert result.out.startswith(f"refused  {file}\n  web-page: this is a web page")
    assert "what to do: known are qcow2" in result.out


def test_an_image_is_inspected_at_its_url(provider):
    file = provider.image("one")
    added = provider.steady.add(file, title="one")
    url = provider.steady.images[added].uri

    refused = provider.given("image", "inspect", url)
    result = provider.given("image", "inspect", url, "--allow-private-addresses")

    assert refused.code == 5
    assert "allow_private_addresses" in refused.err
    assert result.code == 0
    assert hashlib.sha512(file.read_bytes()).hexdigest() in result.out
    assert "target site: as published, as raw\n" in result.out


def test_a_larger_image_than_the_limit_is_not_fetched(provider):
    provider.configure(limits={"max_image_bytes": "1MiB"})
    added = provider.steady.add(provider.image("one"), title="one")

    url = provider.steady.images[added].uri
    result = provider.given("image", "inspect", url, "--allow-private-addresses")

    assert result.code == 5
    assert "allowed are 1048576" in result.err


def test_nothing_is_left_and_no_configuration_is_needed(provider, tmp_path):
    file = provider.image("one", Kind.OVA)
    room = tmp_path / "room"
    room.mkdir()
    provider.config.unlink()

    result = provider.run("image", "inspect", file, "--json", TMPDIR=str(room))

    assert (result.code, result.json["archive"], result.json["targets"]) == (0, "tar", [])
    assert list(room.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_nothing_is_left_of_a_download_that_a_signal_ends(provider, ending, number):
    held = Held(after=1 << 20)
    added = provider.steady.add(provider.image("one"), title="one")
    provider.steady.publish()
    provider.steady.server.misbehave(provider.steady.image_path(added), held)
    room = provider.root / "room"
    room.mkdir()
    url = provider.steady.images[added].uri
    inspection = provider.start("image", "inspect", url, "--allow-private-addresses", TMPDIR=str(room))
    with ending(inspection) as process:
        assert held.reached.wait(30)
        process.send_signal(number)
        assert process.wait(20) == 130

    assert list(room.iterdir()) == []


def test_a_file_that_is_not_there_is_said(provider):
    result = provider.given("image", "inspect", provider.root / "missing")

    assert result.code == 5
    assert "missing: cannot be read: no such file or directory" in result.err


@pytest.mark.timeout(60)
@pytest.mark.parametrize("command", ["inspect", "boot"])
@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_what_is_no_regular_file_is_not_waited_for(provider, kind, command):
    path = {"pipe": provider.root / "pipe", "device": "/dev/zero", "directory": provider.root}[kind]
    if kind == "pipe":
        os.mkfifo(path)

    result = provider.given("image", command, path)

    assert result.code == 5
    assert f"{path}: cannot be read: it is no regular file" in result.err


def test_terminal_codes_in_a_name_do_not_reach_the_terminal(provider, tmp_path):
    file = tmp_path / "a\x1b[31m.raw"
    file.write_bytes(b"text")

    result = provider.given("image", "inspect", file)

    assert result.code == 3
    assert "\x1b" not in result.out


def test_the_configuration_of_the_site_is_checked_as_ever(provider):
    provider.config.write_text(yaml.safe_dump({"unknown": 1}))

    assert provider.given("image", "inspect", provider.image("one")).code == 2


@pytest.mark.parametrize("where", ["path", "url"])
def test_what_has_no_room_is_not_looked_at_and_not_called_refused(provider, where):
    provider.configure(cache_reserve_bytes="1000TiB")
    added = provider.steady.add(provider.image("one", Kind.OVA), title="one")
    source = provider.root / "publisher" / "one.ova" if where == "path" else provider.steady.images[added].uri

    result = provider.given("image", "inspect", source, "--allow-private-addresses")

    assert (result.code, result.out) == (1, "")
    assert "stay reserved (set TMPDIR to a directory with more room, or lower cache_reserve_bytes)" in result.err


def test_a_download_that_turns_out_too_large_for_the_room_is_told_from_one_over_the_limit(provider, small_disk):
    room = small_disk(provider.root / "room", "1m")
    added = provider.steady.add(provider.image("one"), title="one")

    url = provider.steady.images[added].uri
    result = provider.run("image", "inspect", url, "--allow-private-addresses", TMPDIR=str(room))

    assert result.code == 1
    assert "free beside the 0 that stay reserved" in result.err
    assert list(room.iterdir()) == []


# --- how a URL is asked for ---
def test_a_url_is_asked_for_as_the_configuration_says(provider):
    url = provider.steady.images[provider.steady.add(provider.image("one"), title="one")].uri
    provider.configure(proxies={"http": "http://127.0.0.1:9", "https": "http://127.0.0.1:9"})

    result = provider.given("image", "inspect", url, "--allow-private-addresses")

    assert result.code == 5
    assert "proxy" in result.err


def test_a_url_is_asked_for_as_an_image_of_a_subscription(provider):
    url = provider.steady.images[provider.steady.add(provider.image("one"), title="one")].uri

    assert provider.given("image", "inspect", url, "--subscription", "steady").code == 0
    unknown = provider.given("image", "inspect", url, "--subscription", "stedy")
    assert unknown.code == 2
    assert "stedy: there is no such subscription" in unknown.err


def test_a_file_s_name_that_is_no_utf_8_leaves_the_json_utf_8(tmp_path):
    file = os.fsencode(write_disk(tmp_path / "disk.img", Kind.RAW, Disk("small")))
    os.rename(file, name := file + b"\xff")

    command = (sys.executable, "-m", "imagesync", "-c", tmp_path / "none.yaml", "image", "inspect", name, "--json")
    done = subprocess.run(command, env=os.environ | {"LC_ALL": "C.UTF-8"}, stdout=subprocess.PIPE, check=True)

    assert os.fsencode(json.loads(done.stdout.decode("utf-8"))["source"]) == name
