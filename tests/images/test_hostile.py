"""What refused files can do to this machine: start nothing, open nothing, write and run no longer than they may."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from imagesync.errors import HostileImageError, UnsupportedFormatError
from imagesync.images.confine import STANDARD_PATH
from imagesync.images.prepare import ArtifactRequest, prepare
from imagesync.images.store import Store
from imagesync.model import Digest, Format

MIB = 1 << 20
LARGEST = 17 * MIB  # of an archive at most 16 MiB come out, seen in steps of 1 MiB
SECONDS = 5.0

HAZARDS = {
    "polyglots": ["iso-that-begins-as-qcow2", "iso-that-begins-as-vmdk", "tar-that-begins-as-qcow2"],
    "format confusion": ["raw-that-begins-as-qcow2", "raw-that-begins-as-gzip", "qcow2-with-a-vhd-footer"],
    "text of a VMDK": ["raw-that-begins-as-a-vmdk-descriptor", "iso-that-begins-as-a-vmdk-descriptor"],
    "qcow2": ["qcow2-backing-file", "qcow2-data-file", "qcow2-unknown-feature", "qcow2-l1-over-the-limit", "qcow2-aes"],
    "vmdk": ["vmdk-extent-elsewhere", "vmdk-flat-in-a-sparse-header", "vmdk-text-descriptor", "vmdk-parent-hint"],
    "hidden": ["vmdk-parent-hint-behind-the-descriptor", "vmdk-second-type-behind-the-descriptor"],
    "differencing": ["vdi-differencing", "vhd-differencing", "vhdx-has-parent"],
    "OVA": ["ova-symlink", "ova-traversal", "ova-size-differs", "ova-101-members", "ova-gnu-sparse", "ova-two-disks"],
    "broken archives": ["ova-size-of-5000-digits", "ova-extension-header-of-negative-size"],
    "manifest and XML": ["ova-manifest-differs", "ova-external-entity", "ova-billion-laughs"],
    "bombs": ["gz-bomb", "xz-bomb", "bz2-bomb", "zst-bomb", "zip-bomb"],
    "sizes": ["qcow2-60-tib", "xz-dictionary-of-1-5-gib", "zst-window-of-1-tib"],
    "nested": ["gz-in-gz", "ova-in-ova", "ova-in-gz-in-xz", "gz-of-a-qcow2-with-backing-file"],
    "no image": ["login-page", "empty", "text-file", "file-system-without-partitions", "luks"],
}


class Audit:
    """What this process opens and starts while ``listening``. An audit hook cannot be taken out again."""

    def __init__(self) -> None:
        self.listening = False
        self.opened: list[str] = []
        self.other: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.listening:
            return
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            self.opened.append(os.fsdecode(arguments[0]))
        elif event.startswith(("subprocess.", "socket.", "os.exec", "os.fork", "os.posix_spawn", "os.system")):
            self.other.append(event)

    @contextmanager
    def heard(self) -> Iterator[None]:
        self.opened.clear()
        self.other.clear()
        self.listening = True
        try:
            yield
        finally:
            self.listening = False


@pytest.fixture(scope="session")
def audit() -> Audit:
    return Audit()


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let no file of this process grow beyond what an archive may unpack to."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_no_refused_file_starts_a_program_opens_another_file_or_takes_more_than_it_may(
    audit: Audit, small_files: None, hostile: ModuleType, tmp_path: Path, fetcher: Any, digest: Callable[[Path], Digest]
) -> None:
    store = Store(tmp_path / "cache", reserve_bytes=0)
    own = (str(tmp_path), *filter(None, sys.path), sys.base_prefix)
    for name, case in hostile.CASES.items():
        published = tmp_path / name
        case.write(published)
        request = ArtifactRequest(digest(published), published.stat().st_size, (Format.RAW, Format.VMDK))
        began = time.process_time()
        with (
            audit.heard(),
            pytest.raises((HostileImageError, UnsupportedFormatError)) as refused,
            prepare(request, store, fetcher(published), lambda _: None),
        ):
            pass
        assert refused.value.detail.split(":")[0] == case.fault, name
        assert audit.other == [], name
        assert [path for path in audit.opened if not path.startswith(own)] == [], name
        assert time.process_time() - began < SECONDS, name
        assert list((store.root / "tmp").iterdir()) == [], name
        published.unlink()
        store.discard(next((entry.name for entry in store.ls()), "sources/none"))
    assert len(hostile.CASES) >= 60


def test_the_audit_would_notice_a_program(audit: Audit) -> None:
    with audit.heard():
        subprocess.run(["true"], check=True)
        Path("/etc/hostname").read_bytes()
    assert "subprocess.Popen" in audit.other
    assert "/etc/hostname" in audit.opened


@pytest.mark.parametrize("hazard", HAZARDS)
def test_every_hazard_has_its_files(hazard: str, hostile: ModuleType) -> None:
    assert [name for name in HAZARDS[hazard] if name not in hostile.CASES] == []


# --- what the kernel sees --------------------------------------------------------------------------------------------
CONVERT = """
import sys
from pathlib import Path
from imagesync.errors import HostileImageError
from imagesync.images.artifact import ConversionLimits
from imagesync.images.prepare import ArtifactRequest, prepare
from imagesync.images.store import Store
from imagesync.model import Digest, Format
import hashlib, shutil

root, path, good, bad = sys.argv[1:]
store = Store(Path(root), reserve_bytes=0)

def made(source):
    fetch = lambda into, progress: shutil.copyfile(source, into) and 0
    digest = Digest(hashlib.sha512(Path(source).read_bytes()).hexdigest())
    formats, limits = (Format.RAW,), ConversionLimits(path=path)
    request = ArtifactRequest(digest, Path(source).stat().st_size, formats, limits=limits)
    with prepare(request, store, fetch, lambda count: None) as artifact:
        return artifact.format

assert made(good) is Format.RAW
try:
    made(bad)
except HostileImageError as error:
    print(error.detail)
"""

SYSTEM = ("/usr/", "/lib/", "/lib64/", "/proc/", "/dev/", "/etc/ld.so.", "/sys/devices/system/")
"""Where any program may look: its libraries, what the kernel says of it and of the machine, and the loader's cache."""

_CALL = re.compile(r'^(\w+)\((?:AT_FDCWD(?:<([^>]*)>)?, |\d+<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
_CHILD = re.compile(r"^(?:clone3?|v?fork)\(.*= (\d+)(?:<.*>)?$")


class Trace:
    """What programs asked the kernel for, by process and thread (``strace -ff``)."""

    def __init__(self, prefix: Path) -> None:
        files = prefix.parent.glob(f"{prefix.name}.*")
        self.lines = {int(path.suffix[1:]): path.read_text(errors="replace").splitlines() for path in files}

    def tools(self) -> set[int]:
        """Return the processes that became another program than Python, and all below them."""
        found = {pid for pid, lines in self.lines.items() if any(self._is_tool(line) for line in lines)}
        while more := {child for pid in found for child in self._children(pid)} - found:
            found |= more
        return found

    @staticmethod
    def _is_tool(line: str) -> bool:
        return line.startswith("execve(") and line.endswith("= 0") and "/python" not in line.split(",", maxsplit=1)[0]

    def _children(self, pid: int) -> list[int]:
        return [int(match[1]) for line in self.lines.get(pid, ()) if (match := _CHILD.match(line))]

    def opened(self, pids: set[int]) -> set[str]:
        matches = [match for pid in pids for line in self.lines.get(pid, ()) if (match := _CALL.match(line))]
        calls = [match for match in matches if match[1] in {"open", "openat", "openat2", "creat"}]
        return {os.path.normpath(os.path.join(match[2] or match[3] or "/", match[4])) for match in calls}

    def started(self) -> set[str]:
        return {match[4] for lines in self.lines.values() for line in lines
                if line.startswith("execve(") and line.endswith("= 0") and (match := _CALL.match(line))}  # fmt: skip

    def calls(self, pids: set[int], *names: str) -> list[str]:
        return [line for pid in pids for line in self.lines.get(pid, ()) if line.startswith(names)]


@pytest.fixture
def traced(tmp_path: Path) -> Callable[..., tuple[Trace, str]]:
    def run(name: str, *command: str) -> tuple[Trace, str]:
        prefix = tmp_path / name
        which = "trace=%process,%network,open,openat,openat2,creat"
        strace = ["strace", "-ff", "-y", "-qq", "-s", "4096", "-e", which, "-o", str(prefix)]
        done = subprocess.run([*strace, *command], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return Trace(prefix), done.stdout

    return run


@pytest.fixture
def leaking(tmp_path: Path, hostile: ModuleType) -> tuple[Path, Path]:
    """An image that reads from a file that is none of its business, and that file."""
    secret = tmp_path / "secret" / "secret"
    secret.parent.mkdir()
    secret.write_bytes(bytes(MIB))
    name = str(secret).encode()
    bad = tmp_path / "bad"
    bad.write_bytes(hostile.put(hostile.qcow2(backing_offset=200, backing_size=len(name)), 200, name))
    return bad, secret


def test_a_conversion_opens_only_its_own_files_and_the_systems_and_no_socket(
    traced: Callable[..., tuple[Trace, str]], leaking: tuple[Path, Path], real: dict[str, Path], tmp_path: Path,
    tool: Callable[[str], str],
) -> None:  # fmt: skip
    bad, secret = leaking
    # Without bubblewrap: what is seen here is what the programs do, not what a sandbox keeps from them.
    path = tool(f'exec {shutil.which("qemu-img", path=STANDARD_PATH)} "$@"')
    good = real["qcow2"]

    trace, said = traced("ours", sys.executable, "-c", CONVERT, str(tmp_path / "cache"), path, str(good), str(bad))

    assert said.startswith("qcow2-backing-file: ")
    assert {Path(program).name for program in trace.started()} >= {"qemu-img", "setpriv", "prlimit"}
    cache, tools = f"{tmp_path}/cache/", f"{tmp_path}/tools/"
    mine = trace.tools()
    assert any(opened.startswith(cache) for opened in trace.opened(mine))
    assert sorted(opened for opened in trace.opened(mine) if not opened.startswith((cache, tools, *SYSTEM))) == []
    # Python reads its modules from wherever they are installed; of what is the test's, the two images and the cache.
    ours = trace.opened(set(trace.lines) - mine)
    session = str(tmp_path.parent)
    assert (
        sorted(one for one in ours if one.startswith(session) and not one.startswith((cache, *map(str, (good, bad)))))
        == []
    )
    assert str(secret) not in trace.opened(set(trace.lines))
    # urllib3 binds one when it is imported, to see whether there is IPv6.
    assert trace.calls(mine, "socket(", "socketpair(", "connect(", "bind(") == []
    assert trace.calls(set(trace.lines), "connect(", "sendto(") == []


def test_the_trace_would_notice_a_file_that_is_read_for_an_image(
    traced: Callable[..., tuple[Trace, str]], leaking: tuple[Path, Path], tmp_path: Path
) -> None:
    bad, secret = leaking
    qemu = str(shutil.which("qemu-img"))

    trace, _ = traced("careless", qemu, "convert", "-O", "raw", str(bad), str(tmp_path / "out"))

    assert str(secret) in trace.opened(set(trace.lines))
