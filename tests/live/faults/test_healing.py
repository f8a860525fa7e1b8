"""What an earlier pass, another program or another person left behind, and what the next pass makes of it."""

import pytest
from cloud.faults import Status

UPLOAD = r"/v2/images/[^/]+/file"
RECORD = r"/v2/images/[^/]+"
HALF = 640 << 10


def forged(trial, title, data, **changes):
    """Let a member register another image under all that tells ours: its name, tag and properties."""
    [real] = [one for one in trial.records() if (one["name"], one["status"]) == (title, "active")]
    kept = {
        key: value for key, value in real.items() if key.startswith(("imagesync_", "APPLIANCE_", "vmcatcher_", "ad:"))
    }
    names = ("name", "tags", "disk_format", "container_format", "min_disk", "min_ram", "visibility")
    image = trial.images.create(**kept, **{name: real[name] for name in names}, **changes)
    trial.images.upload(image["id"], data)
    return real["id"], image["id"]


def standings(trial):
    [target] = trial.site.run("status", "--json").json["targets"]
    return sorted((row["title"], row["state"]) for row in target["images"])


def lose_state(trial):
    for file in trial.site.root.glob("state.db*"):
        if file.is_file():
            file.unlink()


ALARM = "somebody put other bytes in the place of an image"


@pytest.mark.parametrize("state", ["kept", "lost"])
def test_a_forged_record_in_place_of_ours_is_replaced(trial, state):
    trial.start("one", "two")
    real, fake = forged(trial, "one", b"not what was endorsed")
    trial.images.delete(real)
    if state == "lost":
        lose_state(trial)

    result = trial.site.sync()

    # Without the state nobody knows yet whether these are the bytes that the image was once converted to.
    expected = {"kept": ("tampered", True), "lost": ("unverified", False)}[state]
    assert (result.code, result.done()) == (0, [("replace", "one")]), result.out
    assert (result.action("one")["cause"], ALARM in result.err) == expected
    trial.assert_converged()
    assert trial.images.show(fake)["status"] == "deactivated"


@pytest.mark.parametrize("state", ["kept", "lost"])
def test_a_forged_record_beside_ours_is_never_preferred(trial, state):
    trial.start("one", "two")
    real, fake = forged(trial, "one", b"not what was endorsed")
    if state == "lost":
        lose_state(trial)
    else:
        assert standings(trial) == [("one", "tampered"), ("two", "published")]

    result = trial.site.sync()

    assert (result.code, result.done()) == (0, [("retire", "one")]), result.out
    assert ALARM in result.err
    assert trial.images.show(real)["status"] == "active"
    assert trial.images.show(fake)["status"] == "deactivated"
    assert standings(trial) == [("one", "published"), ("two", "published")]
    trial.assert_converged()


def test_a_forged_record_in_place_of_one_that_was_deactivated_goes(trial):
    trial.start("one", "two")
    real, fake = forged(trial, "one", b"not what was endorsed")
    trial.images.act(real, "deactivate")

    result = trial.site.sync()

    assert (result.code, result.done()) == (0, [("restore", "one")]), result.out
    assert ALARM in result.err
    assert trial.images.show(fake)["status"] == "deactivated"
    trial.assert_converged()


def test_a_forged_hidden_record_is_not_published(trial):
    trial.start("one", "two")
    real, fake = forged(trial, "one", b"not what was endorsed", os_hidden=True)
    trial.images.change(fake, {"op": "replace", "path": "/imagesync_state", "value": "staged"})
    trial.images.delete(real)

    result = trial.site.sync()

    assert result.code == 0
    trial.assert_converged()
    assert fake not in {one["id"] for one in trial.records()}


def test_doubles_of_one_image_are_reduced_to_one(trial):
    trial.start("one", "two")
    path = trial.site.disk("one")
    forged(trial, "one", path.read_bytes())

    result = trial.site.sync()

    assert (result.code, result.done()) == (0, [("retire", "one")])
    trial.assert_converged()


def test_what_interrupted_uploads_left_is_finished_or_removed(trial):
    """Queued, half-way in ``saving``, and hidden but never published."""
    trial.start("stays")
    trial.site.offer("queued", "hidden")
    trial.glance.add("PUT", UPLOAD, Status(500))
    trial.glance.add("DELETE", RECORD, Status(500))
    trial.glance.add("PATCH", RECORD, Status(403))
    assert trial.site.publish_and_sync().code == 1
    assert sorted(status for _, status in trial.states()) == ["active", "active hidden", "queued hidden"]

    after = trial.assert_converged()

    assert after.json["totals"]["bytes_uploaded"] == 1280 << 10  # what was hidden is only published


def test_what_nobody_wants_any_more_is_removed_half_way(trial):
    trial.start("stays")
    trial.site.offer("queued", "hidden")
    trial.glance.add("PUT", UPLOAD, Status(500))
    trial.glance.add("DELETE", RECORD, Status(500))
    trial.glance.add("PATCH", RECORD, Status(403))
    assert trial.site.publish_and_sync().code == 1
    trial.site.withdraw("queued", "hidden")
    trial.site.published.publish()

    after = trial.assert_converged()

    assert [kind for kind, _ in after.done()].count("delete") == 2
    assert trial.states() == [("stays", "active")]
