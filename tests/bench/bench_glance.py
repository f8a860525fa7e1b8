"""Glance: uploading, a pass with nothing to do, and the whole way, against the best that a script can do.

All against one real Keystone and Glance on loopback, started for this.

* Upload of 2 GiB: the backend's ``upload`` against ``curl -T`` to the same endpoint; both make a record first.
* Nothing to do over 1,000 images: opening the target, listing, planning, against a plain loop of ``requests`` that logs
  in and follows ``GET /v2/images`` page by page.
* Peak memory of a pass, by the size of the image that it uploads.
* The whole way of ten images of 300 MiB, half of which need conversion: ``imagesync sync`` against a shell script that
  does the same checks, one image after the other, and two at a time (``xargs -P 2``).
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1] / "live"))

import harness
from cloud.cloud import Cloud
from glance_catalogue import nothing_to_do
from glance_memory import memory
from glance_upload import upload
from glance_way import whole_way


@contextmanager
def _cloud() -> Iterator[Cloud]:
    with TemporaryDirectory(prefix="bench-glance-") as root, Cloud(Path(root) / "cloud") as cloud:
        yield cloud


def measure() -> list[harness.Measurement]:
    """Return what each of these gives, and log it at once: the whole takes half an hour."""
    results = []
    with _cloud() as cloud, TemporaryDirectory(prefix="bench-glance-files-") as files:
        for measured in (upload, memory, whole_way, nothing_to_do):
            found = measured(cloud, Path(files))
            harness.log(harness.table(found))
            results += found
    return results
