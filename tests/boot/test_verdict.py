"""What evidence says: on recordings of real runs, and on what no guest of ours does."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from imagesync.boot import console as texts
from imagesync.boot import rules
from imagesync.boot.console import HEAD, TAIL
from imagesync.boot.evidence import Evidence, Happening, Sample, Screen, from_json
from imagesync.boot.rules import RULES, judge
from imagesync.boot.verdict import Verdict

RECORDINGS = Path(__file__).parents[2] / "fixtures" / "boot"
NAMES = sorted(path.stem for path in RECORDINGS.glob("*.json"))
MIB = 1 << 20

BEGUN = Evidence("kvm", ("MBR",), quiet=10.0, seconds=60.0, samples=(Sample(1.0, 1, 512, 0), Sample(59.0, 9, 4096, 9)))
STILL = replace(BEGUN, samples=(Sample(1.0, 9, 4096, 9), Sample(59.0, 9, 4096, 9)))


def reading(*mib: int) -> tuple[Sample, ...]:
    return tuple(Sample(float(at), size, size * MIB, 0) for at, size in enumerate(mib))


def verdict(evidence: Evidence) -> str:
    finding = judge(evidence)
    return f"{finding.verdict} {finding.rule}" if finding else ""


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_gets_its_verdict_again(name: str) -> None:
    recorded = json.loads((RECORDINGS / f"{name}.json").read_text())
    evidence = from_json(recorded["evidence"])

    finding = judge(evidence)

    assert finding is not None
    assert (finding.verdict, finding.rule) == (recorded["verdict"], recorded["rule"])
    assert evidence.as_json() == from_json(evidence.as_json()).as_json()


def test_the_recordings_show_every_verdict_that_a_guest_can_earn() -> None:
    shown = {json.loads((RECORDINGS / f"{name}.json").read_text())["verdict"] for name in NAMES}

    assert shown == set(Verdict)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_said_before_there_is_anything_to_see(name: str) -> None:
    evidence = from_json(json.loads((RECORDINGS / f"{name}.json").read_text())["evidence"])
    early = replace(evidence, console="", screen=None, events=(), samples=(), firmware="", seconds=0.5, status="")
    early = replace(early, over=False)

    assert judge(early) is None


@pytest.mark.parametrize(
    ("console", "expected"),
    [
        ("alma login: ", "login login-prompt"),
        ("Debian GNU/Linux 12 host ttyS0\n\nhost login:", "login login-prompt"),
        ("FreeBSD/amd64 (host) (ttyu0)\n\nlogin:", "login login-prompt"),
        ("openSUSE\n\nhost ttyS0 login:\n", "login login-prompt"),
        ("In case of a Kernel panic - not syncing, call the desk\nhost login:", "login login-prompt"),
        ("ISOLINUX 6.04\nWelcome to the Foo Live CD!\nboot:", ""),
        ("Computer is booting, SAC started\nSAC>", "login login-prompt"),
        ("Welcome to GRUB!", ""),
        ("Last login: yesterday\nstarting", ""),
        ("the login: field is empty here\nmore text", ""),
        ("[    1.0] Kernel panic - not syncing: Attempted to kill init!", "panic panic-text"),
        ("Starting udev: Kernel panic - not syncing: Attempted to kill init!", "panic panic-text"),
        ("<0>Kernel panic - not syncing: x", "panic panic-text"),
        ("You are in emergency mode. After logging in", "panic panic-text"),
        ("host login:\n[    9.1] Kernel panic - not syncing: x", "panic panic-text"),
        ("BdsDxe: No bootable option or device was found.", "no-bootable-device firmware-gave-up"),
        ("No bootable device.", "no-bootable-device firmware-gave-up"),
        ("This is not a bootable disk.  Please insert", "no-bootable-device firmware-gave-up"),
        ("UEFI Interactive Shell v2.2\nShell>", "no-bootable-device firmware-gave-up"),
    ],
)
def test_words_that_decide_at_once(console: str, expected: str) -> None:
    assert verdict(replace(BEGUN, console=console)) == expected


@pytest.mark.parametrize(
    "console",
    ["grub>", "grub rescue>", "error: no such partition.", "SYSLINUX 6.04\nboot:", "GRUB", "GNU GRUB  version 2.06"],
)
def test_a_boot_loader_that_waits_is_stuck_once_nothing_happens(console: str) -> None:
    assert verdict(replace(STILL, console=console)) == "bootloader-stuck loader-waits"
    assert verdict(replace(BEGUN, console=console)) == ""


@pytest.mark.parametrize(
    "console",
    [
        "GNU GRUB  version 2.06\n\n *Example Linux version 9 (rescue)\n  UEFI Firmware Settings",
        "ISOLINUX 6.04\nWelcome to Example Linux version 12.1\nboot:",
        "Loading GRUB for Example Linux version 5.2\ngrub rescue>",
    ],
)
def test_a_name_in_a_boot_loader_s_menu_is_no_kernel(console: str) -> None:
    assert verdict(replace(STILL, console=console)) == "bootloader-stuck loader-waits"
    assert "kernel" not in verdict(replace(BEGUN, console=console, over=True))


@pytest.mark.parametrize(
    "console",
    [
        "Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org)",
        "[    0.000000] Linux version 4.18.0-553.el8_10.x86_64",
        "[    0.000000][    T0] Linux version 6.6.8-arch1-1",
        "<5>[    0.000000] Linux version 2.6.32-754.el6.x86_64",
    ],
)
def test_a_kernel_s_first_line_is_one(console: str) -> None:
    assert verdict(replace(STILL, console=f"GNU GRUB  version 2.06\n{console}")) == "kernel kernel-settled"


@pytest.mark.parametrize(
    ("console", "mib"),
    [
        ("GNU GRUB  version 2.06\n\n  Booting `Debian GNU/Linux'\n", 600),
        ("GNU GRUB  version 2.06\n\n  Booting `Debian GNU/Linux'\n", 4),
        ("Loading Linux 6.1.0-18-amd64 ...\nLoading initial ramdisk ...", 12),
        ("SYSLINUX 6.04\nLoading vmlinuz... ok\n", 12),
        ("EFI stub: Loaded initrd from LINUX_EFI_INITRD_MEDIA_GUID device path", 12),
        ("GNU GRUB  version 2.06\n*Debian GNU/Linux", 600),
        ("cloud-init: error: no data source", 4),
    ],
)
def test_a_boot_loader_that_gave_the_machine_away_does_not_wait(console: str, mib: int) -> None:
    quiet = replace(STILL, console=console, samples=reading(*[mib] * 60), screen=Screen(1280, 800, 0.3))
    assert verdict(quiet) == ""
    assert "loader-waits" not in verdict(replace(quiet, over=True))


def test_a_boot_loader_that_failed_after_all_waits() -> None:
    failed = "  Booting `Debian GNU/Linux'\n\nerror: file `/vmlinuz' not found.\n\nPress any key to continue..."
    assert verdict(replace(STILL, console=failed)) == "bootloader-stuck loader-waits"
    assert verdict(replace(STILL, console=failed, samples=reading(*[600] * 60))) == "bootloader-stuck loader-waits"


def test_a_boot_loader_s_words_do_not_count_once_a_kernel_spoke() -> None:
    console = "GNU GRUB\n[    0.000000] Linux version 6.1\n[    1.000000] error: x"
    assert verdict(replace(STILL, console=console)) == "kernel kernel-settled"
    assert verdict(replace(BEGUN, console=console)) == ""
    assert verdict(replace(BEGUN, console=console, over=True)) == "kernel kernel-text"


@pytest.mark.parametrize(
    "words",
    [
        "Gave up waiting for root file system device.  Common problems:",
        "ALERT!  UUID=4f68bce3-0b19 does not exist.  Dropping to a shell!",
        "BusyBox v1.35.0 built-in shell (ash)\n\n(initramfs)",
        "Warning: /dev/disk/by-uuid/4f68bce3-0b19 does not exist",
        "Entering emergency mode. Exit the shell to continue.",
        "Generating /run/initramfs/rdsosreport.txt\n\ndracut:/#",
        "Cannot open access to console, the root account is locked.",
        "Mounting root: failed.\ninitramfs emergency recovery shell launched. Type 'exit' to continue boot",
        "ERROR: Unable to find root device 'UUID=4f68bce3-0b19'.",
        "You are being dropped to a recovery shell",
        "You are now being dropped into an emergency shell.",
        "Loader variables:\n\nmountroot>",
    ],
)
def test_a_kernel_that_does_not_find_its_root_did_not_start(words: str) -> None:
    console = f"[    0.000000] Linux version 6.1\n[   33.000000] a driver\n{words}\n"
    assert verdict(replace(BEGUN, console=console)) == "panic no-root"
    assert verdict(replace(STILL, console=console, over=True)) == "panic no-root"


def test_a_file_system_that_is_not_checked_is_no_failure() -> None:
    console = "[    2.000000] a driver\nERROR: device 'zfs:rpool' not found. Skipping fsck.\n:: mounting on real root"
    assert verdict(replace(BEGUN, console=console)) == ""
    assert verdict(replace(BEGUN, console=console, over=True)) == "kernel kernel-text"


def test_what_comes_up_after_all_is_a_success() -> None:
    console = "Entering emergency mode. Exit the shell to continue.\n\nguest login:"
    assert verdict(replace(BEGUN, console=console)) == "login login-prompt"


def test_words_on_a_text_screen_count_like_those_on_the_console() -> None:
    screen = Screen(720, 400, 0.1, "Debian GNU/Linux 12 guest tty1\n\nguest login:")
    assert verdict(replace(BEGUN, screen=screen)) == "login login-prompt"


def test_one_reset_or_two_are_no_loop() -> None:
    resets = tuple(Happening(float(at), "RESET", "guest-reset") for at in range(2))
    assert verdict(replace(BEGUN, events=resets)) == ""
    assert verdict(replace(BEGUN, events=(*resets, Happening(9.0, "RESET")))) == "reset-loop resets"


def test_several_events_of_one_reset_count_once() -> None:
    assert verdict(replace(BEGUN, events=(Happening(2.5, "RESET"),) * 6)) == ""
    ragged = tuple(Happening(at, "RESET") for at in (2.5, 2.9, 9.0, 9.9))
    assert verdict(replace(BEGUN, events=ragged)) == ""
    fast = tuple(Happening(at / 2, "RESET") for at in range(5))
    assert verdict(replace(BEGUN, events=fast)) == "reset-loop resets"


def test_a_systemd_that_tells_what_it_starts_is_a_system_though_its_kernel_is_quiet() -> None:
    console = "GNU GRUB\n\nWelcome to Debian GNU/Linux 12!\n\n[  OK  ] Created slice system-getty.slice."
    assert verdict(replace(STILL, console=console)) == "kernel kernel-settled"
    stuck = "ISOLINUX 6.04\nWelcome to the Foo Live CD!\nboot:"
    assert verdict(replace(STILL, console=stuck)) == "bootloader-stuck loader-waits"


def test_a_screen_that_went_dark_is_blank_whatever_was_on_it() -> None:
    seen = replace(BEGUN, samples=reading(*[40] * 60), screen=Screen(720, 400, 0.01, "Firmware"), over=True)
    assert verdict(replace(seen, dark=True)) == "blank nothing-seen"
    assert verdict(seen) == "inconclusive time-over"
    assert verdict(replace(seen, dark=True, console="words")) == "inconclusive time-over"


def test_only_a_guest_that_switches_itself_off_has_done_so() -> None:
    assert verdict(replace(BEGUN, events=(Happening(1.0, "SHUTDOWN", "host-qmp-quit"),))) == ""
    event = Happening(1.0, "SHUTDOWN", "guest-shutdown")
    assert verdict(replace(BEGUN, events=(event,))) == "powered-off shutdown-event"


def test_the_guest_s_own_word_of_a_panic_counts_before_all() -> None:
    events = (Happening(1.0, "GUEST_PANICKED"), Happening(1.1, "SHUTDOWN", "guest-shutdown"))
    assert verdict(replace(BEGUN, console="x login:", events=events)) == "panic panic-event"


@pytest.mark.parametrize("status", ["io-error", "internal-error"])
def test_a_machine_that_this_one_stopped_says_nothing_of_the_image(status: str) -> None:
    stopped = replace(STILL, console="GNU GRUB  version 2.06\n[    0.000000] Linux version 6.1", status=status)
    assert verdict(stopped) == "inconclusive machine-stopped"
    assert verdict(replace(stopped, console="x login:")) == "login login-prompt"


def test_a_disk_that_qemu_cannot_write_is_not_the_image_s_fault() -> None:
    events = (Happening(9.0, "BLOCK_IO_ERROR", "No space left on device"), Happening(9.0, "STOP"))
    finding = judge(replace(STILL, console="[    0.000000] Linux version 6.1\n(initramfs)", events=events))

    assert finding is not None
    assert (finding.verdict, finding.rule) == (Verdict.INCONCLUSIVE, "machine-stopped")
    assert "No space left on device after 9 s" in finding.why


@pytest.mark.parametrize(
    ("status", "expected"),
    [("shutdown", "powered-off shutdown-state"), ("guest-panicked", "panic panic-state")],
)
def test_a_state_counts_without_its_event(status: str, expected: str) -> None:
    assert verdict(replace(BEGUN, status=status)) == expected


def test_a_machine_that_never_read_its_disk_says_nothing_of_the_image() -> None:
    unread = replace(BEGUN, samples=(Sample(59.0, 0, 0, 0),))
    assert verdict(unread) == "inconclusive never-read"
    assert verdict(replace(unread, seconds=5.0)) == ""
    assert verdict(replace(unread, accelerator="tcg")) == ""
    assert verdict(replace(unread, accelerator="tcg", over=True)) == "inconclusive never-read"


def test_a_disk_with_nothing_to_start_from() -> None:
    assert verdict(replace(STILL, starts_from=())) == "no-bootable-device nothing-on-disk"
    assert verdict(replace(BEGUN, starts_from=())) == ""


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (reading(*range(0, 240, 4)), "reading steady-reads"),
        (reading(*range(12), *[12] * 48), "bootloader-stuck stopped-early"),
        (reading(*range(30), *[30] * 30), "blank nothing-seen"),
        (reading(*[40] * 60), "blank nothing-seen"),
    ],
    ids=["steady", "little, then nothing", "much, then nothing", "all at once"],
)
def test_when_the_time_is_over_the_disk_decides(samples: tuple[Sample, ...], expected: str) -> None:
    evidence = replace(BEGUN, samples=samples)
    assert verdict(evidence) == ""
    assert verdict(replace(evidence, over=True)) == expected


def test_a_screen_with_something_on_it_is_not_blank() -> None:
    seen = replace(BEGUN, samples=reading(*[40] * 60), screen=Screen(1280, 800, 0.3), over=True)
    assert verdict(seen) == "inconclusive time-over"


def test_trouble_with_qemu_comes_after_what_was_seen_and_before_what_was_not() -> None:
    assert verdict(replace(BEGUN, trouble="QEMU was killed")) == "inconclusive qemu-trouble"
    assert verdict(replace(BEGUN, trouble="QEMU was killed", console="x login:")) == "login login-prompt"


def test_every_rule_has_a_name_of_its_own_and_the_last_one_always_applies() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert verdict(replace(BEGUN, over=True, console="?")) == "inconclusive time-over"


def test_every_verdict_passes_or_fails_or_is_no_verdict() -> None:
    assert {v for v in Verdict if v.passed} == {Verdict.LOGIN, Verdict.KERNEL, Verdict.READING}
    assert [v for v in Verdict if not v.passed and not v.failed] == [Verdict.INCONCLUSIVE]


PATTERNS = [one for module in (rules, texts) for one in vars(module).values() if isinstance(one, re.Pattern)]


def test_the_patterns_of_rules_and_console_are_all_looked_at() -> None:
    assert {rules._LOGIN, rules._LOADER, texts._STRINGS} < set(PATTERNS)


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda one: one.pattern[:20].replace("\x1b", "ESC"))
def test_no_words_of_a_guest_keep_a_pattern_busy(pattern: re.Pattern[str]) -> None:
    # re never lets go of the interpreter: while it searches, every upload and download of the pass stands still.
    size = HEAD + TAIL
    source = pattern.pattern.replace(r"\.", "!")
    for plain in filter(None, re.split(r"\\[A-Za-z]|[|()?^$\\.*+\[\]{}]", source)):
        word = plain.replace("!", ".")
        for text in (word * (size // len(word)), (word * (size // 2 // len(word)) + "\n") * 2, f"{word}\n" * 2000):
            begun = time.thread_time()
            pattern.findall(text)
            assert time.thread_time() - begun < 0.5, word
