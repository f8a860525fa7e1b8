"""The promises of the port, kept by a real Glance."""

from __future__ import annotations

import pytest
from imagesync_glance import open_backend

from imagesync.testing.conformance import BackendConformance, Bench, ChangePromises, Subject

TAG = "imagesync:conformance"
OURS = {"imagesync_list": "list-1", "imagesync_image": "image-1", "imagesync_fingerprint": "f" * 64}
RECORD = '{"at": "2026-03-01T12:00:00+00:00", "list": "list-1", "image": "image-1", "fingerprint": "f"}'


def plant(site):
    """Put images of others into the project, most of them very much like ours."""
    images = site.images
    images.add("Title of image-1", **OURS)
    images.add("Title of image-1", os_hidden=True, **OURS)
    images.add("snapshot", tags=[TAG], image_type="snapshot", **OURS)
    images.add("server", tags=[TAG], base_image_ref="0" * 8, imagesync_record=RECORD, **OURS)
    images.add("tag alone", tags=[TAG])
    images.add("almost the tag", tags=[f"{TAG}2", "imagesync", "conformance"], **OURS)
    images.create(name="no bytes", **OURS)


def untouched(site):
    """Return every record that is none of ours, as it is."""
    found = {image["id"]: image for hidden in ("false", "true") for image in site.images.list(os_hidden=hidden)}
    names = {"snapshot", "server", "tag alone"}
    return {key: image for key, image in found.items() if TAG not in image["tags"] or image["name"] in names}


def make_subject(site):
    return Subject(
        open_backend,
        site.settings,
        plant_foreign=lambda: plant(site),
        foreign=lambda: untouched(site),
        annotate=lambda ref: site.change(ref, note="of somebody else"),
        annotation=lambda ref: site.show(ref).get("note"),
    )


class TestPerProject(BackendConformance):
    @pytest.fixture
    def subject(self, site) -> Subject:
        return make_subject(site)


class TestShared(ChangePromises):
    """What is uploaded and how it is listed does not depend on who shares it."""

    @pytest.fixture
    def subject(self, shared_site) -> Subject:
        return make_subject(shared_site)

    @pytest.fixture
    def bench(self, subject, tmp_path) -> Bench:
        return Bench(subject, tmp_path)
