import errno
import fcntl
import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from imagesync_directory.backend import DirectoryTarget
from imagesync_directory.disk import Disk
from imagesync_directory.settings import Settings

from imagesync.backend import Context, FileFacts, Format, ImageSpec, Retirement, State
from imagesync.errors import (
    BackendConflictError,
    BackendRefusedError,
    BackendUnavailableError,
    StoredDigestError,
)
from imagesync.testing.conformance import Bench, Subject
from imagesync.testing.subject import LATER, NOW, listed

Look = Callable[[], dict[str, str]]
Read = Callable[[], dict[str, Any]]


def file_of(root: Path, number: int = 1) -> Path:
    return root / (hashlib.sha256(f"{number}".encode()).hexdigest() + ".raw")


def open_on(root: Path, disk: Disk, lock_timeout: float = 5.0) -> DirectoryTarget:
    return DirectoryTarget(Settings(root, lock_timeout), Context("t", "conformance"), disk)


# --- the catalogue as others read it ----------------------------------------------------------------------------------
def test_a_published_image_is_in_the_catalogue(bench: Bench, root: Path, catalogue: Read) -> None:
    with bench.subject.open() as backend:
        published = bench.publish(backend)
    spec = bench.spec()

    assert catalogue() == {
        "images": [
            {
                "key": {"owner": "", "list": "list-1", "image": "image-1"},
                "file": file_of(root).name,
                "link": "Title of image-1.raw",
                "state": "published",
                "format": "raw",
                "size": spec.size,
                "sha512": spec.digest,
                "virtual_size": spec.virtual_size,
                "name": "Title of image-1",
                "properties": published.metadata.properties,
                "min_ram": 512,
                "min_disk": 1,
                "fingerprint": spec.fingerprint,
                "created_at": "2026-03-01T12:30:15+00:00",
                "mtime_ns": file_of(root).stat().st_mtime_ns,
                "instance": "conformance",
            }
        ]
    }


def test_what_is_not_offered_yet_is_apart(bench: Bench, catalogue: Read) -> None:
    with bench.subject.open() as backend:
        bench.upload(backend)

    assert catalogue()["images"] == []
    assert [entry["state"] for entry in catalogue()["pending"]] == ["staged"]


def test_a_new_directory_has_an_empty_catalogue(bench: Bench, catalogue: Read, visible: Look) -> None:
    with bench.subject.open():
        assert (catalogue(), visible()) == ({"images": []}, {})


def test_keys_of_others_are_kept(bench: Bench, root: Path, catalogue: Read) -> None:
    with bench.subject.open() as backend:
        (root / "catalogue.json").write_text(json.dumps({"images": [], "site": {"name": "x"}}))
        bench.publish(backend)

        assert catalogue()["site"] == {"name": "x"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"images": [',
        b"[]",
        b"null",
        b"{}",
        b'{"images": {}}',
        b'{"images": [{}]}',
        b'{"images": [7]}',
        b'{"images": [], "removing": []}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_broken_catalogue_is_an_error_and_never_empty(bench: Bench, root: Path, content: bytes) -> None:
    root.mkdir()
    (root / "catalogue.json").write_bytes(content)

    with pytest.raises(BackendUnavailableError, match=r"catalogue\.json: is no catalogue.*restore it from a backup"):
        bench.subject.open().__enter__()
    assert (root / "catalogue.json").read_bytes() == content


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("file", "../outside"),
        ("file", "/etc/passwd"),
        ("file", ".imagesync"),
        ("link", "a/b"),
        ("state", "gone"),
        ("format", "floppy"),
        ("created_at", "2026-01-01"),
        ("size", "7"),
        ("properties", []),
        ("properties", {"a": 1}),
        ("key", None),
    ],
)
def test_a_record_of_another_form_is_an_error(
    bench: Bench, root: Path, catalogue: Read, name: str, value: object
) -> None:
    with bench.subject.open() as backend:
        bench.publish(backend)
        form = catalogue()
        form["images"][0][name] = value
        (root / "catalogue.json").write_text(json.dumps(form))

        with pytest.raises(BackendUnavailableError, match="is no catalogue"):
            backend.owned()


def test_images_are_entered_again_without_copying_after_the_catalogue_was_lost(bench: Bench, root: Path) -> None:
    with bench.subject.open() as backend:
        before = bench.publish(backend)
    inode = file_of(root).stat().st_ino
    (root / "catalogue.json").unlink()

    with bench.subject.open() as backend:
        assert listed(backend) == {}
        assert bench.publish(backend) == before
    assert file_of(root).stat().st_ino == inode


# --- files ------------------------------------------------------------------------------------------------------------
def test_a_file_is_read_only_and_no_link_to_what_was_handed_over(bench: Bench, root: Path) -> None:
    with bench.subject.open() as backend:
        bench.upload(backend)

    facts = file_of(root).stat()
    assert oct(facts.st_mode & 0o777) == "0o444"
    assert facts.st_nlink == 1
    assert file_of(root).read_bytes() == bench.file(1).read_bytes()


def test_images_with_equal_bytes_share_a_file_until_the_last_goes(bench: Bench, root: Path, visible: Look) -> None:
    copied: list[int] = []
    with bench.subject.open() as backend:
        one = bench.publish(backend, "image-1")
        two = backend.upload(bench.spec("image-2"), bench.file(1), copied.append)
        backend.delete(one.ref)
        assert (copied, list(visible())) == ([], [file_of(root).name])
        backend.delete(two.ref)

        assert visible() == {}


def test_instances_share_files_and_nothing_else(bench: Bench, root: Path) -> None:
    with bench.subject.open("one") as one, bench.subject.open("two") as two:
        first, second = bench.publish(one), bench.publish(two)
        one.delete(first.ref)
        assert file_of(root).exists()
        two.delete(second.ref)

        assert not file_of(root).exists()


def test_holes_stay_holes_and_are_hashed(bench: Bench, root: Path) -> None:
    with bench.file(1).open("wb") as stream:
        stream.seek(3 * 2**20 + 17)
        stream.write(b"data")
        stream.truncate(16 * 2**20 + 1)
    with bench.subject.open() as backend:
        uploaded = bench.upload(backend)

    assert uploaded.digest == hashlib.sha512(bench.file(1).read_bytes()).hexdigest()
    assert file_of(root).read_bytes() == bench.file(1).read_bytes()
    assert file_of(root).stat().st_blocks * 512 < 2**20


def test_a_file_with_other_bytes_for_the_same_fingerprint_is_left_as_it_is(bench: Bench, root: Path) -> None:
    """Another version of qemu-img may convert to other bytes; guests stand on the first ones."""
    with bench.subject.open() as backend:
        one = bench.publish(backend, "image-1", 1)
        spec = replace(bench.spec("image-2", 2), fingerprint=one.fingerprint)
        two = backend.upload(spec, bench.file(2), lambda _: None)

        assert (two.digest, listed(backend)[one.ref]) == (spec.digest, one)
    assert file_of(root).read_bytes() == bench.file(1).read_bytes()
    assert file_of(root).with_stem(file_of(root).stem + "-2").read_bytes() == bench.file(2).read_bytes()


def test_a_foreign_file_with_our_name_is_left_alone(bench: Bench, root: Path) -> None:
    root.mkdir()
    file_of(root).write_bytes(b"foreign")
    with bench.subject.open() as backend:
        backend.delete(bench.publish(backend).ref)

    assert file_of(root).read_bytes() == b"foreign"


def test_a_tampered_file_stays_until_its_record_is_deleted(bench: Bench, root: Path, visible: Look) -> None:
    with bench.subject.open() as backend:
        bad = bench.publish(backend)
        file_of(root).chmod(0o644)
        file_of(root).write_bytes(b"changed in place")
        good = bench.publish(backend)
        backend.retire(bad.ref, Retirement(NOW, "tampered", superseded=True))
        assert file_of(root).read_bytes() == b"changed in place"
        backend.delete(bad.ref)

        other = file_of(root).stem + "-2.raw"
        assert visible() == {other: "", "Title of image-1.raw": other}
        assert listed(backend) == {good.ref: good}


def test_nothing_is_read_when_nothing_changed(bench: Bench, root: Path) -> None:
    with bench.subject.open() as backend:
        published = bench.publish(backend)
    facts = file_of(root).stat()
    file_of(root).chmod(0o644)
    file_of(root).write_bytes(b"x" * facts.st_size)
    os.utime(file_of(root), ns=(facts.st_atime_ns, facts.st_mtime_ns))

    with bench.subject.open() as backend:
        assert listed(backend) == {published.ref: published}


def test_a_touched_file_is_read_once_and_noted(bench: Bench, root: Path, catalogue: Read) -> None:
    with bench.subject.open() as backend:
        published = bench.publish(backend)
        os.utime(file_of(root), ns=(1, 1))

        assert listed(backend) == {published.ref: published}
        assert catalogue()["images"][0]["mtime_ns"] == 1
        assert "observed" not in catalogue()["images"][0]


def test_a_changed_file_is_read_once_and_noted(bench: Bench, root: Path, catalogue: Read) -> None:
    with bench.subject.open() as backend:
        published = bench.publish(backend)
        file_of(root).chmod(0o644)
        file_of(root).write_bytes(b"changed")
        changed = hashlib.sha512(b"changed").hexdigest()

        assert [(image.digest, image.size) for image in backend.owned()] == [(changed, 7)]
        (entry,) = catalogue()["images"]
        assert (entry["observed"]["sha512"], entry["sha512"]) == (changed, published.digest)
        assert [image.digest for image in backend.owned()] == [changed]


def test_a_changed_file_is_not_published(bench: Bench, root: Path) -> None:
    with bench.subject.open() as backend:
        staged = bench.upload(backend)
        file_of(root).unlink()
        file_of(root).write_bytes(b"changed")

        with pytest.raises(BackendConflictError, match="other bytes than were uploaded"):
            backend.publish(staged.ref)


def test_a_staged_image_cannot_be_retired(bench: Bench) -> None:
    with bench.subject.open() as backend:
        staged = bench.upload(backend)
        with pytest.raises(BackendConflictError, match="was never published"):
            backend.retire(staged.ref, LATER)


def test_a_size_other_than_promised_is_refused(bench: Bench) -> None:
    with bench.subject.open() as backend:
        with pytest.raises(StoredDigestError, match="bytes instead of 7"):
            backend.upload(replace(bench.spec(), size=7), bench.file(1), lambda _: None)

        assert listed(backend) == {}


class Uncloned(Disk):
    """A file system that cannot share blocks, wherever the tests run."""

    def clone(self, source: int, into: int) -> bool:
        return False


class CloningDisk(Disk):
    """A file system that can share blocks, in its effect."""

    def __init__(self, spoil: bytes = b"") -> None:
        self.spoil = spoil

    def clone(self, source: int, into: int) -> bool:
        os.write(into, os.pread(source, os.fstat(source).st_size, 0) + self.spoil)
        return True


def test_shared_blocks_are_hashed_from_the_new_file(bench: Bench, root: Path) -> None:
    done: list[int] = []
    with open_on(root, CloningDisk()) as backend:
        uploaded = backend.upload(bench.spec(), bench.file(1), done.append)

    assert (uploaded.digest, sum(done)) == (bench.spec().digest, bench.spec().size)


def test_wrong_shared_blocks_are_refused(bench: Bench, root: Path, visible: Look) -> None:
    with open_on(root, CloningDisk(b"!")) as backend, pytest.raises(StoredDigestError):
        bench.upload(backend)

    assert visible() == {}


# --- links to what was handed over ------------------------------------------------------------------------------------
def linkable(bench: Bench) -> ImageSpec:
    """Return a specification of a file whose digest was just computed, and that nobody writes to again."""
    return replace(bench.spec(), linkable=FileFacts.of(bench.file(1).stat()))


def test_a_file_that_nobody_writes_to_again_is_linked_to(bench: Bench, root: Path) -> None:
    done: list[int] = []
    with open_on(root, Uncloned()) as backend:
        spec = linkable(bench)
        uploaded = backend.upload(spec, bench.file(1), done.append)
        backend.publish(uploaded.ref)

    assert file_of(root).samefile(bench.file(1))
    assert oct(file_of(root).stat().st_mode & 0o777) == "0o444"
    assert (uploaded.digest, sum(done)) == (spec.digest, spec.size)
    assert [path.name for path in (root / ".imagesync" / "partial").iterdir()] == []


def written_to(file: Path) -> None:
    os.utime(file, ns=(1, 1))


def linked_before(file: Path) -> None:
    file.with_name("other").hardlink_to(file)


def labelled(file: Path) -> None:
    os.setxattr(file, "user.label", b"its own")


@pytest.mark.parametrize("objection", [written_to, linked_before, labelled], ids=lambda objection: objection.__name__)
def test_what_speaks_against_a_link_makes_it_a_copy(
    bench: Bench, root: Path, objection: Callable[[Path], None]
) -> None:
    with open_on(root, Uncloned()) as backend:
        spec = linkable(bench)
        objection(bench.file(1))
        uploaded = backend.upload(spec, bench.file(1), lambda _: None)

    assert not file_of(root).samefile(bench.file(1))
    assert uploaded.digest == spec.digest


def test_what_a_guest_has_open_is_copied(bench: Bench, root: Path) -> None:
    with open_on(root, Uncloned()) as backend, bench.file(1).open("rb") as guest:
        share = struct.pack("@hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 201, 1, 0)
        fcntl.fcntl(guest, fcntl.F_OFD_SETLK, share)
        backend.upload(linkable(bench), bench.file(1), lambda _: None)

    assert not file_of(root).samefile(bench.file(1))


def test_links_can_be_switched_off(bench: Bench, root: Path) -> None:
    settings = Settings(root, 5.0, link=False)
    with DirectoryTarget(settings, Context("t", "conformance"), Uncloned()) as backend:
        backend.upload(linkable(bench), bench.file(1), lambda _: None)

    assert not file_of(root).samefile(bench.file(1))


def test_where_no_link_can_be_made_the_bytes_are_copied(bench: Bench, root: Path, tmp_path: Path) -> None:
    other = Path("/dev/shm") / f"imagesync-test-{os.getpid()}"  # another file system
    other.write_bytes(bench.file(1).read_bytes())
    try:
        with open_on(root, Uncloned()) as backend:
            spec = replace(bench.spec(), linkable=FileFacts.of(other.stat()))
            assert backend.upload(spec, other, lambda _: None).digest == spec.digest
    finally:
        other.unlink()

    assert file_of(root).stat().st_nlink == 1


def test_what_a_killed_process_linked_is_not_written_to_by_the_next(
    bench: Bench, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_on(root, Uncloned()) as backend:
        monkeypatch.setattr(backend, "_abandon", lambda _entry: None)  # as nobody does who is killed
        bench.interrupt(backend)
        (ref,) = listed(backend)
        partial = root / ".imagesync" / "partial" / ref
        partial.unlink()
        partial.hardlink_to(bench.file(1))
        content = bench.file(1).read_bytes()
        bench.upload(backend)

    assert bench.file(1).read_bytes() == content
    assert not file_of(root).samefile(bench.file(1))


# --- links ------------------------------------------------------------------------------------------------------------
def test_a_link_is_there_as_long_as_the_image_is_published(bench: Bench, root: Path, visible: Look) -> None:
    offered = {file_of(root).name: "", "Title of image-1.raw": file_of(root).name}
    with bench.subject.open() as backend:
        image = bench.upload(backend)
        assert visible() == {file_of(root).name: ""}
        backend.publish(image.ref)
        assert visible() == offered
        backend.retire(image.ref, LATER)
        assert visible() == {file_of(root).name: ""}
        backend.publish(image.ref)

        assert visible() == offered


def test_a_replacement_takes_over_the_link(bench: Bench, root: Path, visible: Look) -> None:
    with bench.subject.open() as backend:
        old = bench.publish(backend, number=1)
        bench.publish(backend, number=2)
        assert visible()["Title of image-1.raw"] == file_of(root, 2).name
        backend.retire(old.ref, Retirement(NOW, "superseded", superseded=True))

        assert visible()["Title of image-1.raw"] == file_of(root, 2).name


def test_the_link_falls_back_to_what_is_still_published(bench: Bench, root: Path, visible: Look) -> None:
    with bench.subject.open() as backend:
        bench.publish(backend, number=1)
        backend.retire(bench.publish(backend, number=2).ref, LATER)

        assert visible()["Title of image-1.raw"] == file_of(root, 1).name


def test_a_new_title_moves_the_link(bench: Bench, root: Path, visible: Look) -> None:
    with bench.subject.open() as backend:
        image = bench.publish(backend)
        backend.update(image.ref, replace(image.metadata, name="a/b"))
        backend.owned()

        assert visible() == {file_of(root).name: "", "a_b.raw": file_of(root).name}


def test_of_two_equal_titles_the_first_has_the_plain_link(bench: Bench, root: Path, visible: Look) -> None:
    with bench.subject.open() as backend:
        one, two = bench.publish(backend, "image-1", 1), bench.publish(backend, "image-2", 2)
        backend.update(two.ref, one.metadata)
        backend.owned()
        links = {name: target for name, target in visible().items() if target}

        assert links.pop("Title of image-1.raw") == file_of(root, 1).name
        ((name, target),) = links.items()
        assert (name.startswith("Title of image-1-"), target) == (True, file_of(root, 2).name)

        backend.retire(one.ref, LATER)
        assert visible()[name] == target


# --- updates are written together ------------------------------------------------------------------------------------
class Counting(Disk):
    """Counts how often the catalogue is replaced, and fails when told to."""

    def __init__(self) -> None:
        self.replaced = 0
        self.full = False

    def rename(self, old: Path, new: Path) -> None:
        self.replaced += new.name == "catalogue.json"
        super().rename(old, new)

    def create(self, path: Path) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().create(path)


def titles(catalogue: Read) -> list[str]:
    return [entry["name"] for entry in catalogue()["images"]]


def test_updates_are_written_once_on_leaving(bench: Bench, root: Path, catalogue: Read) -> None:
    disk = Counting()
    with bench.subject.open() as backend:
        images = [bench.publish(backend, f"image-{number}") for number in range(5)]
    with open_on(root, disk) as backend:
        for image in images:
            backend.update(image.ref, replace(image.metadata, name=f"New {image.metadata.name}"))
        assert disk.replaced == 0

    assert titles(catalogue) == [f"New Title of image-{number}" for number in range(5)]
    assert disk.replaced == 2  # the names of the old links are gone from the second one


@pytest.mark.parametrize("step", ["owned", "upload", "publish", "retire", "delete"])
def test_updates_are_written_with_the_next_change_or_listing(bench: Bench, catalogue: Read, step: str) -> None:
    with bench.subject.open() as backend:
        updated = bench.publish(backend, "image-1")
        staged, other = bench.upload(backend, "image-2"), bench.publish(backend, "image-3")
        calls: dict[str, Callable[[], object]] = {
            "owned": backend.owned,
            "upload": lambda: bench.upload(backend, "image-4"),
            "publish": lambda: backend.publish(staged.ref),
            "retire": lambda: backend.retire(other.ref, LATER),
            "delete": lambda: backend.delete(other.ref),
        }
        backend.update(updated.ref, replace(updated.metadata, name="New"))
        assert "New" not in titles(catalogue)
        calls[step]()

        assert "New" in titles(catalogue)


def test_an_update_leaves_what_another_session_did_meanwhile(bench: Bench) -> None:
    with bench.subject.open() as one, bench.subject.open() as two:
        gone, retired = bench.publish(one, "image-1"), bench.publish(one, "image-2")
        for image in (gone, retired):
            one.update(image.ref, replace(image.metadata, name="New"))
        two.delete(gone.ref)
        two.retire(retired.ref, LATER)

        (left,) = one.owned()
    assert (left.ref, left.metadata.name, left.state, left.retirement) == (retired.ref, "New", State.RETIRED, LATER)


def test_updates_that_cannot_be_written_fail_the_leaving(bench: Bench, root: Path, catalogue: Read) -> None:
    disk = Counting()
    with bench.subject.open() as backend:
        image = bench.publish(backend)
    with pytest.raises(BackendRefusedError, match="No space left"), open_on(root, disk) as backend:
        backend.update(image.ref, replace(image.metadata, name="New"))
        disk.full = True

    assert titles(catalogue) == [image.metadata.name]


def test_updates_that_cannot_be_written_do_not_hide_another_error(
    bench: Bench, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Counting()
    with bench.subject.open() as backend:
        image = bench.publish(backend)
    with pytest.raises(KeyboardInterrupt), open_on(root, disk) as backend:
        backend.update(image.ref, replace(image.metadata, name="New"))
        disk.full = True
        raise KeyboardInterrupt

    assert "updates are lost, the next pass repeats them" in caplog.text


def test_a_change_looks_at_its_own_link_only_and_opening_at_all(bench: Bench, root: Path, visible: Look) -> None:
    with bench.subject.open() as backend:
        bench.publish(backend, "image-1")
        (root / "Title of image-1.raw").unlink()
        bench.publish(backend, "image-2")
        assert "Title of image-1.raw" not in visible()
    with bench.subject.open():
        assert visible()["Title of image-1.raw"] == file_of(root).name


def test_a_link_that_could_not_be_made_is_made_by_the_next_change(bench: Bench, root: Path, visible: Look) -> None:
    class Reluctant(Disk):
        fails = True

        def symlink(self, target: str, path: Path) -> None:
            if self.fails:
                raise OSError(errno.EIO, "Input/output error")
            super().symlink(target, path)

    disk = Reluctant()
    with open_on(root, disk) as backend:
        staged = bench.upload(backend, "image-1")
        with pytest.raises(BackendUnavailableError):
            backend.publish(staged.ref)
        disk.fails = False
        bench.publish(backend, "image-2")

        assert visible()["Title of image-1.raw"] == file_of(root).name


def test_a_foreign_file_keeps_its_name_from_a_link(bench: Bench, root: Path, visible: Look) -> None:
    root.mkdir()
    (root / "Title of image-1.raw").write_bytes(b"foreign")
    with bench.subject.open() as backend:
        image = bench.publish(backend)
        assert len(visible()) == 3
        backend.delete(image.ref)

    assert visible() == {"Title of image-1.raw": ""}


def test_a_lost_link_comes_back_with_the_next_session(bench: Bench, root: Path, visible: Look) -> None:
    with bench.subject.open() as backend:
        bench.publish(backend)
    before = visible()
    (root / "Title of image-1.raw").unlink()
    with bench.subject.open():
        assert visible() == before


def test_a_link_that_somebody_replaced_is_left_alone(bench: Bench, root: Path, visible: Look) -> None:
    with bench.subject.open() as backend:
        image = bench.publish(backend)
        (root / "Title of image-1.raw").unlink()
        (root / "Title of image-1.raw").write_bytes(b"foreign")
        backend.delete(image.ref)

    assert (root / "Title of image-1.raw").read_bytes() == b"foreign"


# --- the directory and other processes --------------------------------------------------------------------------------
def test_only_the_last_directory_is_made(bench: Bench, root: Path, make_subject: Callable[[Path], Subject]) -> None:
    with pytest.raises(BackendUnavailableError, match="No such file or directory"):
        make_subject(root / "deeper").open().__enter__()
    assert not root.exists()


def test_a_file_in_place_of_the_directory_is_an_error(bench: Bench, root: Path) -> None:
    root.write_text("")
    with pytest.raises(BackendUnavailableError, match=str(root)):
        bench.subject.open().__enter__()


class FailingDisk(Disk):
    """Fails with an error of the system as soon as ``code`` is set."""

    def __init__(self, code: int = 0) -> None:
        self.code = code

    def write(self, descriptor: int, data: bytes | memoryview) -> None:
        if self.code:
            raise OSError(self.code, os.strerror(self.code))
        super().write(descriptor, data)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_directory_that_cannot_be_written_is_unavailable(root: Path, code: int) -> None:
    with pytest.raises(BackendUnavailableError, match="let the user of imagesync write there"):
        open_on(root, FailingDisk(code)).__enter__()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.ENOSPC, BackendRefusedError),
        (errno.EDQUOT, BackendRefusedError),
        (errno.EFBIG, BackendRefusedError),
        (errno.EIO, BackendUnavailableError),
    ],
)
def test_a_failing_disk_leaves_what_is_published(bench: Bench, root: Path, code: int, error: type[Exception]) -> None:
    disk = FailingDisk()
    with open_on(root, disk) as backend:
        old = bench.publish(backend)

        def fail(_: int) -> None:
            disk.code = code

        big = replace(bench.subject, content=lambda number: bytes([number]) * 3_000_000)
        large = Bench(big, bench.file(1).parent)
        with pytest.raises(error):
            backend.upload(large.spec(number=2), large.file(2), fail)
        disk.code = 0

        assert listed(backend)[old.ref] == old
        assert all(image.state is State.PARTIAL for image in backend.owned() if image != old)
        assert list((root / ".imagesync" / "partial").iterdir()) == []


def test_a_held_catalogue_is_waited_for_and_then_an_error(bench: Bench, root: Path) -> None:
    with bench.subject.open():
        pass
    with (
        FileLock(root / ".imagesync" / "catalogue.lock"),
        pytest.raises(BackendUnavailableError, match="another process holds the catalogue's lock"),
    ):
        open_on(root, Disk(), lock_timeout=0.01).__enter__()


def test_reading_waits_for_nobody(bench: Bench, root: Path) -> None:
    with bench.subject.open() as backend:
        published = bench.publish(backend)
        with FileLock(root / ".imagesync" / "catalogue.lock"):
            assert listed(backend) == {published.ref: published}


def test_what_another_process_uploads_is_not_deleted(bench: Bench, root: Path) -> None:
    with open_on(root, Disk(), lock_timeout=0.01) as backend:

        def delete(_: int) -> None:
            (partial,) = backend.owned()
            assert partial.state is State.PARTIAL
            with pytest.raises(BackendConflictError, match="another process is uploading"):
                backend.delete(partial.ref)

        with bench.subject.open() as other:
            other.upload(bench.spec(), bench.file(1), delete)

        assert [image.state for image in backend.owned()] == [State.STAGED]


WRITER = """
import sys
from pathlib import Path
from imagesync.testing.conformance import Bench, Subject
from imagesync.testing.subject import LATER, Subject
from imagesync_directory import open_backend

root, content, instance = sys.argv[1:]
subject = Subject(open_backend, {"path": root}, lambda: None, lambda: None)
bench = Bench(subject, Path(content))
with subject.open(instance) as backend:
    for number in range(6):
        image = bench.publish(backend, f"image-{number}", number % 3)
        if number % 2:
            backend.retire(image.ref, LATER)
"""


def test_processes_at_the_same_time_lose_nothing(bench: Bench, root: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    names = ["one", "two", "three"]
    running = []
    for name in names:
        (tmp_path / name).mkdir()
        command = [sys.executable, "-c", WRITER, str(root), str(tmp_path / name), name]
        running.append(subprocess.Popen(command, env=environment))
    assert [process.wait() for process in running] == [0, 0, 0]

    for name in names:
        with bench.subject.open(name) as backend:
            assert [image.state for image in backend.owned()] == [State.PUBLISHED, State.RETIRED] * 3
            assert None not in [image.digest for image in backend.owned()]
    assert len(list(root.glob("?" * 64 + ".raw"))) == 3


def test_a_file_that_a_running_qemu_has_open_is_not_deleted(bench: Bench, root: Path) -> None:
    command = ["qemu-io", "-r", "-f", "raw", str(file_of(root))]
    with bench.subject.open() as backend:
        image = bench.publish(backend)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as qemu:
            assert qemu.stdin
            assert qemu.stdout
            qemu.stdin.write(b"length\n")
            qemu.stdin.flush()
            assert qemu.stdout.readline()
            with pytest.raises(BackendConflictError, match="is open in a running QEMU"):
                backend.delete(image.ref)
            qemu.stdin.write(b"quit\n")
        assert listed(backend) == {image.ref: image}
        backend.delete(image.ref)

        assert listed(backend) == {}


def test_leftovers_that_no_record_knows_are_swept(bench: Bench, root: Path) -> None:
    with bench.subject.open():
        pass
    (root / ".imagesync" / "partial" / "unknown").write_bytes(b"x")
    (root / ".imagesync" / "catalogue.new").write_bytes(b"x")
    (root / ".imagesync" / "link.new").symlink_to("nowhere")
    with bench.subject.open():
        assert [path.name for path in (root / ".imagesync").iterdir() if path.suffix != ".lock"] == ["partial"]
        assert list((root / ".imagesync" / "partial").iterdir()) == []


def test_every_format_is_taken(bench: Bench) -> None:
    with bench.subject.open() as backend:
        assert backend.capabilities().formats == frozenset(Format)
        assert list(backend.owners("any")) == [""]
