"""What boot checks need of a machine, and when KVM is not worth another attempt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imagesync.boot.check import _failed, _limits, missing
from imagesync.boot.evidence import Evidence, Sample
from imagesync.boot.machine import Accelerator, Machine
from imagesync.boot.session import Patience, Seen
from imagesync.boot.verdict import Finding, Verdict
from imagesync.images.confine import STANDARD_PATH


def seen(verdict: Verdict, rule: str) -> Seen:
    return Seen(Finding(verdict, rule, f"by {rule}"), Evidence("kvm", (), 5.0), None)


@pytest.mark.parametrize(
    ("attempts", "why"),
    [
        ([(Verdict.LOGIN, "login-prompt")], ""),
        ([(Verdict.INCONCLUSIVE, "never-read")], ""),
        ([(Verdict.INCONCLUSIVE, "never-read"), (Verdict.LOGIN, "login-prompt")], "by never-read"),
        ([(Verdict.INCONCLUSIVE, "qemu-trouble"), (Verdict.INCONCLUSIVE, "qemu-trouble")], ""),
        ([(Verdict.INCONCLUSIVE, "qemu-trouble"), (Verdict.PANIC, "panic-text")], "by qemu-trouble"),
        ([(Verdict.INCONCLUSIVE, "machine-stopped"), (Verdict.LOGIN, "login-prompt")], "by machine-stopped"),
        ([(Verdict.BLANK, "nothing-seen"), (Verdict.LOGIN, "login-prompt")], ""),
        ([(Verdict.BOOTLOADER_STUCK, "loader-waits"), (Verdict.LOGIN, "login-prompt")], ""),
    ],
    ids=lambda one: None if isinstance(one, str) else " then ".join(rule for _, rule in one),
)
def test_kvm_failed_where_translation_knew_better(attempts: list[tuple[Verdict, str]], why: str) -> None:
    assert _failed([seen(*one) for one in attempts]) == why


def test_what_a_guest_did_is_not_kvm_s_fault() -> None:
    first, last = seen(Verdict.INCONCLUSIVE, "qemu-trouble"), seen(Verdict.LOGIN, "login-prompt")
    ran = replace(first.evidence, samples=(Sample(1.0, 1, 512, 0),))

    assert _failed([first, last]) == "by qemu-trouble"
    assert _failed([replace(first, evidence=ran), last]) == ""


def test_what_is_missing_is_named_with_its_package(tmp_path: Path) -> None:
    for tool in ("setpriv", "prlimit"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")

    lines = "\n".join(missing(str(tmp_path)))

    assert "is not installed: apt install qemu-system-" in lines
    assert "no sandbox around QEMU, whose guests are strangers' systems: apt install bubblewrap" in lines
    assert "qemu-system" not in "".join(missing(STANDARD_PATH))


def test_qemu_gets_the_guest_s_memory_and_some_and_stands_back_behind_others() -> None:
    translated = _limits(Machine(memory=512), Accelerator.TCG, Patience(total=100.0))
    own = _limits(Machine(memory=4096), Accelerator.KVM, Patience(total=100.0))

    assert (translated.memory, own.memory) == (2 << 30, (4 << 30) + (3 << 29))
    assert (translated.niceness, translated.file_size, translated.cpu) == (10, 2 << 30, 260)
    assert (translated.devices, own.devices) == ((), (Path("/dev/kvm"),))


@pytest.mark.parametrize(
    ("translated", "load", "scaled"),
    [
        (False, 0.1, (120.0, 15.0, 10.0)),
        (False, 1.5, (180.0, 22.5, 15.0)),
        (False, 9.0, (240.0, 30.0, 20.0)),
        (True, 0.1, (600.0, 30.0, 50.0)),
        (True, 9.0, (1200.0, 60.0, 100.0)),
    ],
)
def test_translation_and_a_busy_machine_get_more_time(
    *, translated: bool, load: float, scaled: tuple[float, float, float]
) -> None:
    patience = Patience().scaled(translated=translated, load=load)

    assert (patience.total, patience.quiet, patience.step) == scaled


def test_an_answer_may_end_hardly_later_than_the_whole() -> None:
    patience = Patience(total=60.0, step=50.0)

    assert [patience.step_at(seconds) for seconds in (0.0, 20.0, 57.0, 90.0)] == [50.0, 40.0, 5.0, 5.0]
    assert Patience(total=60.0, step=3.0).step_at(57.0) == 3.0
    assert [patience.look_at(seconds) for seconds in (0.0, 57.0, 90.0)] == [60.0, 5.0, 5.0]
