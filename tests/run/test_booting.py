"""An image is started before it is offered: once, for whoever asks, and what does not pass is held back if it has to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import shake_128
from pathlib import Path
from threading import BoundedSemaphore, Event, Thread

import pytest

from imagesync.backend import ImageKey, Metadata
from imagesync.boot.check import Result, Wish, check
from imagesync.boot.evidence import Evidence
from imagesync.boot.machine import Accelerator, Firmware, Machine, choose, settings
from imagesync.boot.picture import Picture
from imagesync.boot.verdict import Finding, Verdict
from imagesync.config.load import load
from imagesync.errors import BootCheckError, StoreError, ToolMissingError, UnsupportedFormatError
from imagesync.images.artifact import Artifact
from imagesync.images.claims import outstanding
from imagesync.images.confine import STANDARD_PATH
from imagesync.images.store import Store
from imagesync.model import Digest, Format, Image, ImageId, ListId
from imagesync.plan.spec import Wanted
from imagesync.run import booting
from imagesync.run.booting import FAILED_AGAIN, Bench, circumstances, hold_back, start
from imagesync.run.notebook import Notebook
from imagesync.run.pace import Pace
from imagesync.run.preparation import _pace
from imagesync.run.settings import BootMode
from imagesync.state import BootRecord, ImageRecord, MetadataRecord, open_state
from imagesync.state.repository import Repository
from imagesync.testing.disks import Disk, Kind, write_disk

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PROMPT = "small\r\nguest login:"
NOTHING = "small\r\nOperating system not found"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Repository]:
    with open_state(f"sqlite:///{tmp_path}/state.db") as opened:
        yield opened


@pytest.fixture
def bench(state: Repository, tmp_path: Path) -> Bench:
    store = Store(tmp_path / "cache", max_bytes=None, reserve_bytes=0)
    return Bench(store, Notebook(state, NOW), BoundedSemaphore(1), 5.0, STANDARD_PATH, translated)


def translated(wish: Wish, work: Path, tick: Callable[[float], None]) -> Result:
    """Start an image without KVM: on machines that are virtual themselves that is tried in vain, for seconds."""
    return check(replace(wish, accelerators=(Accelerator.TCG,)), work, tick)


@pytest.fixture
def wanted() -> Wanted:
    image = Image(
        ImageId("one"), "An image", "", "1", "https://x.example/one", Digest("a" * 128), 1, None, "", "x86_64", "", "", 0,
        0, {},
    )  # fmt: skip
    key = ImageKey("project", ListId("list"), ImageId("one"))
    return Wanted(key, "vo", image, Metadata("An image", {"architecture": "x86_64"}), {})


@pytest.fixture
def artifact(tmp_path: Path) -> Callable[[str], Artifact]:
    def make(title: str) -> Artifact:
        path = write_disk(tmp_path / "disk.img", Kind.RAW, Disk(title))
        size = path.stat().st_size
        return Artifact(path, Digest("b" * 128), size, size, Format.RAW, Format.RAW, converted=False, downloaded=0)

    return make


def known(verdict: str, age: timedelta = timedelta(), where: str = "somewhere patience=5") -> BootRecord:
    return BootRecord(
        Digest("b" * 128), where, Digest("a" * 128), NOW - age, verdict, "a-rule", "as seen",
        "tcg", 9.0, "words", None,
    )  # fmt: skip


def quiet() -> None:
    pass


def test_what_starts_is_remembered_and_not_started_again(
    bench: Bench, wanted: Wanted, artifact: Callable[[str], Artifact], state: Repository
) -> None:
    ready = artifact(PROMPT)

    first = start(bench, wanted, ready, BootMode.REQUIRE, quiet)
    again = start(bench, wanted, ready, BootMode.REQUIRE, quiet)

    asked = "architecture=x86_64 ram=0 format=raw"
    record = state.boots.closest(ready.digest, wanted.image.sha512, asked)
    assert record is not None
    assert (first.verdict, first.why, again.verdict) == ("login", "guest login:", "login")
    assert first.seconds > 0 == again.seconds
    assert (record.digest, record.at, record.rule) == (ready.digest, NOW, "login-prompt")
    assert record.screen is not None
    assert record.screen.startswith(b"\x89PNG")
    assert state.boots.verdicts() == {(ready.digest, asked): "login"}
    assert state.boots.totals() == {"login": (1, first.seconds)}


def test_what_does_not_start_is_held_back_where_it_has_to_and_told_elsewhere(
    bench: Bench, wanted: Wanted, artifact: Callable[[str], Artifact]
) -> None:
    ready = artifact(NOTHING)

    said = "An image: it was started and did not pass, no-bootable-device: Operating"
    with pytest.raises(BootCheckError, match=said) as told:
        start(bench, wanted, ready, BootMode.REQUIRE, quiet)
    with pytest.raises(BootCheckError, match=said) as again:
        hold_back(bench, wanted, (Format.RAW,))

    assert told.value.seconds > 0 == again.value.seconds
    assert start(bench, wanted, ready, BootMode.REPORT, quiet).verdict == "no-bootable-device"


def test_a_missing_program_stops_only_what_has_to_pass(
    bench: Bench, wanted: Wanted, artifact: Callable[[str], Artifact], state: Repository
) -> None:
    bench, ready = replace(bench, path="/nowhere"), artifact(PROMPT)

    with pytest.raises(ToolMissingError):
        start(bench, wanted, ready, BootMode.REQUIRE, quiet)
    told = start(bench, wanted, ready, BootMode.REPORT, quiet)

    assert told.verdict == "inconclusive"
    assert "is not installed" in told.why
    assert state.boots.of({wanted.image.sha512}) == ()


def test_a_machine_that_is_not_to_be_had_stops_only_what_has_to_pass(
    bench: Bench, wanted: Wanted, artifact: Callable[[str], Artifact]
) -> None:
    foreign = replace(wanted, image=replace(wanted.image, architecture="s390x"), metadata=Metadata("x", {}))
    ready = artifact(PROMPT)

    with pytest.raises(UnsupportedFormatError, match="no machine for the architecture 's390x'"):
        start(bench, foreign, ready, BootMode.REQUIRE, quiet)
    told = start(bench, foreign, ready, BootMode.REPORT, quiet)

    assert (told.verdict, told.seconds) == ("inconclusive", 0.0)
    assert "no machine for the architecture 's390x'" in told.why


def test_a_broken_cache_stops_only_what_has_to_pass(
    bench: Bench, wanted: Wanted, artifact: Callable[[str], Artifact], tmp_path: Path
) -> None:
    (tmp_path / "cache").rename(tmp_path / "moved away")
    (tmp_path / "cache").touch()
    ready = artifact(PROMPT)

    with pytest.raises(StoreError):
        start(bench, wanted, ready, BootMode.REQUIRE, quiet)

    assert start(bench, wanted, ready, BootMode.REPORT, quiet).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("verdict", "age", "counts"),
    [
        ("login", timedelta(days=300), True),
        ("panic", timedelta(days=6), True),
        ("panic", FAILED_AGAIN, False),
        ("inconclusive", timedelta(minutes=1), False),
    ],
)
def test_how_long_a_verdict_counts(
    verdict: str,
    age: timedelta,
    *,
    counts: bool,
    bench: Bench,
    wanted: Wanted,
    artifact: Callable[[str], Artifact],
    state: Repository,
) -> None:
    bench = replace(bench, path="/nowhere")
    state.boots.note(known(verdict, age, circumstances(bench, wanted, Format.RAW)))

    told = start(bench, wanted, artifact(PROMPT), BootMode.REPORT, quiet)

    assert told.verdict == (verdict if counts else "inconclusive")
    assert ("is not installed" in told.why) != counts


def test_other_circumstances_are_another_check(bench: Bench, wanted: Wanted, tmp_path: Path) -> None:
    emulator = tmp_path / "qemu-system-x86_64"
    emulator.write_text("#!/bin/sh\necho 'QEMU emulator version 99.1 (of a test)'\n")
    emulator.chmod(0o755)
    long = {"architecture": "x86_64", "hw_machine_type": "pc" * 200}
    foreign = replace(wanted, image=replace(wanted.image, architecture="s390x"), metadata=Metadata("x", {}))
    firmware = Metadata("x", {"architecture": "x86_64", "hw_firmware_type": "uefi"})

    lines = [
        circumstances(bench, wanted, Format.RAW),
        circumstances(replace(bench, patience=6.0), wanted, Format.RAW),
        circumstances(replace(bench, path=str(tmp_path)), wanted, Format.RAW),
        circumstances(replace(bench, path="/nowhere"), wanted, Format.RAW),
        circumstances(bench, replace(wanted, metadata=firmware), Format.RAW),
        circumstances(bench, replace(wanted, metadata=Metadata("x", long)), Format.RAW),
        circumstances(bench, replace(wanted, metadata=Metadata("x", long | {"hw_disk_bus": "ide"})), Format.RAW),
    ]

    lines += [circumstances(bench, wanted, Format.QCOW2), circumstances(bench, foreign, Format.RAW)]
    assert len(set(lines)) == len(lines)
    assert max(map(len, lines)) <= 200
    assert "qemu=99.1" in lines[2]
    assert "qemu=none" in lines[3]


def test_a_failure_in_other_circumstances_does_not_count(
    bench: Bench, wanted: Wanted, artifact: Callable[[str], Artifact], state: Repository
) -> None:
    bench = replace(bench, path="/nowhere")
    state.boots.note(known("panic", where=circumstances(replace(bench, patience=1.0), wanted, Format.RAW)))

    assert "not installed" in start(bench, wanted, artifact(PROMPT), BootMode.REPORT, quiet).why


def test_what_the_caller_raises_ends_the_check(
    bench: Bench, wanted: Wanted, artifact: Callable[[str], Artifact], state: Repository
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(bench, wanted, artifact(PROMPT), BootMode.REPORT, stop)

    assert state.boots.totals() == {}


def test_room_for_what_the_guest_writes_is_kept_from_others(
    bench: Bench, wanted: Wanted, artifact: Callable[[str], Artifact]
) -> None:
    claims: list[int] = []

    def looking(wish: Wish, work: Path, tick: Callable[[float], None]) -> Result:
        claims.append(outstanding(bench.store.root)[0])
        return translated(wish, work, tick)

    start(replace(bench, check=looking), wanted, artifact(PROMPT), BootMode.REPORT, lambda: None)

    assert claims == [2 << 30]
    assert outstanding(bench.store.root) == (0, 0)


def test_old_checks_are_forgotten_but_for_files_that_a_target_has(state: Repository, wanted: Wanted) -> None:
    for name in ("b", "c"):
        state.boots.note(replace(known("login", timedelta(days=400)), digest=Digest(name * 128)))
    state.record("site", [ImageRecord(wanted.key, "An image", "published", "", NOW, Digest("b" * 128), "raw")])

    state.prune(NOW - timedelta(days=365))

    assert {digest for digest, _ in state.boots.verdicts()} == {Digest("b" * 128)}


def test_the_check_of_the_file_that_a_target_has_comes_first(state: Repository) -> None:
    source, checks = Digest("a" * 128), {"b": ("login", 1), "c": ("panic", 9), "d": ("kernel", 0)}
    for name, (verdict, hours) in checks.items():
        record = known(verdict, timedelta(hours=hours))
        state.boots.note(replace(record, digest=Digest(name * 128), screen=b"picture"))
    elsewhere = replace(known("blank"), digest=Digest("e" * 128), source=Digest("f" * 128))
    state.boots.note(elsewhere)
    state.boots.note(replace(known("powered-off", where="some%where else"), digest=Digest("b" * 128)))

    def found(digest: str | None, of: Digest = source, asked: str = "somewhere") -> str:
        record = state.boots.closest(Digest(digest * 128) if digest else None, of, asked)
        return record.verdict if record else ""

    assert found("b") == "login"
    assert found("b", asked="some%where") == "powered-off"
    assert found(None) == found("e") == "powered-off"
    assert found("e", Digest("")) == "blank"
    assert found(None, Digest("")) == ""
    assert {one.screen for one in state.boots.of({source})} == {None}


def test_what_is_known_not_to_start_is_not_fetched_again(bench: Bench, wanted: Wanted, state: Repository) -> None:
    hold_back(bench, wanted, (Format.RAW, Format.QCOW2))
    state.boots.note(known("panic", timedelta(hours=1), circumstances(bench, wanted, Format.QCOW2)))

    hold_back(bench, wanted, (Format.RAW,))
    hold_back(replace(bench, patience=6.0), wanted, (Format.QCOW2,))
    hold_back(replace(bench, notebook=replace(bench.notebook, again=True)), wanted, (Format.QCOW2,))
    with pytest.raises(BootCheckError, match="did not pass, panic: as seen"):
        hold_back(bench, wanted, (Format.RAW, Format.QCOW2))


def test_what_somebody_asks_for_is_started_again_though_it_failed(
    bench: Bench, wanted: Wanted, artifact: Callable[[str], Artifact], state: Repository
) -> None:
    state.boots.note(known("panic", timedelta(hours=1), circumstances(bench, wanted, Format.RAW)))
    asked = replace(bench, notebook=replace(bench.notebook, again=True))

    assert start(bench, wanted, artifact(PROMPT), BootMode.REPORT, quiet).verdict == "panic"
    assert start(asked, wanted, artifact(PROMPT), BootMode.REQUIRE, quiet).verdict == "login"


def test_what_failed_in_this_pass_is_not_started_for_another_target(
    bench: Bench, wanted: Wanted, artifact: Callable[[str], Artifact], state: Repository
) -> None:
    state.boots.note(known("panic", timedelta(0), circumstances(bench, wanted, Format.RAW)))
    asked = replace(bench, notebook=replace(bench.notebook, again=True))

    assert start(asked, wanted, artifact(PROMPT), BootMode.REPORT, quiet).verdict == "panic"


def test_a_check_that_says_nothing_takes_no_verdict_s_place(
    bench: Bench, wanted: Wanted, artifact: Callable[[str], Artifact], state: Repository, tmp_path: Path
) -> None:
    broken = tmp_path / "qemu-system-x86_64"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    bench = replace(bench, path=f"{tmp_path}:{STANDARD_PATH}")
    state.boots.note(known("panic", FAILED_AGAIN, circumstances(bench, wanted, Format.RAW)))

    assert start(bench, wanted, artifact(PROMPT), BootMode.REPORT, quiet).verdict == "inconclusive"
    assert [*state.boots.verdicts().values()] == ["panic"]


# --- checks that are played ------------------------------------------------------------------------------------------
@dataclass
class Played:
    """Starts nothing, and says what a test wants; keeps what it was asked for."""

    verdict: Verdict = Verdict.LOGIN
    why: str = "as played"
    screen: Picture | None = None
    kvm_failed: str = ""
    wishes: list[Wish] = field(default_factory=list)

    def __call__(self, wish: Wish, _work: Path, _tick: Callable[[float], None]) -> Result:
        self.wishes.append(wish)
        finding, evidence = Finding(self.verdict, "a-rule", self.why), Evidence("tcg", ("MBR",), 5.0)
        return Result(finding, Machine(), evidence, 3.0, self.screen, "bubblewrap", self.kvm_failed)


def test_the_machine_has_what_the_list_says_and_the_configured_patience(
    bench: Bench, wanted: Wanted, artifact: Callable[[str], Artifact]
) -> None:
    played = Played()
    asked = Metadata("x", {"architecture": "x86_64", "hw_firmware_type": "uefi", "title": "x"})

    start(
        replace(bench, check=played),
        replace(wanted, image=replace(wanted.image, ram_min=2048), metadata=asked),
        artifact(PROMPT),
        BootMode.REPORT,
        quiet,
    )

    (wish,) = played.wishes
    assert (wish.ram, wish.patience.total, wish.kvm) == (2048, 5.0, True)
    assert wish.properties == {"architecture": "x86_64", "hw_firmware_type": "uefi"}
    assert choose(wish.properties, (), wish.ram) == Machine(firmware=Firmware.UEFI, memory=2048)


def test_of_checks_that_say_nothing_the_newest_is_kept(
    bench: Bench, wanted: Wanted, artifact: Callable[[str], Artifact], state: Repository
) -> None:
    for why in ("no room", "QEMU was killed"):
        bench = replace(bench, check=Played(Verdict.INCONCLUSIVE, why))
        start(bench, wanted, artifact(PROMPT), BootMode.REPORT, quiet)

    assert [one.why for one in state.boots.of({wanted.image.sha512})] == ["QEMU was killed"]


def test_a_large_screen_is_kept_in_a_smaller_picture(
    bench: Bench, wanted: Wanted, artifact: Callable[[str], Artifact], state: Repository
) -> None:
    ready = artifact(PROMPT)
    noise = Picture(1000, 600, shake_128(b"").digest(1000 * 600 * 3))

    start(replace(bench, check=Played(screen=noise)), wanted, ready, BootMode.REPORT, quiet)

    record = state.boots.one(ready.digest, circumstances(bench, wanted, Format.RAW))
    assert record is not None
    assert record.screen is not None
    assert record.screen[16:24] == (500).to_bytes(4) + (300).to_bytes(4)
    assert len(record.screen) < 1 << 20


def test_kvm_that_failed_is_remembered_and_told_once(
    bench: Bench,
    wanted: Wanted,
    artifact: Callable[[str], Artifact],
    state: Repository,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = replace(bench, notebook=replace(bench.notebook, now=datetime.now(UTC)))
    played, ready = Played(kvm_failed="QEMU ended"), artifact(PROMPT)

    start(replace(bench, check=played), wanted, ready, BootMode.REPORT, quiet)
    played.kvm_failed = ""
    start(replace(bench, check=played), wanted, replace(ready, digest=Digest("c" * 128)), BootMode.REPORT, quiet)

    assert [wish.kvm for wish in played.wishes] == [True, False]
    assert [one.machine.endswith(" without-kvm") for one in state.boots.of({wanted.image.sha512})] == [True, True]
    assert [line for line in caplog.messages if "KVM" in line] == [
        "KVM does not work here, images are started without it for a day: QEMU ended"
    ]


def test_by_default_one_image_is_started_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "imagesync.yaml").write_text("{}")
    turn = _pace(load(tmp_path / "imagesync.yaml", {"HOME": str(tmp_path)})).boot

    assert [turn.acquire(blocking=False), turn.acquire(blocking=False)] == [True, False]


def test_waiting_for_a_turn_can_be_interrupted(
    bench: Bench, wanted: Wanted, artifact: Callable[[str], Artifact]
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with bench.turn, pytest.raises(KeyboardInterrupt):
        start(bench, wanted, artifact(PROMPT), BootMode.REPORT, stop)

    assert bench.turn.acquire(blocking=False)


def test_of_two_that_ask_for_one_file_at_once_the_second_waits_for_the_verdict(
    bench: Bench, wanted: Wanted, artifact: Callable[[str], Artifact]
) -> None:
    asked_twice, ready, played = Event(), artifact(PROMPT), Played()
    told: list[str] = []

    def slow(wish: Wish, work: Path, tick: Callable[[float], None]) -> Result:
        result = played(wish, work, tick)
        if len(played.wishes) > 1:
            asked_twice.set()
        asked_twice.wait(20.0)
        return result

    pace = Pace(conversions=1, per_host=1, bandwidth=None, boots=2)
    both = replace(bench, check=slow, turn=pace.boot, alone=pace.alone)

    def ask() -> None:
        told.append(start(both, wanted, ready, BootMode.REPORT, asked_twice.set).verdict)

    threads = [Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (told, len(played.wishes)) == (["login", "login"], 1)


@pytest.mark.parametrize(("said", "tried"), [("now", False), ("before the machine was started", True), ("", True)])
def test_kvm_that_failed_is_left_alone_for_a_day(said: str, bench: Bench, *, tried: bool) -> None:
    if said:
        now = Path("/proc/sys/kernel/random/boot_id").read_text()
        (bench.store.root / "kvm-failed").write_text(now if said == "now" else said)
    today = replace(bench, notebook=replace(bench.notebook, now=datetime.now(UTC)))
    tomorrow = replace(bench, notebook=replace(bench.notebook, now=datetime.now(UTC) + timedelta(days=1)))

    assert booting._kvm_failed(today) != tried
    assert not booting._kvm_failed(tomorrow)


def test_of_one_file_each_target_has_the_verdict_in_the_machine_that_it_asks_for(
    state: Repository, wanted: Wanted
) -> None:
    digest, machines = Digest("b" * 128), {"bios": ("login", 9), "uefi": ("panic", 5), "none": ("kernel", 0)}
    for firmware, (verdict, hours) in machines.items():
        asked = settings({"hw_firmware_type": firmware}, 512, Format.RAW)
        state.boots.note(known(verdict, timedelta(hours=hours), f"{asked} patience=5 tcg"))
        state.boots.note(known("blank", timedelta(hours=hours + 1), f"{asked} patience=4 tcg"))
    for target in ("bios", "uefi", "changed"):
        state.record(target, [ImageRecord(wanted.key, "An image", "published", "", NOW, digest, "raw")])
        said = MetadataRecord(wanted.key, "An image", 512, {"hw_firmware_type": target, "other": "x"}, NOW)
        state.describe(target, [said])

    assert [state.boots.standing(name) for name in ("bios", "uefi")] == [{wanted.key: "login"}, {wanted.key: "panic"}]
    assert state.boots.standing("changed") == state.boots.standing("nowhere") == {}
