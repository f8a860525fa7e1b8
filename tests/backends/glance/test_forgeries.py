"""What hostile members of a VO's project, or something that is no Glance, put before us."""

import json
from itertools import count

import pytest
from imagesync_glance.faults import AnswerError
from imagesync_glance.service import Service

from imagesync.backend import State
from imagesync.testing.subject import listed

from .conftest import VO

TAG = "imagesync:conformance"
WHOLE = ("id", "status", "owner", "created_at", "updated_at", "visibility")


@pytest.fixture
def forge(site, bench):
    """Call it for an image that a member made to look like the one that ``bench`` uploads."""

    def make(content=None, **changes):
        with site.open() as backend:
            genuine = bench.publish(backend)
            body = site.show(genuine.ref)
            bench.remove(backend, genuine.ref)
        kept = {name: value for name, value in body.items() if name.startswith(("imagesync_", "APPLIANCE_", "ad:"))}
        note = {**json.loads(kept["imagesync_record"]), "writer": "elsewhere/1/2", "at": "2099-01-01T00:00:00+00:00"}
        base = {"name": body["name"], "tags": [TAG], "disk_format": "raw", "container_format": "bare"}
        made = site.images.create(**{**kept, **base, "imagesync_record": json.dumps(note), **changes})
        if content is not None:
            site.images.upload(made["id"], content)
        return f"{made['owner']}/{made['id']}"

    return make


def test_a_leftover_that_somebody_protected_does_not_stop_the_upload(site, bench, forge):
    forged = forge(protected=True, os_hidden=True, imagesync_state="staged")
    with site.open() as backend:
        image = bench.publish(backend)

        assert listed(backend)[image.ref].state is State.PUBLISHED
        assert listed(backend)[forged].state is State.PARTIAL
    site.change(forged, protected=False)


@pytest.mark.parametrize(
    "label", [{"container_format": "ovf"}, {"disk_format": "vhd", "container_format": "ovf"}], ids=["container", "both"]
)
def test_the_right_bytes_under_a_wrong_label_are_not_taken_for_the_image(site, bench, forge, label):
    forged = forge(bench.file(1).read_bytes(), **label)
    with site.open() as backend:
        image = bench.publish(backend)

        assert image.ref != forged
        assert listed(backend)[forged].digest is None


def test_properties_that_boot_something_else_are_taken_off(site, bench):
    with site.open() as backend:
        image = bench.publish(backend)
        site.change(image.ref, kernel_id="8f6d", min_disk=0)
        assert listed(backend)[image.ref].drift == ("min_disk", "boot")

        backend.update(image.ref, image.metadata)

        assert listed(backend) == {image.ref: image}
        assert "kernel_id" not in site.show(image.ref)


# --- what is no Glance -----------------------------------------------------------------------------------------------
class Stranger(Service):
    """Answers each page of a listing with the next of some values."""

    def __init__(self, pages):
        self._pages = iter(pages)

    def get(self, url, **_):
        return None, next(self._pages)


@pytest.mark.parametrize(
    "pages",
    [
        ({"images": [], "next": f"/v2/images?marker={number}"} for number in count()),
        [{"images": [dict.fromkeys(WHOLE, "1")], "next": 5}],
        [{"images": [{"id": 1}]}],
        [{"images": [{"name": "x"}]}],
        [{"images": ["x"]}],
        [{"images": {}}],
        ["images"],
    ],
    ids=["endless", "no-address", "no-text", "no-id", "no-image", "no-list", "no-object"],
)
def test_what_is_no_listing_is_refused(pages):
    with pytest.raises(AnswerError, match="listing|image"):
        list(Stranger(pages).pages(owner=VO))
