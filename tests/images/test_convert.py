"""Conversion by the real qemu-img, and by one that misbehaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from imagesync.errors import ConversionError, HostileImageError, NoSpaceError, ToolMissingError, UnsupportedFormatError
from imagesync.images.convert import Conversion, ConversionLimits, ConversionOptions, command, convert, worst_case
from imagesync.images.inspect import inspect
from imagesync.model import Digest, Format

MIB = 1 << 20
IDENTITY = Digest("0123456789abcdef" * 8)
TARGETS = [Format.RAW, Format.QCOW2, Format.VMDK, Format.VDI, Format.VHD, Format.VHDX]
SOURCES = ["raw", "qcow2", "vmdk", "vdi", "vpc", "vhdx", "stream", "fixed", "zstd"]

Ask = Callable[..., Conversion]


def quiet(_count: int) -> None:
    pass


@pytest.fixture
def work(tmp_path: Path) -> Path:
    directory = tmp_path / "work"
    directory.mkdir()
    return directory


@pytest.fixture
def ask(real: dict[str, Path], work: Path) -> Ask:
    def build(
        target: Format = Format.QCOW2,
        source: Path | str = "raw",
        path: str = "",
        compress: bool = False,
        **limits: float,
    ) -> Conversion:
        source = real[source] if isinstance(source, str) else source
        bounds = ConversionLimits(**({"path": path} if path else {}), **limits)  # type: ignore[arg-type]
        return Conversion(
            source, inspect(source), work / "result", target, IDENTITY, ConversionOptions(compress), bounds
        )

    return build


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", SOURCES)
def test_every_format_becomes_every_other_and_keeps_its_content(
    source: str, target: Format, ask: Ask, disk: Path
) -> None:
    conversion = ask(target, source)
    found = convert(conversion, quiet)
    assert (found.format, found.virtual_size) == (target, 8 * MIB)
    compare = ["qemu-img", "compare", "-q", "-f", "raw", "-F", target.value, str(disk), str(conversion.into)]
    assert subprocess.run(compare, check=False).returncode == 0


@pytest.mark.parametrize("target", [Format.RAW, Format.QCOW2, Format.VMDK, Format.VDI, Format.VHD])
@pytest.mark.parametrize("compress", [False, True])
def test_the_same_image_becomes_the_same_bytes(target: Format, compress: bool, ask: Ask, work: Path) -> None:
    conversion = ask(target, "qcow2", compress=compress)
    convert(conversion, quiet)
    first = (work / "result").read_bytes()
    (work / "result").unlink()
    convert(conversion, quiet)
    assert (work / "result").read_bytes() == first


def test_compressed_results_are_smaller_and_have_a_tag_of_their_own(ask: Ask) -> None:
    plain = convert(ask(), quiet).size
    assert convert(ask(compress=True), quiet).size < plain
    assert (ConversionOptions().tag(), ConversionOptions(compress=True).tag()) == ("", "compressed")


def test_progress_counts_the_bytes_of_the_virtual_disk(ask: Ask) -> None:
    counted: list[int] = []
    convert(ask(), counted.append)
    assert sum(counted) == 8 * MIB


def test_formats_and_paths_leave_nothing_to_guess(ask: Ask, real: dict[str, Path], tmp_path: Path) -> None:
    odd = tmp_path / "a,b=c:d.img"
    odd.symlink_to(real["qcow2"])
    words = command(ask(Format.RAW, odd))
    name = str(odd).replace(",", ",,")
    assert f"driver=qcow2,file.driver=file,file.filename={name},backing=" in words
    assert words[words.index("-O") + 1] == "raw"
    assert convert(ask(Format.RAW, odd), quiet).format is Format.RAW


def test_an_iso_is_not_converted(ask: Ask, build: Callable[[str, bytes], Path], hostile: ModuleType) -> None:
    with pytest.raises(UnsupportedFormatError, match="iso cannot be converted to qcow2"):
        convert(ask(source=build("x", hostile.iso())), quiet)


def test_without_qemu_img_the_error_says_what_to_install(ask: Ask, without_qemu: str) -> None:
    with pytest.raises(ToolMissingError, match="apt install qemu-utils"):
        convert(ask(path=without_qemu), quiet)


@pytest.mark.parametrize(("compress", "seconds"), [(False, 80), (True, 180)])
def test_a_child_gets_no_environment_but_a_path_and_limits(
    compress: bool, seconds: int, ask: Ask, tool: Callable[[str], str], tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    path = tool(f'[ "$1" != convert ] || (env; pwd; ulimit -a) > {seen}; exit 3')
    with pytest.raises(ConversionError):
        convert(ask(path=path, compress=compress), quiet)
    lines = seen.read_text("utf-8").splitlines()
    assert {line.split("=")[0] for line in lines if "=" in line} == {"PATH", "LC_ALL", "MALLOC_ARENA_MAX", "PWD"}
    assert str(tmp_path / "work") in lines
    limits = {
        line.rsplit(None, 1)[0].split("  ")[0].split("(")[0].strip(): line.rsplit(None, 1)[1]
        for line in lines
        if "  " in line
    }
    assert limits["coredump"] == "0"
    assert limits["nofiles"] == "64"
    assert limits["vmemory"] == str(1 << 20)
    assert limits["time"] == str(seconds)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("compress", [False, True])
def test_what_cannot_be_compressed_stays_within_the_worst_case(
    target: Format, compress: bool, ask: Ask, tmp_path: Path, hostile: ModuleType
) -> None:
    full, size = tmp_path / "full", 32 * MIB
    full.write_bytes(hostile.mbr()[:512] + os.urandom(size - 512))
    convert(conversion := ask(target, full, compress=compress), quiet)
    # The fixed part of the bound is larger than all of a small image's overhead, and a whole vhdx begins with it.
    fixed = worst_case(0) if target is Format.VHDX else 0
    assert conversion.into.stat().st_size <= worst_case(size) - worst_case(0) + fixed


def test_a_failure_carries_what_qemu_img_said(ask: Ask, tool: Callable[[str], str], work: Path) -> None:
    with pytest.raises(ConversionError, match=r"status 1: qemu-img: it is a bad day"):
        convert(
            ask(path=tool("[ $1 != convert ] || touch result; echo 'qemu-img: it is a bad day' >&2; exit 1")), quiet
        )
    assert list(work.iterdir()) == []


def test_success_without_output_is_a_failure(ask: Ask, tool: Callable[[str], str]) -> None:
    with pytest.raises(ConversionError, match="its output is no qcow2"):
        convert(ask(path=tool("exit 0")), quiet)


def test_output_in_another_format_is_a_failure(
    ask: Ask, tool: Callable[[str], str], real: dict[str, Path], work: Path
) -> None:
    with pytest.raises(ConversionError, match="wrote vmdk where qcow2 was asked for"):
        convert(ask(path=tool(f"cp {real['vmdk']} result")), quiet)
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("source", ["qcow2", "vmdk", "vpc"])
@pytest.mark.parametrize("target", [Format.RAW, Format.VMDK, Format.VHD])
def test_a_result_is_compared_with_its_source_on_request(source: str, target: Format, ask: Ask) -> None:
    assert convert(comparing(ask(target, source)), quiet).format is target


def comparing(conversion: Conversion) -> Conversion:
    return replace(conversion, options=ConversionOptions(compare=True))


def test_a_result_with_other_content_is_found_out_only_by_comparing(
    ask: Ask, tool: Callable[[str], str], real: dict[str, Path], disk: Path, tmp_path: Path, work: Path
) -> None:
    other = tmp_path / "other"
    other.write_bytes(disk.read_bytes()[:-1] + b"x")
    real_one = shutil.which("qemu-img")
    path = tool(f'[ "$1" != convert ] || exec cp {other} result; exec {real_one} "$@"')

    assert convert(ask(Format.RAW, "qcow2", path=path), quiet).format is Format.RAW
    (work / "result").unlink()
    with pytest.raises(ConversionError, match="a raw that differs from its source"):
        convert(comparing(ask(Format.RAW, "qcow2", path=path)), quiet)
    assert list(work.iterdir()) == []


def test_a_comparison_that_fails_is_no_equality(ask: Ask, tool: Callable[[str], str], disk: Path, work: Path) -> None:
    path = tool(f'[ "$1" != convert ] || exec cp {disk} result; echo "cannot read" >&2; exit 2')
    with pytest.raises(ConversionError, match="status 2: cannot read"):
        convert(comparing(ask(Format.RAW, "qcow2", path=path)), quiet)
    assert list(work.iterdir()) == []


OLD = 'if [ "$1" = --version ]; then echo "qemu-img version {} (Debian)"; else echo "Invalid parameter" >&2; exit 1; fi'


def test_a_qemu_img_that_is_too_old_is_named_where_it_failed(ask: Ask, tool: Callable[[str], str]) -> None:
    with pytest.raises(ConversionError) as failed:
        convert(ask(path=tool(OLD.format("4.2.1"))), quiet)
    assert failed.value.detail.endswith("status 1: Invalid parameter")
    assert failed.value.hint == "qemu-img 4.2 is too old: install 5.1 or later"


@pytest.mark.parametrize("said", ["5.1.0", "11.0.0", "of my own"])
def test_the_failure_of_another_version_is_not_put_down_to_its_age(
    said: str, ask: Ask, tool: Callable[[str], str]
) -> None:
    with pytest.raises(ConversionError) as failed:
        convert(ask(path=tool(OLD.format(said))), quiet)
    assert failed.value.hint == ""


def test_output_of_another_size_is_a_failure(
    ask: Ask, tool: Callable[[str], str], build: Callable[[str, bytes], Path], hostile: ModuleType
) -> None:
    other = build("other", hostile.qcow2())
    with pytest.raises(ConversionError, match="had 8388608 bytes and has 1048576"):
        convert(ask(path=tool(f"cp {other} result")), quiet)


def test_content_that_is_itself_an_image_never_becomes_raw(
    ask: Ask, tmp_path: Path, hostile: ModuleType, work: Path
) -> None:
    inner = tmp_path / "inner"
    hostile.CASES["qcow2-backing-file"].write(inner)
    outer = tmp_path / "outer"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(inner), str(outer)], check=True)
    with pytest.raises(HostileImageError, match=r"content-confusion: .*qcow2"):
        convert(ask(Format.RAW, outer), quiet)
    assert list(work.iterdir()) == []


def test_a_hanging_qemu_img_is_killed_with_its_children(ask: Ask, tool: Callable[[str], str], tmp_path: Path) -> None:
    path = tool(f"sleep 1000 & echo $! > {tmp_path}/pid; wait")
    with pytest.raises(ConversionError, match="no progress for 1 s"):
        convert(ask(path=path, stall=1.0), quiet)
    assert gone(tmp_path / "pid")


def test_a_qemu_img_that_goes_on_for_ever_is_killed(ask: Ask, tool: Callable[[str], str]) -> None:
    path = tool("while :; do echo x >> result; sleep 0.1; done")
    with pytest.raises(ConversionError, match="not done after 1 s"):
        convert(ask(path=path, deadline=1.0, deadline_per_gib=0.0), quiet)


def test_closed_pipes_do_not_stop_the_watch(ask: Ask, tool: Callable[[str], str]) -> None:
    with pytest.raises(ConversionError, match="no progress"):
        convert(ask(path=tool("exec >&- 2>&-; sleep 1000"), stall=1.0), quiet)


def test_a_flood_on_stderr_is_cut_to_its_end(ask: Ask, tool: Callable[[str], str]) -> None:
    with pytest.raises(ConversionError) as refused:
        convert(ask(path=tool("yes complaint | head -c 3000000 >&2; echo the end >&2; exit 1")), quiet)
    assert refused.value.detail.endswith("the end")
    assert len(refused.value.detail) < 1200


def test_processor_time_is_limited(ask: Ask, tool: Callable[[str], str]) -> None:
    with pytest.raises(ConversionError, match=r"SIGXCPU .its processor time was used up"):
        convert(ask(path=tool("while :; do :; done"), cpu=1, cpu_per_gib=0), quiet)


def test_memory_is_limited(ask: Ask, real: dict[str, Path]) -> None:
    with pytest.raises(ConversionError):
        convert(ask(memory=32 * MIB), quiet)


@pytest.fixture
def slow(tmp_path: Path, hostile: ModuleType) -> Path:
    """A disk that takes a second or more to compress."""
    path = tmp_path / "slow"
    with path.open("wb") as file:
        file.write(hostile.mbr())
        for _ in range(192):
            file.write(os.urandom(MIB))
    return path


def kill_qemu_img(_count: int) -> None:
    children = psutil.Process().children(recursive=True)
    for child in children:
        if child.name() == "qemu-img":
            child.kill()


def test_qemu_img_killed_half_way_is_named_and_leaves_nothing(ask: Ask, slow: Path, work: Path) -> None:
    with pytest.raises(ConversionError, match="killed by SIGKILL"):
        convert(ask(source=slow, compress=True), kill_qemu_img)
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_conversion_leaves_no_child_and_no_file(
    interruption: type[BaseException], ask: Ask, slow: Path, work: Path
) -> None:
    def interrupt(_count: int) -> None:
        raise interruption

    with pytest.raises(interruption):
        convert(ask(source=slow, compress=True), interrupt)
    assert list(work.iterdir()) == []
    assert [child for child in psutil.Process().children() if child.name() == "qemu-img"] == []


def test_a_full_disk_is_named_as_such(ask: Ask, slow: Path, small_disk: Path) -> None:
    conversion = ask(source=slow)
    full = Conversion(slow, conversion.found, small_disk / "result", Format.QCOW2, IDENTITY)
    with pytest.raises(NoSpaceError, match="became full while converting to qcow2"):
        convert(full, quiet)
    assert list(small_disk.iterdir()) == []


def gone(pid_file: Path) -> bool:
    """Wait until the process is gone; return whether that happened within some seconds."""
    pid = int(pid_file.read_text("utf-8"))
    try:
        psutil.wait_procs([psutil.Process(pid)], timeout=10)
        return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_qemu_img_dies_with_a_parent_that_is_killed(
    tool: Callable[[str], str], real: dict[str, Path], work: Path, tmp_path: Path
) -> None:
    path = tool(f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 1000")
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from imagesync.images.convert import *\n"
        "from imagesync.images.inspect import inspect\n"
        "source, into, path = sys.argv[1:]\n"
        "found = inspect(Path(source))\n"
        "limits = ConversionLimits(path=path)\n"
        "convert(Conversion(Path(source), found, Path(into), Format.RAW, '0' * 128, limits=limits), print)\n"
    )
    arguments = [sys.executable, "-c", script, str(real["qcow2"]), str(work / "result"), path]
    with subprocess.Popen(arguments) as parent:
        ends = time.monotonic() + 60
        while not (tmp_path / "pid").exists():
            assert parent.poll() is None
            assert time.monotonic() < ends
            time.sleep(0.02)
        parent.send_signal(signal.SIGKILL)
    assert gone(tmp_path / "pid")
