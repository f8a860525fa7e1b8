"""Two processes that upload to one project."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest
from cloud.faults import Meanwhile
from cloud.proxy import Proxy
from imagesync_glance.note import begin
from imagesync_glance.record import Record
from imagesync_glance.upload import check_idle
from imagesync_glance.writer import is_gone, this_process

from imagesync.backend import (
    Digest,
    Fingerprint,
    Format,
    ImageId,
    ImageKey,
    ImageSpec,
    ListId,
    Metadata,
    State,
)
from imagesync.errors import BackendConflictError, BackendUnavailableError
from imagesync.testing.subject import listed

from .conftest import Hidden

FILE = r"/v2/images/[^/]+/file"
LIMIT = 60
MIB = 1 << 20

OTHER = """
import json, sys
from pathlib import Path
from imagesync_glance import open_backend
from imagesync.testing.subject import Bench, Subject
from imagesync.backend import Context

class Secret:
    def __init__(self, text): self.text = text
    def value(self): return self.text

settings = json.loads(sys.argv[1])
settings["auth"]["password"] = Secret(settings["auth"]["password"])
subject = Subject(open_backend, settings, lambda: None, lambda: None, content=lambda number: bytes(3 << 20))
with open_backend(settings, Context("other", "conformance")) as backend:
    print(Bench(subject, Path(sys.argv[2])).upload(backend).ref)
"""


@pytest.fixture
def halted(cloud, site, tmp_path):
    """Another process in the middle of an upload; call the event to let it go on."""
    folder, arrived, go = tmp_path / "other", Event(), Event()
    folder.mkdir()

    def wait():
        arrived.set()
        go.wait(LIMIT)

    with Proxy(cloud.glance_url()) as proxy:
        proxy.add("PUT", FILE, Meanwhile(wait, after=MIB))
        auth = {key: item.value() if isinstance(item, Hidden) else item for key, item in site.settings["auth"].items()}
        settings = {**site.settings, "auth": auth, "endpoint_override": proxy.url}
        command = [sys.executable, "-c", OTHER, json.dumps(settings), str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert arrived.wait(LIMIT)
            try:
                yield process, go
            finally:
                go.set()
                process.kill()


@pytest.fixture
def same(make_bench, site):
    """The very files that the other process uploads."""
    return make_bench(site).with_content(lambda number: bytes(3 * MIB))


def test_what_another_process_is_uploading_is_left_to_it(site, same, halted):
    process, go = halted
    with site.open() as backend:
        [theirs] = backend.owned()
        assert theirs.state is State.PARTIAL
        for call in (lambda: same.upload(backend), lambda: backend.delete(theirs.ref)):
            with pytest.raises(BackendConflictError, match="another process is uploading it since"):
                call()
        go.set()
        assert process.communicate(timeout=LIMIT)[0].strip() == theirs.ref

        assert same.upload(backend).ref == theirs.ref


def test_what_a_killed_process_was_uploading_is_taken_over_at_once(site, same, halted):
    process, _ = halted
    process.kill()
    process.wait(LIMIT)
    with site.open() as backend:
        [theirs] = backend.owned()
        image = same.publish(backend)

        assert listed(backend) == {image.ref: image}
        assert image.ref != theirs.ref


def test_what_a_killed_glance_was_receiving_is_taken_over(add_glance, make_site, project, make_bench):
    glance = add_glance()
    with Proxy(glance.url) as proxy:
        site = make_site(project, region_name=glance.region, endpoint_override=proxy.url)
        bench = make_bench(site).with_content(lambda number: bytes(3 * MIB))
        proxy.add("PUT", FILE, Meanwhile(glance.kill, after=MIB))
        with site.open() as backend:
            with pytest.raises(BackendUnavailableError):
                bench.upload(backend)
            glance.start()
            [left] = backend.owned()
            assert left.state is State.PARTIAL
            image = bench.publish(backend)

            assert listed(backend) == {image.ref: image}


# --- how long a process of another host is believed ------------------------------------------------------------------
START = datetime(2026, 3, 1, tzinfo=UTC)


class Clock:
    """A Glance, as far as it tells the time."""

    def __init__(self, passed):
        self.passed = passed

    def now(self):
        return None if self.passed is None else START + self.passed


def partial_record(writer, status="saving", size=1000):
    """Return a record whose upload began at START."""
    made = ImageSpec(
        ImageKey("p", ListId("l"), ImageId("i")),
        Fingerprint("f"),
        Metadata("t", {}),
        Format.RAW,
        Digest("d"),
        size,
        size,
        1,
        START,
    )
    touched = (START + timedelta(days=999)).isoformat()
    image = {"id": "7e", "owner": "p", "status": status, "created_at": START.isoformat(), "updated_at": touched}
    return Record(image, begin(made, writer))


@pytest.mark.parametrize(
    ("status", "passed", "size"),
    [
        ("queued", timedelta(0), 1000),
        ("saving", timedelta(hours=1, seconds=1), 1000),
        ("uploading", timedelta(hours=2), 1000),
        ("saving", timedelta(hours=1, seconds=202), 10**9),
        ("uploading", timedelta(days=3), 10**18),
    ],
)
def test_what_nobody_can_still_be_uploading_may_be_removed(status, passed, size):
    check_idle(partial_record("elsewhere/1/2", status, size), Clock(passed))


@pytest.mark.parametrize(
    ("status", "passed", "size"),
    [
        ("saving", timedelta(minutes=59), 1000),
        ("importing", timedelta(minutes=59), 1000),
        ("saving", timedelta(hours=1, seconds=199), 10**9),
        ("saving", None, 1000),
    ],
)
def test_what_another_host_may_be_uploading_is_left_alone(status, passed, size):
    with pytest.raises(BackendConflictError, match="if it is dead"):
        check_idle(partial_record("elsewhere/1/2", status, size), Clock(passed))


def test_a_process_is_gone_when_its_number_is_another_ones():
    place, number, started = this_process().split("/")

    assert not is_gone(this_process())
    assert is_gone(f"{place}/{number}/{int(started) - 1}")
    assert not is_gone(f"elsewhere/{number}/{int(started) - 1}")
    assert int(number) == os.getpid()


@pytest.mark.parametrize("text", ["", "x", "a/b/c", "//"])
def test_of_a_writer_that_cannot_be_read_nobody_says_that_it_is_gone(text):
    assert not is_gone(text)
