"""Whatever happens to lists, servers, images and the process: afterwards the target is what the lists say."""

import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from cloud.turns import everything
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagesync.errors import BackendUnavailableError, DigestMismatchError
from imagesync.testing.backend import FakeCloud
from imagesync.testing.steps import Died, Steps

names = st.sampled_from("abcde")
contents = st.sampled_from(["one", "two", "three"])

events = st.one_of(
    st.tuples(st.just("offer"), names, contents),
    st.tuples(st.just("offer-dated"), names, st.integers(1, 40)),
    st.tuples(st.just("withdraw"), names),
    st.tuples(st.just("wait"), st.integers(1, 1000)),
    st.tuples(st.just("list-down")),
    st.tuples(st.just("list-forged")),
    st.tuples(st.just("list-unsigned")),
    st.tuples(st.just("image-fails"), names),
    st.tuples(st.just("cloud-fails"), st.sampled_from(["owned", "upload", "publish", "update", "retire", "delete"])),
    st.tuples(st.just("tamper"), st.integers(0, 9)),
    st.tuples(st.just("remove-by-hand"), st.integers(0, 9)),
    st.tuples(st.just("lose-state")),
    st.tuples(st.just("die"), st.integers(1, 60)),
    st.tuples(st.just("sync")),
)


def happen(site, event):
    match event:
        case ("offer", name, content):
            site.offer(**{name: content}).publish()
        case ("offer-dated", name, days):
            site.offer(**{name: ("dated", site.now + timedelta(days=days))}).publish()
        case ("withdraw", name):
            site.images.pop(name, None)
            site.publish()
        case ("wait", hours):
            site.now += timedelta(hours=hours)
        case ("tamper", index) | ("remove-by-hand", index) if len(site.cloud.records) > index:
            ref = sorted(site.cloud.records)[index]
            site.cloud.tamper(ref, b"evil") if event[0] == "tamper" else site.cloud.records.pop(ref)
        case ("lose-state",):
            for file in filter(Path.is_file, site.root.glob("state.db*")):
                file.unlink()
        case _:
            disturbed(site, event)


def disturbed(site, event):
    """Run a pass under a fault that is over afterwards."""
    known = site.blob
    known_to_forge = site.version
    match event:
        case ("list-down",):
            site.down()
        case ("list-forged",):
            site.publish(signer=site.trust.stranger)
        case ("list-unsigned",):
            site.blob = b'{"hv:imagelist": {"hv:images": []}}'
        case ("image-fails", name):
            site.broken = {name: DigestMismatchError(name, "other bytes")}
        case ("cloud-fails", method):
            site.cloud.faults = {method: [BackendUnavailableError("fake", "reset")]}
        case ("die", number):
            site.steps = site.cloud.steps = Steps(die_at=number)
    lost = set(site.published())
    try:
        result = site.sync()
    except Died:
        result = None
    if event[0].startswith("list-"):
        expired = {name for name in lost if is_expired(site, name)}
        assert lost - set(site.published()) <= expired, "an unknown list lost an image"
        assert result.seen[0].observation.verdict in {"refused", "unavailable"}
    site.failure, site.broken, site.blob, site.version = None, {}, known, known_to_forge
    site.cloud.faults, site.steps, site.cloud.steps = {}, Steps(), Steps()


def is_expired(site, name):
    """Return whether some version of the list gave the image a date that has passed."""
    own = [
        record.image.metadata.properties["imagesync_image_expires"]
        for record in site.cloud.records.values()
        if record.image.key.image == name
    ]
    return any(text and text <= f"{site.now:%Y-%m-%dT%H:%M:%SZ}" for text in own)


@settings(
    max_examples=60 if everything() else 25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=st.lists(events, max_size=12))
def test_after_any_history_a_quiet_pass_makes_the_target_equal_and_a_second_has_nothing_to_do(site, history):
    with tempfile.TemporaryDirectory() as folder:
        world = replace(site, root=Path(folder), cloud=FakeCloud(), images={}, prepared=[], broken={}, steps=Steps())
        world.lifetime = timedelta(days=36500)
        world.guard = {"share": 1.0, "allowed": 99}
        world.publish()
        for event in history:
            happen(world, event)

        first = world.sync()
        second = world.sync()

        assert first.seen[0].observation.content.version == str(world.version)
        assert world.published() == world.endorsed()
        assert second.targets[0].plan.changes == ()
        assert {state for _, state in world.states()} <= {"published", "retired"}
        keys = [image.key for image in world.cloud.published()]
        assert len(keys) == len(set(keys))
