"""Lists and images that are carried to a place without a network."""

import os
from pathlib import Path

import pytest

from imagesync.images.entries import exclusively
from imagesync.testing.faults import Status


@pytest.fixture
def away(provider):
    """Return where bundles are written, and a function that makes the site one that has nothing but them."""
    directory = provider.root / "bundles"

    def go(url=f"file://{directory}/{{}}"):
        provider.close()
        for name in ("shaky", "steady"):
            provider.subscription_options[name] = {"url": url.format(name)}
        provider.options |= {"state": f"sqlite:///{provider.root}/away.db", "cache": str(provider.root / "away")}
        provider.configure()

    return directory, go


def exported(provider, directory, *options):
    result = provider.given("bundle", "export", directory, "--json", *options)
    outcomes = {image["title"]: image["outcome"] for item in result.json["lists"] for image in item["images"]}
    return result, outcomes


def image_of(directory, provider, title):
    (image,) = (one for one in provider.shaky.images.values() if one.title == title)
    return directory / "shaky" / "images" / image.sha512


@pytest.mark.parametrize("form", ["file://{}/{{}}", "file://{}/{{}}/", "file://{}/{{}}/list"])
def test_what_is_exported_here_is_published_elsewhere_without_any_network(provider, away, form):
    directory, go = away
    result, outcomes = exported(provider, directory)

    assert result.code == 0
    assert set(outcomes.values()) == {"downloaded"}
    assert (directory / "steady" / "list").read_bytes() == provider.steady.message
    go(form.format(directory))
    there = provider.given("sync", "--json")

    assert (there.code, there.json["exit"]) == (0, 0)
    assert provider.titles() == ["shaky-1", "shaky-2", "steady-1", "steady-2"]
    assert provider.given("sync", "--json").done() == []


def test_an_export_brings_up_to_date_what_is_there(provider, away):
    directory, _ = away
    exported(provider, directory)
    gone = image_of(directory, provider, "shaky-1")
    foreign = gone.with_name("README")
    foreign.write_text("mine")
    provider.shaky.withdraw(next(key for key, one in provider.shaky.images.items() if one.title == "shaky-1"))
    provider.shaky.add(provider.image("shaky-3"), title="shaky-3")
    provider.shaky.publish()

    result, outcomes = exported(provider, directory, "--list", "shaky")

    assert result.code == 0
    assert outcomes == {"shaky-2": "kept", "shaky-3": "downloaded"}
    assert result.json["lists"][0]["removed"] == 1
    assert not gone.exists()
    assert foreign.read_text() == "mine"
    assert (directory / "shaky" / "list").read_bytes() == provider.shaky.message


def test_what_the_cache_has_is_not_downloaded_and_what_rotted_there_is(provider, away):
    directory, _ = away
    provider.given("sync", "--json")
    (steady,) = {one.sha512 for one in provider.steady.images.values() if one.title == "steady-1"}
    source = provider.root / "cache" / "sources" / steady
    status, content = source.stat(), bytearray(source.read_bytes())
    content[-1] ^= 1
    source.write_bytes(content)
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))

    result, outcomes = exported(provider, directory)

    assert result.code == 0
    assert outcomes == {"steady-1": "downloaded", "steady-2": "copied", "shaky-1": "copied", "shaky-2": "copied"}
    assert (directory / "steady" / "images" / steady).read_bytes() != bytes(content)


def test_an_image_that_cannot_be_had_is_named_and_the_rest_exported(provider, away):
    directory, _ = away
    identifier = next(key for key, one in provider.shaky.images.items() if one.title == "shaky-1")
    provider.shaky.server.misbehave(provider.shaky.image_path(identifier), Status(404))

    result, outcomes = exported(provider, directory)

    assert (result.code, outcomes["shaky-1"], outcomes["shaky-2"]) == (1, "failed", "downloaded")
    assert "HTTP 404" in result.out
    assert [path.name for path in (directory / "shaky" / "images").glob(".*")] == []
    provider.shaky.server.behave()
    assert exported(provider, directory)[1]["shaky-1"] == "downloaded"


def test_a_list_that_is_refused_leaves_its_bundle_alone(provider, away):
    directory, _ = away
    exported(provider, directory)
    before = (directory / "shaky" / "list").read_bytes()
    provider.shaky.publish(signer=provider.trust.stranger)

    result, outcomes = exported(provider, directory)

    assert (result.code, set(outcomes)) == (3, {"steady-1", "steady-2"})
    assert (directory / "shaky" / "list").read_bytes() == before
    assert image_of(directory, provider, "shaky-1").exists()


def test_two_exports_at_once_do_not_mix(provider, away):
    directory, _ = away
    exported(provider, directory)
    with exclusively(directory / "shaky"):
        result, outcomes = exported(provider, directory)

    assert (result.code, set(outcomes)) == (1, {"steady-1", "steady-2"})
    assert "another export is at work there" in result.out


def test_a_recalled_image_is_not_exported(provider, away):
    directory, _ = away
    recalled = next(key for key, one in provider.shaky.images.items() if one.title == "shaky-1")
    (provider.root / "deny.d").mkdir()
    (provider.root / "deny.d" / "test.yaml").write_text(f"deny: [{{identifier: {recalled}, reason: test}}]")

    assert "shaky-1" not in exported(provider, directory)[1]


def test_the_summary_is_for_people(provider, away):
    directory, _ = away
    said = provider.given("bundle", "export", directory, "--list", "steady").out

    assert said.startswith(f"list steady: trusted, version 1, in {directory}/steady\n")
    assert "  downloaded  steady-1, 1310720 bytes\n" in said


def test_an_unknown_list_is_a_usage_error(provider, away):
    assert provider.given("bundle", "export", away[0], "--list", "unknown").code == 2


# --- where there is no network ---
def changed(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def longer(path):
    path.write_bytes(path.read_bytes() + b"x")


def shorter(path):
    path.write_bytes(path.read_bytes()[:-1])


def missing(path):
    path.unlink()


def a_link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def a_directory(path):
    path.unlink()
    path.mkdir()


WRONG = {
    changed: "the file is damaged or was changed",
    longer: "the file is damaged or was changed",
    shorter: "the file is damaged or was changed",
    missing: "the bundle has no image",
    a_link: "the bundle has no image",
    a_directory: "is no regular file",
}


@pytest.mark.parametrize("damage", WRONG, ids=lambda damage: damage.__name__)
def test_an_image_that_is_not_what_the_list_says_fails_alone(provider, away, damage):
    directory, go = away
    exported(provider, directory)
    path = image_of(directory, provider, "shaky-1")
    damage(path)
    go()

    result = provider.given("sync", "--json")

    assert result.code == 1
    assert provider.titles() == ["shaky-2", "steady-1", "steady-2"]
    error = result.action("shaky-1")["error"]
    assert WRONG[damage] in error
    assert path.name[:16] in error
    assert provider.leftovers() == []


def test_a_directory_of_images_that_is_a_link_is_not_followed(provider, away):
    directory, go = away
    exported(provider, directory)
    images = directory / "shaky" / "images"
    images.rename(directory / "others")
    images.symlink_to(directory / "others")
    go()

    result = provider.given("sync", "--json", "--honour-back-off")

    assert result.code == 1
    assert provider.titles() == ["steady-1", "steady-2"]
    error = result.action("shaky-1")["error"]
    assert "shaky: images is a symbolic link, which is not followed (put the directory itself there" in error


def test_a_bundle_that_was_put_right_is_not_made_to_wait_as_a_publisher_is(provider, away):
    directory, go = away
    exported(provider, directory)
    path = image_of(directory, provider, "shaky-1")
    path.rename(directory / "elsewhere")
    go()
    assert provider.given("sync", "--json").action("shaky-1")["cause"] == "new"
    (directory / "elsewhere").rename(path)
    provider.targets.append(
        {"name": "other", "backend": "directory", "path": str(provider.root / "other"), "formats": ["raw"]}
    )
    provider.configure()

    result = provider.given("sync", "--json", "--honour-back-off")

    assert {action["outcome"] for action in result.json["targets"][1]["actions"]} == {"done"}


def test_a_list_that_was_changed_is_refused(provider, away):
    directory, go = away
    exported(provider, directory)
    changed(directory / "shaky" / "list")
    go()

    result = provider.given("sync", "--json")

    assert (result.code, result.list("shaky")["verdict"]) == (3, "refused")
    assert provider.titles() == ["steady-1", "steady-2"]


def test_an_older_bundle_is_a_rollback_as_from_a_server(provider, away):
    directory, go = away
    exported(provider, directory)
    old = (directory / "shaky" / "list").read_bytes()
    provider.shaky.publish()
    exported(provider, directory)
    go()
    provider.given("sync", "--json")
    (directory / "shaky" / "list").write_bytes(old)

    assert provider.given("sync", "--json").list("shaky")["verdict"] == "refused"
    assert len(provider.titles()) == 4


def test_a_bundle_that_was_taken_away_holds_its_images(provider, away):
    directory, go = away
    exported(provider, directory)
    go()
    provider.given("sync", "--json")
    (directory / "shaky").rename(directory / "away")

    result = provider.given("sync", "--json")

    assert (result.code, result.list("shaky")["verdict"]) == (1, "unavailable")
    assert len(provider.titles()) == 4


def test_a_bundle_can_be_exported_again(provider, away):
    directory, go = away
    exported(provider, directory)
    go()
    second = Path(f"{directory}-again")

    result, outcomes = exported(provider, second)

    assert (result.code, set(outcomes.values())) == (0, {"downloaded"})
    assert (second / "shaky" / "list").read_bytes() == (directory / "shaky" / "list").read_bytes()


def test_a_list_alone_in_a_file_still_has_its_images_fetched(provider):
    file = provider.root / "image.list"
    file.write_bytes(provider.shaky.message)
    provider.subscription_options["shaky"] = {"url": f"file://{file}"}
    provider.configure()

    assert provider.given("sync", "--json").code == 0
    assert "shaky-1" in provider.titles()
