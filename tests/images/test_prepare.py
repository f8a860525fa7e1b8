"""From an endorsed image to the file that a target takes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from imagesync.backend import FileFacts, Progress
from imagesync.errors import (
    BackendRefusedError,
    CacheDamagedError,
    ConversionError,
    DigestMismatchError,
    HostileImageError,
    NoSpaceError,
    StoredDigestError,
    ToolMissingError,
    UnreachableError,
    UnsupportedFormatError,
)
from imagesync.images.confine import STANDARD_PATH
from imagesync.images.convert import ConversionLimits, ConversionOptions
from imagesync.images.entries import converted_name, record_path, source_name
from imagesync.images.inspect import inspect
from imagesync.images.prepare import Artifact, ArtifactRequest, prepare
from imagesync.images.store import Store
from imagesync.model import Digest, Format

MIB = 1 << 20
GIB = 1 << 30
DigestOf = Callable[[Path], Digest]


def quiet(_count: int) -> None:
    pass


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", reserve_bytes=0)


@pytest.fixture
def request_for(digest: DigestOf) -> Callable[..., ArtifactRequest]:
    def build(source: Path, *formats: Format, **more: Any) -> ArtifactRequest:
        return ArtifactRequest(digest(source), source.stat().st_size, formats, **more)

    return build


def leftovers(store: Store) -> list[Path]:
    return list((store.root / "tmp").iterdir())


def test_an_acceptable_image_is_passed_through(
    store: Store, real: dict[str, Path], request_for: Any, fetcher: Any
) -> None:
    request = request_for(real["qcow2"], Format.RAW, Format.QCOW2)
    with prepare(request, store, fetcher(real["qcow2"]), quiet) as artifact:
        assert artifact == Artifact(
            path=store.root / "sources" / request.sha512,
            digest=request.sha512,
            size=request.size,
            virtual_size=8 * MIB,
            format=Format.QCOW2,
            source_format=Format.QCOW2,
            converted=False,
            downloaded=request.size,
            linkable=FileFacts.of(artifact.path.stat()),
        )
        assert artifact.path.read_bytes() == real["qcow2"].read_bytes()


def test_another_format_is_converted_to_the_first_one(
    store: Store, real: dict[str, Path], request_for: Any, fetcher: Any, digest: DigestOf
) -> None:
    request = request_for(real["vmdk"], Format.RAW, Format.QCOW2)
    with prepare(request, store, fetcher(real["vmdk"]), quiet) as artifact:
        assert (artifact.format, artifact.source_format, artifact.converted) == (Format.RAW, Format.VMDK, True)
        assert artifact.digest == digest(artifact.path) == digest(real["raw"])
        assert (artifact.size, artifact.virtual_size, artifact.tag) == (8 * MIB, 8 * MIB, "")
        assert artifact.path == store.root / converted_name(request.sha512, Format.RAW)


def test_nothing_is_downloaded_or_converted_twice(
    store: Store, real: dict[str, Path], request_for: Any, fetcher: Any, without_qemu: str
) -> None:
    fetch = fetcher(real["vmdk"])
    with prepare(request_for(real["vmdk"], Format.QCOW2), store, fetch, quiet) as first:
        pass
    again = request_for(real["vmdk"], Format.QCOW2, limits=ConversionLimits(path=without_qemu))
    with prepare(again, store, fetch, quiet) as second:
        assert (second.path, second.digest, second.downloaded) == (first.path, first.digest, 0)
    assert fetch.calls == 1


def test_a_finished_result_is_enough_when_its_source_is_gone(
    store: Store, real: dict[str, Path], request_for: Any, fetcher: Any
) -> None:
    fetch, request = fetcher(real["vmdk"]), request_for(real["vmdk"], Format.QCOW2)
    with prepare(request, store, fetch, quiet):
        pass
    assert store.discard(source_name(request.sha512))
    with prepare(request, store, fetch, quiet) as artifact:
        assert artifact.source_format is Format.VMDK
    assert fetch.calls == 1


def rot(path: Path, at: int) -> None:
    """Change a byte, as a disk does it: by nothing but its content can it be seen."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("at", [-1, 0, 15], ids=["its content", "its magic", "the offset of a backing file"])
def test_a_source_that_rotted_in_the_cache_is_not_converted_but_fetched_anew_at_once(
    at: int, store: Store, real: dict[str, Path], request_for: Any, fetcher: Any, digest: DigestOf
) -> None:
    fetch, request = fetcher(real["qcow2"]), request_for(real["qcow2"], Format.RAW)
    with prepare(request_for(real["qcow2"], Format.QCOW2), store, fetch, quiet) as source:
        rot(source.path, at)

    with prepare(request, store, fetch, quiet) as artifact:
        assert digest(artifact.path) == digest(real["raw"])
    assert fetch.calls == 2


def test_a_rotten_source_that_somebody_uses_is_an_error_of_the_cache_and_no_publishers(
    store: Store, real: dict[str, Path], request_for: Any, fetcher: Any
) -> None:
    fetch, request = fetcher(real["qcow2"]), request_for(real["qcow2"], Format.RAW)
    with prepare(request_for(real["qcow2"], Format.QCOW2), store, fetch, quiet) as source:
        rot(source.path, -1)
        with pytest.raises(CacheDamagedError, match="damaged"), prepare(request, store, fetch, quiet):
            pass
    assert fetch.calls == 1


def test_what_is_written_to_while_it_is_converted_is_not_used(
    store: Store, real: dict[str, Path], request_for: Any, fetcher: Any
) -> None:
    fetch, request = fetcher(real["qcow2"]), request_for(real["qcow2"], Format.RAW)

    def meddle(_count: int) -> None:
        (store.root / "sources" / request.sha512).open("r+b").close()
        os.utime(store.root / "sources" / request.sha512)

    with (
        pytest.raises(CacheDamagedError, match="changed while it was converted"),
        prepare(request, store, fetch, quiet, meddle),
    ):
        pass
    assert store.ls() == ()
    assert fetch.calls == 2


@pytest.mark.parametrize("wanted", [Format.QCOW2, Format.RAW])
@pytest.mark.parametrize("survived", [True, False])
def test_after_a_new_start_of_the_machine_what_is_cached_is_read_before_it_is_used(
    wanted: Format, survived: bool, store: Store, real: dict[str, Path], request_for: Any, fetcher: Any
) -> None:
    fetch, request = fetcher(real["qcow2"]), request_for(real["qcow2"], wanted)
    with prepare(request, store, fetch, quiet) as artifact:
        assert store.is_settled(next(entry for entry in store.ls() if entry.path == artifact.path))
        before, content = artifact.path.stat(), artifact.path.read_bytes()
    if not survived:
        artifact.path.write_bytes(bytes(len(content)))
        os.utime(artifact.path, ns=(before.st_atime_ns, before.st_mtime_ns))

    again = Store(store.root, reserve_bytes=0, boot="another")
    with prepare(request, again, fetch, quiet) as used:
        assert used.path.read_bytes() == content
        entry = next(entry for entry in again.ls() if entry.path == used.path)
        assert again.is_settled(entry)
        assert Store(store.root, boot="a third").is_settled(entry) == survived
    assert fetch.calls == (1 if survived or wanted is Format.RAW else 2)


def test_only_what_was_read_now_may_be_linked(
    store: Store, real: dict[str, Path], request_for: Any, fetcher: Any
) -> None:
    for wanted in (Format.QCOW2, Format.RAW):
        request = request_for(real["qcow2"], wanted)
        with prepare(request, store, fetcher(real["qcow2"]), quiet) as fresh:
            assert fresh.linkable == FileFacts.of(fresh.path.stat())
            assert fresh.path.stat().st_mode & 0o777 == 0o444
        with prepare(request, store, fetcher(real["qcow2"]), quiet) as cached:
            assert cached.linkable is None


@pytest.mark.parametrize("wanted", [Format.QCOW2, Format.RAW])
def test_what_a_target_found_to_be_other_bytes_is_dropped_from_the_cache(
    wanted: Format, store: Store, real: dict[str, Path], request_for: Any, fetcher: Any
) -> None:
    fetch, request = fetcher(real["qcow2"]), request_for(real["qcow2"], wanted)
    with pytest.raises(StoredDigestError), prepare(request, store, fetch, quiet):
        raise StoredDigestError("image", "other bytes")

    assert store.ls() == ()


def test_two_targets_of_different_formats_share_one_download(
    store: Store, real: dict[str, Path], request_for: Any, fetcher: Any
) -> None:
    fetch = fetcher(real["qcow2"])
    for wanted in (Format.RAW, Format.VMDK, Format.QCOW2):
        with prepare(request_for(real["qcow2"], wanted), store, fetch, quiet) as artifact:
            assert artifact.format is wanted
    assert fetch.calls == 1


def test_a_result_in_a_later_format_does_not_hide_the_published_file(
    store: Store, real: dict[str, Path], request_for: Any, fetcher: Any
) -> None:
    fetch = fetcher(real["qcow2"])
    with prepare(request_for(real["qcow2"], Format.RAW), store, fetch, quiet):
        pass
    with prepare(request_for(real["qcow2"], Format.RAW, Format.QCOW2), store, fetch, quiet) as artifact:
        assert not artifact.converted


def test_options_have_results_of_their_own(store: Store, real: dict[str, Path], request_for: Any, fetcher: Any) -> None:
    fetch = fetcher(real["raw"])
    request = request_for(real["raw"], Format.QCOW2, options=ConversionOptions(compress=True))
    with (
        prepare(request, store, fetch, quiet) as packed,
        prepare(request_for(real["raw"], Format.QCOW2), store, fetch, quiet) as plain,
    ):
        assert (packed.tag, plain.tag) == ("compressed", "")
        assert packed.path != plain.path
        assert packed.size < plain.size


def test_a_cached_result_that_was_not_compared_is_made_anew_where_that_is_wanted(
    store: Store, real: dict[str, Path], request_for: Any, fetcher: Any, without_qemu: str
) -> None:
    fetch = fetcher(real["vmdk"])

    def ask(compare: bool, path: str = STANDARD_PATH) -> Digest:
        options, limits = ConversionOptions(compare=compare), ConversionLimits(path=path)
        request = request_for(real["vmdk"], Format.QCOW2, options=options, limits=limits)
        with prepare(request, store, fetch, quiet) as artifact:
            return artifact.digest

    plain = ask(compare=False)
    with pytest.raises(ToolMissingError):
        ask(compare=True, path=without_qemu)
    assert ask(compare=True) == plain
    assert {ask(compare=True, path=without_qemu), ask(compare=False, path=without_qemu)} == {plain}
    assert fetch.calls == 1


def test_what_was_only_unpacked_has_nothing_to_be_compared_with(
    store: Store, build: Any, hostile: ModuleType, request_for: Any, fetcher: Any
) -> None:
    published = build("published", hostile.GOOD["gz"]())
    fetch, request = fetcher(published), request_for(published, Format.RAW, options=ConversionOptions(compare=True))
    with prepare(request, store, fetch, quiet) as first:
        pass
    assert store.discard(source_name(request.sha512))
    with prepare(request, store, fetch, quiet) as again:
        assert (again.tag, again.digest) == ("unpacked", first.digest)
    assert fetch.calls == 1


@pytest.mark.parametrize(
    ("name", "wanted", "tag"),
    [
        ("gz", Format.RAW, "unpacked"),
        ("gz", Format.QCOW2, ""),
        ("ova", Format.VMDK, "unpacked"),
        ("ova-gz", Format.RAW, ""),
    ],
)
def test_an_archive_is_unpacked_and_converted_only_if_needed(
    name: str,
    wanted: Format,
    tag: str,
    store: Store,
    request_for: Any,
    fetcher: Any,
    build: Any,
    hostile: ModuleType,
    digest: DigestOf,
) -> None:
    published = build("published", hostile.GOOD[name]())
    fetch = fetcher(published)
    with prepare(request_for(published, wanted), store, fetch, quiet) as artifact:
        assert (artifact.format, artifact.tag, artifact.converted) == (wanted, tag, True)
        assert artifact.digest == digest(artifact.path) != digest(published)
        assert inspect(artifact.path, bare=True).virtual_size == MIB
    with prepare(request_for(published, wanted), store, fetch, quiet) as again:
        assert (again.path, again.digest, again.downloaded) == (artifact.path, artifact.digest, 0)
    assert (fetch.calls, leftovers(store)) == (1, [])


def test_an_iso_is_taken_where_it_is_wanted(
    store: Store, build: Any, hostile: ModuleType, request_for: Any, fetcher: Any
) -> None:
    iso = build("x", hostile.iso())
    with prepare(request_for(iso, Format.QCOW2, Format.ISO), store, fetcher(iso), quiet) as artifact:
        assert (artifact.format, artifact.converted) == (Format.ISO, False)
    with (
        pytest.raises(UnsupportedFormatError, match="it is iso, the target takes qcow2, raw"),
        prepare(request_for(iso, Format.QCOW2, Format.RAW), store, fetcher(iso), quiet),
    ):
        pass


def test_a_hostile_image_is_not_kept(
    store: Store, tmp_path: Path, hostile: ModuleType, request_for: Any, fetcher: Any
) -> None:
    published = tmp_path / "published"
    hostile.CASES["qcow2-backing-file"].write(published)
    with (
        pytest.raises(HostileImageError),
        prepare(request_for(published, Format.QCOW2), store, fetcher(published), quiet),
    ):
        pass
    assert store.ls() == ()


def test_a_disk_over_the_limit_is_refused(store: Store, real: dict[str, Path], request_for: Any, fetcher: Any) -> None:
    request = request_for(real["qcow2"], Format.RAW, max_virtual_size=MIB)
    with (
        pytest.raises(HostileImageError, match="too-large-disk"),
        prepare(request, store, fetcher(real["qcow2"]), quiet),
    ):
        pass


def test_what_is_too_large_for_the_target_as_raw_is_not_converted(
    store: Store, real: dict[str, Path], request_for: Any, fetcher: Any, without_qemu: str
) -> None:
    limits = ConversionLimits(path=without_qemu)
    request = request_for(real["qcow2"], Format.RAW, max_size=8 * MIB - 1, limits=limits)
    with (
        pytest.raises(BackendRefusedError, match="of 8388608 bytes would be uploaded.* takes at most 8388607"),
        prepare(request, store, fetcher(real["qcow2"]), quiet),
    ):
        pass


@pytest.mark.parametrize("source", ["qcow2", "vmdk"])
def test_what_is_too_large_for_the_target_is_refused_where_only_the_file_tells(
    source: str, store: Store, real: dict[str, Path], request_for: Any, fetcher: Any
) -> None:
    with prepare(request_for(real[source], Format.QCOW2), store, fetcher(real[source]), quiet) as artifact:
        size = artifact.size
    with prepare(request_for(real[source], Format.QCOW2, max_size=size), store, fetcher(real[source]), quiet):
        pass
    with (
        pytest.raises(BackendRefusedError, match="takes at most"),
        prepare(request_for(real[source], Format.QCOW2, max_size=size - 1), store, fetcher(real[source]), quiet),
    ):
        pass


def test_a_file_of_another_size_is_refused(store: Store, real: dict[str, Path], fetcher: Any, digest: DigestOf) -> None:
    request = ArtifactRequest(digest(real["raw"]), 12345, (Format.RAW,))
    with (
        pytest.raises(DigestMismatchError, match="8388608 bytes were fetched, 12345 are endorsed"),
        prepare(request, store, fetcher(real["raw"]), quiet),
    ):
        pass
    assert (store.ls(), leftovers(store)) == ((), [])


def test_a_failed_download_leaves_nothing(store: Store, real: dict[str, Path], request_for: Any) -> None:
    def broken(into: Path, _progress: Progress) -> None:
        into.write_bytes(b"half")
        raise UnreachableError("it", "connection reset")

    with pytest.raises(UnreachableError), prepare(request_for(real["raw"], Format.RAW), store, broken, quiet):
        pass
    assert (store.ls(), leftovers(store)) == ((), [])


def test_without_qemu_img_the_source_is_kept_for_later(
    store: Store, real: dict[str, Path], request_for: Any, fetcher: Any, without_qemu: str
) -> None:
    fetch = fetcher(real["raw"])
    request = request_for(real["raw"], Format.QCOW2, limits=ConversionLimits(path=without_qemu))
    with pytest.raises(ToolMissingError, match="apt install qemu-utils"), prepare(request, store, fetch, quiet):
        pass
    with prepare(request_for(real["raw"], Format.QCOW2), store, fetch, quiet):
        pass
    assert (fetch.calls, leftovers(store)) == (1, [])


def test_qemu_img_killed_half_way_leaves_no_result(
    store: Store, tmp_path: Path, hostile: ModuleType, request_for: Any, fetcher: Any
) -> None:
    slow = tmp_path / "slow"
    slow.write_bytes(hostile.mbr() + os.urandom(192 * MIB))

    def kill(_count: int) -> None:
        for child in psutil.Process().children(recursive=True):
            if child.name() == "qemu-img":
                child.kill()

    request = request_for(slow, Format.QCOW2, options=ConversionOptions(compress=True))
    with pytest.raises(ConversionError, match="SIGKILL"), prepare(request, store, fetcher(slow), quiet, kill):
        pass
    assert [entry.name for entry in store.ls()] == [source_name(request.sha512)]
    assert leftovers(store) == []


def test_progress_counts_the_download_and_the_conversion(
    store: Store, real: dict[str, Path], request_for: Any, fetcher: Any
) -> None:
    downloaded: list[int] = []
    converted: list[int] = []
    request = request_for(real["vmdk"], Format.QCOW2)
    with prepare(request, store, fetcher(real["vmdk"]), downloaded.append, converted.append):
        pass
    assert (sum(downloaded), sum(converted)) == (request.size, request.size)


def test_a_turn_is_taken_for_unpacking_and_conversion_and_not_for_the_download(
    store: Store, real: dict[str, Path], request_for: Any, fetcher: Any
) -> None:
    entered: list[bool] = []

    @contextmanager
    def turn() -> Iterator[None]:
        entered.append(True)
        yield
        entered.clear()

    seen: list[tuple[str, bool]] = []
    request = request_for(real["vmdk"], Format.QCOW2, turn=turn())
    with prepare(
        request,
        store,
        fetcher(real["vmdk"]),
        lambda _: seen.append(("download", bool(entered))),
        lambda _: seen.append(("convert", bool(entered))),
    ):
        assert entered == []
    assert set(seen) == {("download", False), ("convert", True)}


def test_the_artifact_is_held_while_it_is_used(
    store: Store, real: dict[str, Path], request_for: Any, fetcher: Any
) -> None:
    request = request_for(real["raw"], Format.QCOW2)
    with prepare(request, store, fetcher(real["raw"]), quiet) as artifact:
        Store(store.root, max_bytes=0, reserve_bytes=0).prune()
        assert [entry.path for entry in store.ls()] == [artifact.path]
    Store(store.root, max_bytes=0, reserve_bytes=0).prune()
    assert store.ls() == ()


def test_a_result_keeps_to_the_cap_at_the_cost_of_what_nobody_uses(
    store: Store, real: dict[str, Path], request_for: Any, fetcher: Any
) -> None:
    capped = Store(store.root, max_bytes=real["vmdk"].stat().st_size, reserve_bytes=0)
    with prepare(request_for(real["vmdk"], Format.QCOW2), capped, fetcher(real["vmdk"]), quiet) as artifact:
        assert [entry.path for entry in store.ls()] == [artifact.path]


def test_a_broken_result_is_made_anew(
    store: Store, real: dict[str, Path], request_for: Any, fetcher: Any, digest: DigestOf
) -> None:
    fetch, request = fetcher(real["raw"]), request_for(real["raw"], Format.QCOW2)
    with prepare(request, store, fetch, quiet) as first:
        pass
    first.path.write_bytes(b"rubbish")
    with prepare(request, store, fetch, quiet) as second:
        assert digest(second.path) == second.digest == first.digest
    assert fetch.calls == 1


def test_a_cached_result_that_a_rule_refuses_is_not_used(
    store: Store, real: dict[str, Path], request_for: Any, fetcher: Any, hostile: ModuleType
) -> None:
    request = request_for(real["raw"], Format.QCOW2)
    with prepare(request, store, fetcher(real["raw"]), quiet) as artifact:
        pass
    status, side = artifact.path.stat(), record_path(artifact.path).read_text("utf-8")
    hostile.sparsely(artifact.path, hostile.qcow2(backing_offset=200).ljust(status.st_size, b"\0"))
    os.utime(artifact.path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert record_path(artifact.path).read_text("utf-8") == side
    with prepare(request, store, fetcher(real["raw"]), quiet) as again:
        assert inspect(again.path).virtual_size == 8 * MIB


def test_room_for_the_download_is_checked_before_it(
    small_disk: Path, tmp_path: Path, hostile: ModuleType, request_for: Any, fetcher: Any
) -> None:
    large = tmp_path / "large"
    hostile.sparsely(large, hostile.mbr(20 * MIB))
    fetch = fetcher(large)
    with (
        pytest.raises(NoSpaceError, match=r"20\.0 MiB needed, 1\d\.\d MiB free"),
        prepare(request_for(large, Format.RAW), Store(small_disk / "cache", reserve_bytes=0), fetch, quiet),
    ):
        pass
    assert fetch.calls == 0


class WatchedStore(Store):
    """Notes how large a file was when its room was given back."""

    written: dict[str, int]

    @contextmanager
    def room(self, needed: int, file: Path, *, kept: int = 0) -> Iterator[None]:
        with super().room(needed, file, kept=kept):
            yield
            self.written[file.name] = file.stat().st_size


def test_room_for_what_is_unpacked_is_kept_until_it_is_written(
    tmp_path: Path, hostile: ModuleType, request_for: Any, fetcher: Any, build: Any
) -> None:
    published = build("published", hostile.GOOD["ova-gz"]())
    store = WatchedStore(tmp_path / "cache", reserve_bytes=0)
    store.written = {}
    with prepare(request_for(published, Format.RAW), store, fetcher(published), quiet) as artifact:
        assert store.written["unpacked"] > store.written["disk"] > 0
        assert store.written["result"] == artifact.size


def test_room_for_the_virtual_disk_is_checked_before_conversion(
    small_disk: Path, tmp_path: Path, request_for: Any, fetcher: Any
) -> None:
    image = tmp_path / "image"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "1G"], check=True)
    store = Store(small_disk / "cache", reserve_bytes=0)
    with (
        pytest.raises(NoSpaceError, match=r"1\.0 GiB needed"),
        prepare(request_for(image, Format.RAW), store, fetcher(image), quiet),
    ):
        pass
    assert leftovers(store) == []


def test_a_disk_that_fills_during_the_download_leaves_nothing(
    small_disk: Path, real: dict[str, Path], request_for: Any
) -> None:
    def endless(into: Path, _progress: Progress) -> None:
        with into.open("wb") as out:
            while True:
                out.write(bytes(MIB))

    store = Store(small_disk / "cache", reserve_bytes=0)
    with (
        pytest.raises(NoSpaceError, match="no space left on device, 0 MiB free"),
        prepare(request_for(real["raw"], Format.RAW), store, endless, quiet),
    ):
        pass
    assert (store.ls(), leftovers(store)) == ((), [])


PREPARE = """
import resource, shutil, sys
from pathlib import Path
from imagesync.images.prepare import ArtifactRequest, prepare
from imagesync.images.store import Store
from imagesync.model import Digest, Format

root, source, digest, wanted, count, gate = sys.argv[1:]

def fetch(into, progress):
    with open(count, "a") as file:
        file.write("fetched\\n")
    if gate:
        open(gate).read()
    shutil.copyfile(source, into)
    return into.stat().st_size

peak = lambda who: resource.getrusage(who).ru_maxrss // 1024
request = ArtifactRequest(Digest(digest), Path(source).stat().st_size, (Format(wanted),))
store = Store(Path(root), reserve_bytes=0)
before = peak(resource.RUSAGE_SELF)
print("ready", flush=True)
with prepare(request, store, fetch, lambda count: None) as artifact:
    print(artifact.digest, artifact.downloaded, flush=True)
print(peak(resource.RUSAGE_SELF) - before, peak(resource.RUSAGE_CHILDREN))
"""


def test_two_processes_that_want_the_same_do_it_once(tmp_path: Path, real: dict[str, Path], digest: DigestOf) -> None:
    gate, count, source = tmp_path / "gate", tmp_path / "count", real["vmdk"]
    os.mkfifo(gate)
    arguments = [str(tmp_path / "cache"), str(source), digest(source), "qcow2", str(count), str(gate)]
    command = [sys.executable, "-c", PREPARE, *arguments]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as one,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as two,
    ):
        assert one.stdout is not None
        assert two.stdout is not None
        assert (one.stdout.readline(), two.stdout.readline()) == ("ready\n", "ready\n")
        gate.write_text("go on", "utf-8")  # blocks until one of them fetches
        said = [one.stdout.readline().split(), two.stdout.readline().split()]
        one.communicate(timeout=60)
        two.communicate(timeout=60)
    assert count.read_text("utf-8") == "fetched\n"
    assert said[0][0] == said[1][0]
    assert sorted(words[1] for words in said) == ["0", str(source.stat().st_size)]


@pytest.mark.parametrize(("made", "wanted"), [("qcow2", "raw"), ("raw", "qcow2")])
def test_memory_does_not_grow_with_a_disk_of_4_gib(made: str, wanted: str, tmp_path: Path, hostile: ModuleType) -> None:
    source = tmp_path / "source"
    hostile.sparsely(source, hostile.put(hostile.mbr(), 64 * MIB, os.urandom(8 * MIB)))
    os.truncate(source, 4 * GIB)
    if made == "qcow2":
        subprocess.run(
            ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(source), str(source) + ".new"], check=True
        )
        Path(str(source) + ".new").replace(source)
    # The digest is not looked at here: fetching compares it.
    arguments = [str(tmp_path / "cache"), str(source), "0" * 128, wanted, str(tmp_path / "count"), ""]
    command = [sys.executable, "-c", PREPARE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert done.stderr == ""
    ours, children = map(int, done.stdout.splitlines()[-1].split())
    assert ours <= 150
    assert children <= 150
