"""What can be wrong with the site's own machine: disks, qemu-img, two runs at once, a killed run."""

import os
import re
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest

from imagesync.testing.disks import Kind
from imagesync.testing.faults import Held

KIB = 1 << 10


# --- disks ---
def test_a_cache_that_is_full_fails_the_image_that_does_not_fit(provider, small_disk):
    provider.options["cache"] = str(small_disk(provider.root / "small", "5m"))
    provider.configure()
    provider.given("sync", "--json")
    large = provider.shaky.add(provider.image("large", size=6 << 20), title="large")
    provider.shaky.publish()

    result = provider.fails_beside_others()

    assert result.code == 1
    assert "MiB needed" in result.action("large")["error"]
    assert "free some space" in result.action("large")["error"]
    assert provider.shaky.server.requests_for(provider.shaky.image_path(large)) == []


def test_a_target_that_is_full_fails_the_image_that_does_not_fit(provider, small_disk):
    provider.targets[0]["path"] = str(small_disk(provider.root / "site", "8m"))
    provider.configure()
    provider.given("sync", "--json")
    provider.shaky.add(provider.image("large", size=6 << 20), title="large")
    provider.shaky.publish()

    result = provider.fails_beside_others()

    assert result.code == 1
    assert "No space left on device" in result.action("large")["error"]
    assert "free some space" in result.action("large")["error"]


def test_a_target_that_cannot_be_written_harms_no_other(provider):
    blocked = provider.root / "blocked"
    blocked.write_text("a file where a directory should be")
    provider.targets.append({"name": "blocked", "backend": "directory", "path": str(blocked), "formats": ["raw"]})
    provider.configure()

    result = provider.sync()

    assert (result.code, len(provider.titles())) == (1, 4)
    assert (result.target("site")["outcome"], result.target("blocked")["outcome"]) == ("done", "failed")
    assert "see whether the file system is mounted" in result.target("blocked")["error"]
    assert blocked.read_text() == "a file where a directory should be"


def test_when_no_target_can_be_reached_nothing_could_be_done(provider):
    (provider.root / "site").write_text("a file where a directory should be")

    assert provider.sync().code == 5


def test_a_broken_catalogue_is_not_an_empty_one(synced):
    catalogue = synced.root / "site" / "catalogue.json"
    catalogue.write_text("{")

    result = synced.sync()

    assert result.code == 5
    assert "restore it from a backup" in result.target()["error"]
    assert catalogue.read_text() == "{"


# --- qemu-img ---
def with_an_image_to_convert(site, title="converted"):
    site.shaky.add(site.image(title, Kind.QCOW2), title=title)
    site.shaky.publish()
    return title


def test_without_qemu_img_what_needs_no_conversion_is_done(synced, tools):
    title = with_an_image_to_convert(synced)

    result = synced.fails_beside_others(PATH=tools())

    assert result.code == 1
    assert "qemu-img: is not installed (apt install qemu-utils)" in result.action(title)["error"]


def test_a_killed_qemu_img_fails_its_image_only(synced, tools):
    title = with_an_image_to_convert(synced)

    result = synced.fails_beside_others(PATH=tools("kill -KILL $$"))

    assert result.code == 1
    assert "qemu-img was killed by SIGKILL" in result.action(title)["error"]
    assert synced.sync().code == 0
    assert title in synced.titles()


def test_a_qemu_img_killed_half_way_leaves_nothing_of_its_output(synced, tools):
    title = with_an_image_to_convert(synced)
    half_way = f'for output; do :; done; {shutil.which("qemu-img")} "$@"; : > "$output.part"; kill -TERM $$'

    result = synced.fails_beside_others(PATH=tools(half_way))

    assert result.code == 1
    assert "qemu-img was killed by SIGTERM" in result.action(title)["error"]
    assert list((synced.root / "cache" / "converted").iterdir()) == []


def test_a_qemu_img_that_lies_is_found_out(synced, tools):
    title = with_an_image_to_convert(synced)

    result = synced.fails_beside_others(PATH=tools("exit 0"))

    assert result.code == 1
    assert "wrote nothing" in result.action(title)["error"]


# --- two at once ---
def test_a_second_sync_says_who_holds_the_lock_and_changes_nothing(synced, ending):
    held = Held(after=100_000)
    new = synced.shaky.add(synced.image("slow"), title="slow")
    synced.shaky.publish()
    synced.shaky.server.misbehave(synced.shaky.image_path(new), held)
    synced.options["limits"] = {}
    synced.configure()
    with ending(synced.start("sync", "--json")) as first:
        assert held.reached.wait(30)

        second = synced.sync()

        assert (second.code, second.json["exit"]) == (6, 6)
        who = re.search(r"locked by process (\d+) on (\S+) since (\d+) s", second.target()["error"])
        assert (who[1], who[2]) == (str(first.pid), socket.gethostname())
        assert "wait until it is done" in second.target()["error"]
        held.release.set()
        assert first.wait(30) == 0
    assert "slow" in synced.titles()


def test_plan_and_status_need_no_lock(synced, ending):
    held = Held(after=100_000)
    new = synced.shaky.add(synced.image("slow"), title="slow")
    synced.shaky.publish()
    synced.shaky.server.misbehave(synced.shaky.image_path(new), held)
    synced.options["limits"] = {}
    synced.configure()
    with ending(synced.start("sync", "--json")) as first:
        assert held.reached.wait(30)

        assert synced.given("plan", "--check", "--json").code == 7
        assert synced.given("status", "--json").code == 0
        held.release.set()
        assert first.wait(30) == 0


# --- killed ---
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_a_sync_killed_while_it_downloads_is_made_up_for(synced, ending, number):
    held = Held(after=100_000)
    new = synced.shaky.add(synced.image("slow"), title="slow")
    synced.shaky.publish()
    synced.shaky.server.misbehave(synced.shaky.image_path(new), held, times=1)
    before = synced.titles()
    with ending(synced.start("sync", "--json")) as first:
        assert held.reached.wait(30)
        partial = synced.root / "cache" / "partial"
        until(lambda: sum(path.stat().st_size for path in partial.glob("*") if not path.suffix) == 100_000)
        first.send_signal(number)
        code = first.wait(10)

    assert code == (-number if number is signal.SIGKILL else 130)
    assert synced.titles() == before
    assert number is signal.SIGKILL or synced.leftovers() == []
    again = synced.sync()
    assert again.code == 0
    assert synced.titles() == sorted([*before, "slow"])
    _, asked = synced.shaky.server.requests_for(synced.shaky.image_path(new))
    assert (asked.status, asked.headers["range"]) == (206, "bytes=100000-")
    assert again.action("slow")["bytes_downloaded"] == 1280 * KIB - 100_000
    assert list(partial.iterdir()) == []
    assert synced.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_sync_killed_while_it_converts_is_made_up_for(synced, ending, tools, number):
    title = with_an_image_to_convert(synced)
    began = synced.root / "began"
    os.mkfifo(began)
    before = synced.titles()
    with ending(synced.start("sync", "--json", PATH=tools(f"echo $$ > {began}; exec sleep 60"))) as first:
        qemu = int(began.read_text())
        first.send_signal(number)
        assert first.wait(20) == (-number if number is signal.SIGKILL else 130)

    until(lambda: not is_running(qemu))  # the kernel kills it after its parent was reaped
    assert synced.titles() == before
    assert synced.sync().code == 0
    assert synced.titles() == sorted([*before, title])
    assert synced.leftovers() == []


def until(condition):
    for _ in range(500):
        if condition():
            return
        time.sleep(0.02)
    pytest.fail("not within 10 s")


def is_running(pid):
    """Return whether a process is there and no mere entry that its new parent has not collected yet."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}


def test_a_silent_server_does_not_keep_a_sync_from_ending(synced, ending):
    synced.options["limits"] = {"stall_timeout": "60s"}
    synced.configure()
    held = Held(after=100_000)
    new = synced.shaky.add(synced.image("slow"), title="slow")
    synced.shaky.publish()
    synced.shaky.server.misbehave(synced.shaky.image_path(new), held)
    with ending(synced.start("sync", "--json")) as first:
        assert held.reached.wait(30)
        first.send_signal(signal.SIGTERM)
        assert first.wait(20) == 130
        assert "the next run cleans up" in first.stderr.read()

    synced.shaky.server.behave()
    assert synced.sync().code == 0
    assert synced.leftovers() == []


# --- two targets ---
def test_two_targets_with_different_formats_share_one_download(provider):
    second = {"name": "second", "backend": "directory", "path": str(provider.root / "second"), "formats": ["qcow2"]}
    provider.targets.append(second)
    provider.configure()

    result = provider.sync()

    assert result.code == 0
    assert {one["format"] for one in provider.entries()} == {"raw"}
    assert {one["format"] for one in provider.entries(target="second")} == {"qcow2"}
    for published in (provider.shaky, provider.steady):
        for image in published.images:
            assert len(published.server.requests_for(published.image_path(image))) == 1
    assert result.json["totals"]["bytes_downloaded"] == 4 * 1280 * KIB


def test_what_another_target_has_in_the_cache_is_not_downloaded_again(synced):
    second = {"name": "second", "backend": "directory", "path": str(synced.root / "second"), "formats": ["raw"]}
    synced.targets.append(second)
    synced.configure()

    result = synced.sync()

    assert (result.code, len(synced.titles(target="second"))) == (0, 4)
    assert result.json["totals"]["bytes_downloaded"] == 0


# --- permissions ---
@pytest.mark.parametrize("place", ["cache/sources", "cache/tmp", "site", "site/.imagesync/partial"])
def test_a_directory_that_may_no_longer_be_written_is_named_and_the_next_pass_makes_up_for_it(
    synced, unprivileged, place
):
    synced.shaky.add(synced.image("new"), title="new")
    synced.shaky.publish()
    blocked = synced.root / place
    mode = blocked.stat().st_mode
    blocked.chmod(0o500)

    ran = unprivileged("--config", synced.config, "sync", "--json")

    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "ermission denied" in ran.stdout
    assert str(synced.root / place.split("/", maxsplit=1)[0]) in ran.stdout
    blocked.chmod(mode)
    assert synced.given("sync", "--json").code == 0
    assert "new" in synced.titles()
