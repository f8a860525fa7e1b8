"""What boot checks need of a machine, and when KVM is not worth another attempt."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagesync.boot.check import _failed, missing
from imagesync.boot.evidence import Evidence
from imagesync.boot.session import Seen
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
        ([(Verdict.BLANK, "nothing-seen"), (Verdict.LOGIN, "login-prompt")], "by nothing-seen"),
        ([(Verdict.BLANK, "nothing-seen"), (Verdict.BLANK, "nothing-seen")], ""),
    ],
    ids=lambda one: None if isinstance(one, str) else " then ".join(rule for _, rule in one),
)
def test_kvm_failed_where_translation_knew_better(attempts: list[tuple[Verdict, str]], why: str) -> None:
    assert _failed([seen(*one) for one in attempts]) == why


def test_what_is_missing_is_named_with_its_package(tmp_path: Path) -> None:
    for tool in ("setpriv", "prlimit"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")

    lines = "\n".join(missing(str(tmp_path)))

    assert "is not installed: apt install qemu-system-" in lines
    assert "no sandbox around QEMU, whose guests are strangers' systems: apt install bubblewrap" in lines
    assert "qemu-system" not in "".join(missing(STANDARD_PATH))
