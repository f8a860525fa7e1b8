"""An image that fails leaves what is registered as it was, and everything else is done."""

import pytest

from imagesync.testing.disks import Kind
from imagesync.testing.faults import BrokenOff, Redirect, Replaced, Shortened, Slow, Status, Tampered

BAD = {
    "404": (Status(404), "HTTP 404", "check the URL"),
    "503": (Status(503), "HTTP 503", "the next pass tries again"),
    "wrong checksum": (Tampered(), "SHA-512 is", "the publisher changed the file"),
    "too short": (Shortened(70_000), "the list says", "the publisher changed the file"),
    "too long": (Replaced(bytes(2_000_000)), "the list says", "the publisher changed the file"),
    "truncated": (BrokenOff(after=600_000), "the connection", "the next pass tries again"),
    "connection reset half-way": (BrokenOff(after=600_000, reset=True), "reset by peer", "check the server"),
    "stalled": (Slow(chunk=1000, pause=30), "no data for 2 s", "the next pass tries again"),
    "redirect to a file": (Redirect("file:///etc/passwd"), "scheme file", "use https or http"),
}


def replaced(site, title="shaky-1"):
    """Publish new bytes for an image of the shaky list and return the path they are served at."""
    identifier = next(key for key, image in site.shaky.images.items() if image.title == title)
    site.shaky.replace(identifier, site.image(f"{title} again"))
    site.shaky.publish()
    return site.shaky.image_path(identifier)


@pytest.mark.parametrize("what", BAD)
def test_a_replacement_that_fails_leaves_the_old_image_published(synced, what):
    fault, error, hint = BAD[what]
    synced.shaky.server.misbehave(replaced(synced), fault)

    result = synced.fails_beside_others()

    failed = result.action("shaky-1")
    assert (result.code, failed["kind"], failed["outcome"]) == (1, "replace", "failed")
    assert error in failed["error"]
    assert hint in failed["error"]
    assert ("update", "shaky-2") in result.done()


def test_a_new_image_that_fails_stops_no_other_and_is_tried_again(synced):
    new = synced.shaky.add(synced.image("late"), title="late")
    synced.shaky.add(synced.image("ready"), title="ready")
    synced.shaky.publish()
    synced.shaky.server.misbehave(synced.shaky.image_path(new), Status(404))

    result = synced.sync()
    assert (result.code, result.action("late")["outcome"], result.action("ready")["outcome"]) == (1, "failed", "done")
    assert "late" not in synced.titles()

    synced.shaky.server.behave()
    assert synced.sync().code == 0
    assert "late" in synced.titles()


def test_what_was_put_off_is_tried_at_once_when_the_configuration_was_changed(synced):
    new = synced.shaky.add(synced.image("late"), title="late")
    synced.shaky.publish()
    synced.shaky.server.misbehave(synced.shaky.image_path(new), Status(404))
    assert synced.given("sync", "--json").action("late")["outcome"] == "failed"
    synced.shaky.server.behave()
    assert synced.given("sync", "--json", "--honour-back-off").action("late")["cause"] == "back-off"

    synced.subscription_options["shaky"] = {"ca_bundle": "/etc/ssl/certs"}
    synced.configure()

    assert synced.given("sync", "--json", "--honour-back-off").action("late")["outcome"] == "done"


@pytest.mark.parametrize("cached", [False, True])
def test_what_one_list_says_of_a_file_does_not_keep_another_from_it(synced, cached):
    file = synced.image("common")
    right = synced.steady.add(file, title="right")
    if cached:
        synced.steady.publish()
        assert ("register", "right") in synced.given("sync", "--json").done()
    wrong = synced.shaky.add(file, title="wrong")
    synced.shaky.images[wrong].uri = synced.steady.images[right].uri
    synced.shaky.images[wrong].size -= 1
    for published in (synced.shaky, synced.steady):
        published.publish()

    result = synced.given("sync", "--json")

    assert result.action("wrong")["outcome"] == "failed"
    assert "right" in synced.titles()
    if cached:
        (entry,) = (synced.root / "cache" / "sources").glob(synced.steady.images[right].sha512)
        assert entry.stat().st_size == file.stat().st_size


def test_a_withdrawal_beside_a_failing_image_is_done(synced):
    synced.shaky.withdraw(next(key for key, image in synced.shaky.images.items() if image.title == "shaky-2"))
    synced.shaky.server.misbehave(replaced(synced), Status(503))

    result = synced.sync()

    assert result.code == 1
    assert ("retire", "shaky-2") in result.done()
    assert synced.titles() == ["shaky-1", "steady-1", "steady-2"]


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n" * 100, bytes(512)], ids=["empty", "a script", "zeros"])
def test_bytes_that_are_no_disk_are_refused_though_endorsed(synced, content):
    file = synced.root / "publisher" / "odd.img"
    file.write_bytes(content)
    synced.shaky.add(file, title="odd")
    synced.shaky.publish()

    result = synced.sync()

    assert (result.code, result.json["exit"]) == (1, 1)
    assert "odd" not in synced.titles()
    assert len(synced.titles()) == 4


def test_addresses_of_this_machine_are_refused_unless_the_subscription_allows_them(provider):
    provider.subscription_options["shaky"] = {"allow_private_addresses": False}
    provider.configure()

    result = provider.sync()

    assert result.code == 1
    assert provider.titles() == ["steady-1", "steady-2"]
    assert "127.0.0.1, a loopback address" in result.action("shaky-1")["error"]
    assert "allow_private_addresses: true" in result.action("shaky-1")["error"]
    assert provider.shaky.server.requests_for(next(iter(provider.shaky.images))) == []


def test_plain_http_for_images_can_be_forbidden(provider):
    provider.subscription_options["shaky"] = {"allow_http": False}
    provider.configure()

    result = provider.sync()

    assert (result.code, provider.titles()) == (1, ["steady-1", "steady-2"])
    assert "use https" in result.action("shaky-1")["error"]


def test_an_image_above_the_limit_is_not_even_asked_for(provider):
    large = provider.shaky.add(provider.image("large", size=3 << 20), title="large")
    provider.shaky.publish()
    provider.options["limits"] = {"max_image_bytes": "2MiB"}
    provider.configure()

    result = provider.sync()

    assert (result.code, len(provider.titles())) == (1, 4)
    assert "raise limits.max_image_bytes" in result.action("large")["error"]
    assert provider.shaky.server.requests_for(provider.shaky.image_path(large)) == []


def test_the_same_bytes_on_two_lists_are_downloaded_once(provider):
    for published in (provider.shaky, provider.steady):
        published.add(provider.image("common", Kind.QCOW2), title="common")
        published.publish()

    result = provider.sync()

    asked = [one for site in (provider.shaky, provider.steady) for one in site.server.requests if "common" in one.path]
    assert (result.code, provider.titles().count("common"), len(asked)) == (0, 2, 1)


def test_what_cannot_be_got_for_one_target_is_not_asked_for_again_for_the_next(provider):
    provider.targets.append({**provider.targets[0], "name": "second", "path": str(provider.root / "second")})
    provider.configure()
    identifier = next(iter(provider.shaky.images))
    path = provider.shaky.image_path(identifier)
    provider.shaky.server.misbehave(path, Status(404))

    result = provider.given("sync", "--json")

    assert [result.action("shaky-1", name)["outcome"] for name in ("site", "second")] == ["failed", "failed"]
    assert len(provider.shaky.server.requests_for(path)) == 1


def test_a_mirror_of_the_sites_own_network_is_asked_first(provider):
    identifier = next(key for key, image in provider.shaky.images.items() if image.title == "shaky-1")
    place = provider.shaky.server.url + provider.shaky.image_path(identifier)
    mirror = provider.steady.server.put("/mirror/shaky-1", provider.image("shaky-1"))
    rule = {"prefix": place, "replacement": mirror}
    provider.subscription_options["shaky"] = {"url_rewrite": [rule]}
    provider.configure()

    assert provider.given("sync", "--json").code == 0

    assert "shaky-1" in provider.titles()
    assert provider.shaky.server.requests_for(provider.shaky.image_path(identifier)) == []
