"""The cache: whole or absent, shared, bounded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from imagesync.errors import NoSpaceError, StoreError
from imagesync.images.entries import EntryName, Record, converted_name, partial_name, record_path, source_name
from imagesync.images.store import Store
from imagesync.model import Digest, Format

MIB = 1 << 20


def name(letter: str) -> EntryName:
    return source_name(Digest(letter * 128))


def fill(store: Store, entry: EntryName, content: bytes = b"content", used: int = 0) -> Path:
    """Put something in, last used ``used`` seconds after the epoch."""
    with store.working(entry), store.workspace() as work:
        (work / "file").write_bytes(content)
        with store.add(entry, work / "file", Record(Digest("0" * 128), len(content))) as added:
            os.utime(record_path(added.path), (used, used))
            return added.path


def names(store: Store) -> list[EntryName]:
    return [entry.name for entry in store.ls()]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", reserve_bytes=0)


def test_what_was_added_is_found_by_another_process_later(store: Store) -> None:
    fill(store, name("a"))
    with Store(store.root).borrow(name("a")) as entry:
        assert entry is not None
        assert entry.path.read_bytes() == b"content"
        assert entry.record.size == 7


def test_what_is_not_there_is_none(store: Store) -> None:
    with store.borrow(name("a")) as entry:
        assert entry is None


def test_names_say_digest_format_and_tag() -> None:
    digest = Digest("a" * 128)
    assert source_name(digest) == "sources/" + digest
    assert converted_name(digest, Format.QCOW2) == f"converted/{digest}-qcow2"
    assert converted_name(digest, Format.RAW, "unpacked") == f"converted/{digest}-raw-unpacked"


@pytest.mark.parametrize("damage", ["longer", "same size", "record gone", "record torn", "file gone"])
def test_a_damaged_entry_counts_as_absent_and_is_pruned(store: Store, damage: str) -> None:
    path = fill(store, name("a"))
    match damage:
        case "longer":
            path.write_bytes(b"content and more")
        case "same size":
            path.write_bytes(b"CONTENT")
            os.utime(path, (1, 1))
        case "record gone":
            record_path(path).unlink()
        case "record torn":
            record_path(path).write_text(record_path(path).read_text("utf-8")[:20], "utf-8")
        case "file gone":
            path.unlink()
    with store.borrow(name("a")) as entry:
        assert entry is None
    assert store.prune() == (name("a"),)
    assert list((store.root / "sources").iterdir()) == []


def test_a_damaged_entry_is_made_anew(store: Store) -> None:
    fill(store, name("a")).write_bytes(b"rubbish")
    fill(store, name("a"))
    with store.borrow(name("a")) as entry:
        assert entry is not None
        assert entry.path.read_bytes() == b"content"


def test_the_side_record_is_json(store: Store) -> None:
    path = fill(store, name("a"))
    assert json.loads(record_path(path).read_text("utf-8"))["size"] == 7


def test_a_record_from_before_results_could_be_compared_is_still_good(store: Store) -> None:
    side = record_path(fill(store, name("a")))
    old = json.loads(side.read_text("utf-8"))
    del old["compared"]
    side.write_text(json.dumps(old))
    with store.borrow(name("a")) as entry:
        assert entry is not None
        assert not entry.record.compared


def test_a_workspace_is_gone_after_any_end(store: Store) -> None:
    def interrupted() -> None:
        with store.workspace() as work:
            (work / "file").write_bytes(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((store.root / "tmp").iterdir()) == []


def test_leftovers_of_a_killed_process_are_swept_and_living_work_is_not(store: Store) -> None:
    script = (
        "import sys, signal\n"
        "from pathlib import Path\n"
        "from imagesync.images.store import Store\n"
        "with Store(Path(sys.argv[1])).workspace() as work:\n"
        "    (work / 'half').write_bytes(b'x')\n"
        "    print('ready', flush=True)\n"
        "    signal.pause()\n"
    )
    with store.workspace() as ours:
        command = [sys.executable, "-c", script, str(store.root)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            Store(store.root)
            assert len(list((store.root / "tmp").iterdir())) == 2
            child.send_signal(signal.SIGKILL)
        Store(store.root)
        assert list((store.root / "tmp").iterdir()) == [ours]


def test_the_least_recently_used_goes_first(store: Store) -> None:
    for used, letter in enumerate("abc"):
        fill(store, name(letter), bytes(range(256)) * 4096, used)
    with store.borrow(name("a")):
        pass
    Store(store.root, max_bytes=2 * MIB, reserve_bytes=0).make_room(0)
    assert names(store) == [name("a"), name("c")]


def test_of_equal_age_the_source_goes_before_what_was_made_from_it(store: Store) -> None:
    made = converted_name(Digest("a" * 128), Format.RAW)
    fill(store, made, bytes(range(256)) * 4096)
    fill(store, name("a"), bytes(range(256)) * 4096)
    Store(store.root, max_bytes=MIB, reserve_bytes=0).prune()
    assert names(store) == [made]


def test_what_is_in_use_is_never_evicted(store: Store) -> None:
    for letter in "ab":
        fill(store, name(letter), bytes(range(256)) * 4096)
    with store.borrow(name("a")), Store(store.root).borrow(name("a")):
        Store(store.root, max_bytes=0, reserve_bytes=0).prune()
        assert names(store) == [name("a")]
        assert not store.discard(name("a"))
    assert store.discard(name("a"))


def test_what_was_just_added_is_in_use(store: Store) -> None:
    with store.workspace() as work:
        (work / "file").write_bytes(b"content")
        with store.add(name("a"), work / "file", Record(Digest("0" * 128), 7)):
            Store(store.root, max_bytes=0, reserve_bytes=0).prune()
            assert names(store) == [name("a")]


def test_more_than_the_cap_can_never_be_kept(store: Store) -> None:
    fill(store, name("a"))
    with pytest.raises(NoSpaceError, match=r"2\.0 MiB needed.* keeps at most 1\.0 MiB.*cache_max_bytes"):
        Store(store.root, max_bytes=MIB, reserve_bytes=0).make_room(0, kept=2 * MIB)
    assert names(store) == [name("a")]


def test_too_little_room_says_how_much_is_needed_and_free_and_where(small_disk: Path) -> None:
    store = Store(small_disk / "cache", reserve_bytes=4 * MIB)
    with pytest.raises(NoSpaceError, match=rf"13\.0 MiB needed, 1[12]\.\d MiB free at {small_disk}/cache.* 4\.0 MiB"):
        store.make_room(13 * MIB)


def test_old_entries_make_room_for_new_ones(small_disk: Path) -> None:
    store = Store(small_disk / "cache", reserve_bytes=0)
    for used, letter in enumerate("abc"):
        fill(store, name(letter), bytes(range(256)) * 4096 * 4, used)
    store.make_room(6 * MIB)
    assert names(store) == [name("b"), name("c")]


def test_the_reserve_stays_free(small_disk: Path) -> None:
    store = Store(small_disk / "cache", reserve_bytes=0)
    fill(store, name("a"), bytes(range(256)) * 4096 * 4)
    Store(store.root, reserve_bytes=13 * MIB).prune()
    assert names(store) == []


def test_a_full_disk_is_an_error_of_ours(small_disk: Path) -> None:
    store = Store(small_disk / "cache", reserve_bytes=0)
    with pytest.raises(NoSpaceError, match="no space left on device"), store.workspace() as work, store.errors():
        (work / "file").write_bytes(bytes(20 * MIB))
    assert list((store.root / "tmp").iterdir()) == []


def test_a_root_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"check the directory"):
        Store(tmp_path / "file" / "cache")


def test_only_one_works_on_an_entry_at_a_time(store: Store) -> None:
    begun, order = threading.Event(), []

    def second() -> None:
        begun.set()
        with Store(store.root).working(name("a")):
            order.append("second")

    other = threading.Thread(target=second)
    with store.working(name("a")):
        other.start()
        begun.wait()
        with store.working(name("b")):
            order.append("first")
    other.join()
    assert order == ["first", "second"]


# --- interrupted downloads -------------------------------------------------------------------------------------------
def begun(
    store: Store, letter: str, content: bytes = b"begun", mark: str | None = '{"url": "u", "etag": "\\"v\\""}'
) -> Path:
    """Leave what a dead download leaves."""
    path = store.root / partial_name(Digest(letter * 128))
    path.write_bytes(content)
    if mark is not None:
        record_path(path).write_text(mark)
    return path


def test_an_interrupted_download_is_listed_and_survives_the_next_opening(store: Store) -> None:
    begun(store, "a")

    (entry,) = Store(store.root, reserve_bytes=0).ls()

    assert (entry.name, entry.record.size, entry.is_whole) == (partial_name(Digest("a" * 128)), 5, False)
    assert store.verify() == ()


@pytest.mark.parametrize("mark", [None, "{", '{"url": "u"}', "[]"])
def test_what_cannot_be_gone_on_with_is_swept(store: Store, mark: str | None) -> None:
    begun(store, "a", mark=mark)

    Store(store.root)

    assert list((store.root / "partial").iterdir()) == []


def test_a_mark_alone_and_what_is_a_week_old_are_swept(store: Store) -> None:
    begun(store, "a").unlink()
    os.utime(begun(store, "b"), (1, 1))

    Store(store.root)

    assert list((store.root / "partial").iterdir()) == []


def test_what_is_being_downloaded_is_neither_swept_nor_evicted(store: Store) -> None:
    digest = Digest("a" * 128)
    with store.partial(digest) as path:
        path.write_bytes(b"x" * MIB)
        Store(store.root)
        assert not store.discard(partial_name(digest))
        with pytest.raises(NoSpaceError):
            Store(store.root, max_bytes=10).make_room(0, kept=11)
        assert path.stat().st_size == MIB
    assert store.ls() == ()


def test_an_interrupted_download_is_worth_as_much_as_what_was_whole_then(store: Store) -> None:
    fill(store, name("b"), b"x" * MIB, used=1)
    begun(store, "a", b"x" * MIB)
    fill(store, name("c"), b"x" * MIB, used=1 << 40)

    Store(store.root, max_bytes=2 * MIB + 65536, reserve_bytes=0).make_room(0)
    assert names(store) == [name("c"), partial_name(Digest("a" * 128))]

    Store(store.root, max_bytes=MIB + 65536, reserve_bytes=0).make_room(0)
    assert names(store) == [name("c")]
    assert list((store.root / "partial").iterdir()) == []


# --- room for several ------------------------------------------------------------------------------------------------
def test_two_downloads_at_once_are_not_given_the_same_room(store: Store) -> None:
    small = Store(store.root, max_bytes=3 * MIB, reserve_bytes=0)
    first, second = (store.root / partial_name(Digest(letter * 128)) for letter in "ab")

    with small.room(2 * MIB, first, kept=2 * MIB):
        with pytest.raises(NoSpaceError, match=r"2\.0 MiB needed of 3\.0 MiB, and other images use the rest now"):
            Store(store.root, max_bytes=3 * MIB, reserve_bytes=0).make_room(2 * MIB, kept=2 * MIB)
        with small.room(MIB, second, kept=MIB):
            pass
    with small.room(2 * MIB, second, kept=2 * MIB):
        pass


def test_the_free_floor_holds_for_all_who_write_together(small_disk: Path) -> None:
    store = Store(small_disk / "cache", reserve_bytes=4 * MIB)
    file = small_disk / "file"
    with store.room(8 * MIB, file):
        with pytest.raises(NoSpaceError, match=r"beside the 4\.0 MiB that stay reserved and 8\.0 MiB that others"):
            store.make_room(6 * MIB)
        file.write_bytes(bytes(8 * MIB))  # what is written is no promise any more
        store.make_room(3 * MIB)


def test_what_a_dead_process_was_promised_is_free_again(store: Store) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom imagesync.images.store import Store\n"
        "with Store(Path(sys.argv[1]), max_bytes=10).room(10, Path('file'), kept=10):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.root)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list((store.root / "claims").iterdir())) == 1

    Store(store.root, max_bytes=10, reserve_bytes=0).make_room(0, kept=10)

    assert list((store.root / "claims").iterdir()) == []


def test_what_a_target_has_a_link_to_takes_no_room_and_stays(store: Store, tmp_path: Path) -> None:
    path = fill(store, name("a"), b"x" * MIB, used=1)
    (tmp_path / "link").hardlink_to(path)
    tight = Store(store.root, max_bytes=65536, reserve_bytes=0)

    tight.make_room(0)
    assert [(entry.name, entry.allocated) for entry in store.ls()] == [(name("a"), 0)]

    (tmp_path / "link").unlink()
    tight.make_room(0)
    assert names(store) == []


def test_pruning_leaves_what_is_being_downloaded(store: Store) -> None:
    with store.partial(Digest("a" * 128)) as path:
        path.write_bytes(b"x")
        assert Store(store.root).prune() == ()
        assert path.exists()
