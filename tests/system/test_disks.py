"""Disks that are full, read-only, or gone, and power that fails: the cache and a directory target together.

After each of these the next pass makes up for it, and no moment offers a file that is not whole.
"""

import gzip
import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from imagesync_directory import open_backend

from imagesync.backend import Context, Format, ImageKey, ImageSpec, Metadata, Retirement, State
from imagesync.errors import BackendError, ImagesyncError, NoSpaceError, StoreError
from imagesync.images.prepare import ArtifactRequest, prepare
from imagesync.images.store import Store
from imagesync.testing.power import Power

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PAGE = 4096
KIB = 1 << 10


@dataclass
class Library:
    """One endorsed image that a directory target offers; where it is published ``packed``, the cache unpacks it."""

    root: Path
    packed: bool = False
    inner: int = 24 * KIB
    boots: int = 0

    def image(self, version):
        """Return a raw disk with one partition, and what is published of it."""
        entry = struct.pack("<B3sB3sII", 0x80, b"\0\2\0", 0x83, b"\0\0\0", 1, self.inner // 512 - 1)
        disk = random.Random(version).randbytes(446) + entry.ljust(64, b"\0") + b"\x55\xaa"
        disk += random.Random(-version).randbytes(self.inner - len(disk))
        return disk, gzip.compress(disk, mtime=0) if self.packed else disk

    def publish(self, version, during=None):
        """Do what a pass does for a new version; ``during`` is called with what goes on."""
        during = during or (lambda _: None)
        disk, published = self.image(version)

        def fetch(into, progress):
            into.write_bytes(published)
            during("download")
            return len(published)

        self.boots += 1  # whatever happened before may have been a power cut
        store = Store(self.root / "cache", reserve_bytes=0, boot=str(self.boots))
        request = ArtifactRequest(sha512(published), len(published), (Format.RAW,))
        with (
            open_backend({"path": str(self.root / "site")}, Context("site", "imagesync")) as backend,
            prepare(request, store, fetch, lambda _: None) as artifact,
        ):
            owned = backend.owned()
            assert artifact.digest == sha512(disk)
            spec = ImageSpec(
                ImageKey("", "list", "image"), f"{version:064x}", Metadata("Image", {}), Format.RAW,
                artifact.digest, artifact.size, artifact.virtual_size, 1, NOW, artifact.linkable,
            )  # fmt: skip
            stored = backend.upload(spec, artifact.path, lambda _: during("upload"))
            assert stored.digest == artifact.digest
            backend.publish(stored.ref)
            for old in owned:
                if old.ref != stored.ref and old.state is State.PUBLISHED:
                    backend.retire(old.ref, Retirement(NOW, "superseded", superseded=True))

    def offered(self):
        """Return the digests of what is published, after seeing that each file is whole."""
        path = self.root / "site" / "catalogue.json"
        entries = json.loads(path.read_bytes())["images"] if path.exists() else []
        published = [one for one in entries if one["state"] == "published"]
        for one in published:
            content = (self.root / "site" / one["file"]).read_bytes()
            assert (len(content), sha512(content)) == (one["size"], one["sha512"])
        return {one["sha512"] for one in published}

    def digest(self, version):
        return sha512(self.image(version)[0])


def sha512(content):
    return hashlib.sha512(content).hexdigest()


@pytest.fixture
def library(tmp_path):
    (tmp_path / "machine").mkdir()
    return Library(tmp_path / "machine")


# --- power cut ---
@pytest.mark.parametrize("before", [(), (1,)], ids=["the first image", "a new version"])
@pytest.mark.parametrize("packed", [False, True])
def test_after_a_power_cut_at_any_moment_nothing_short_is_offered_and_the_next_pass_converges(
    small_disk, tmp_path, before, packed
):
    library = Library(small_disk(tmp_path / "small", "1g"), packed)  # in memory, where waiting for the disk is short
    for version in before:
        library.publish(version)
    with Power(library.root) as power:
        library.publish(2)

    assert len(power.cuts) > 50
    for cut in power.cuts:
        cut.leave(library.root)
        offered = library.offered()
        assert offered <= {library.digest(1), library.digest(2)}, cut.moment
        assert offered or not before, cut.moment
        library.publish(2)
        assert library.offered() == {library.digest(2)}, cut.moment


def test_the_model_of_a_power_cut_would_notice_a_missing_sync(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    with Power(root) as power:
        (root / "new").write_bytes(b"content")
        (root / "new").rename(root / "name")
        descriptor = os.open(root, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    left = {cut.moment: cut.tree for cut in power.cuts}

    assert left["after rename 1, lost bytes"]["name"].content == b""
    assert left["after rename 1, lost content"]["name"].content == bytes(7)
    assert left["before rename 1, lost names"] == {}
    assert left["after fsync 2, lost names"]["name"].content == b""


# --- full ---
def ballast(root, pages):
    """Leave so many pages free."""
    path = root / "ballast"
    path.unlink(missing_ok=True)
    free = shutil.disk_usage(root).free - pages * PAGE
    with path.open("wb") as file:
        while free > 0:
            free -= file.write(bytes(min(free, 1 << 16)))
    assert shutil.disk_usage(root).free == pages * PAGE
    return path


def test_a_disk_that_is_full_at_any_write_is_an_error_of_ours_and_the_next_pass_makes_up_for_it(small_disk, tmp_path):
    library = Library(small_disk(tmp_path / "small", "1m"))
    library.publish(0)
    failures = []
    for version in range(1, 60):
        full = ballast(library.root, version - 1)
        try:
            library.publish(version)
        except (NoSpaceError, StoreError, BackendError) as error:
            failures.append(error.reason)
            assert library.offered() == {library.digest(version - 1)}
        full.unlink()
        library.publish(version)
        assert library.offered() == {library.digest(version)}
        tidy(library)
        if not failures or len(failures) < version:
            break
    assert len(failures) >= 6
    assert {"no-space", "backend-refused"} <= set(failures)


def tidy(library):
    """Delete what is retired, and empty the cache, so that each round begins with the same."""
    with open_backend({"path": str(library.root / "site")}, Context("site", "imagesync")) as backend:
        for image in backend.owned():
            if image.state is not State.PUBLISHED:
                backend.delete(image.ref)
    shutil.rmtree(library.root / "cache")


# --- read-only, gone ---
def remount(point, how):
    subprocess.run(["mount", "-o", f"remount,{how}", str(point)], check=True)


@pytest.mark.parametrize("area", ["cache", "site"])
def test_what_became_read_only_is_an_error_of_ours_until_it_is_writable_again(small_disk, library, area):
    point = small_disk(library.root / area, "2m")
    library.publish(1)
    remount(point, "ro")
    try:
        with pytest.raises((StoreError, BackendError), match="(?i)read-only file system"):
            library.publish(2)
        assert library.offered() == {library.digest(1)}
    finally:
        remount(point, "rw")

    library.publish(2)
    assert library.offered() == {library.digest(2)}


@pytest.mark.parametrize("area", ["cache", "site"])
@pytest.mark.parametrize("moment", ["download", "upload"])
def test_a_directory_that_is_removed_under_our_feet_is_made_anew_by_the_next_pass(library, area, moment):
    library.publish(1)

    def remove(what):
        if what == moment:
            shutil.rmtree(library.root / area)

    with suppress(ImagesyncError):
        library.publish(2, remove)
    library.offered()

    library.publish(2)
    assert library.offered() == {library.digest(2)}
