"""Debian's packages of a service, unpacked beside the system: nothing is installed, and nobody has to be root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cloud.software import NotInstalledError

TOOLS = ("apt-get", "dpkg-deb", "tar")


@dataclass(frozen=True, slots=True)
class Tree:
    """What packages hold, below a directory in place of the system's root."""

    root: Path

    @property
    def python(self) -> str:
        """Return the interpreter that Debian's Python packages are for: the system's, or one that came along."""
        places = (Path("/usr/bin/python3"), self.root / "usr/bin/python3")
        return str(next(path for path in places if path.exists()))

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables by which a program finds what is here before it looks in the system."""
        libraries = [str(path) for folder in ("usr/lib", "lib") for path in self.root.glob(f"{folder}/*-linux-gnu*")]
        packages = str(self.root / "usr/lib/python3/dist-packages")
        return {"PYTHONPATH": packages, "LD_LIBRARY_PATH": ":".join(libraries), "PYTHONNOUSERSITE": "1"}


def unpack(package: str, into: Path) -> Tree:
    """Return ``into`` filled with a package, in the version that apt offers, and what it needs beyond the system.

    Raises:
        NotInstalledError: this is no Debian, or one of its kin.
    """
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise NotInstalledError(f"{package} comes from Debian's packages, and there is no {' and no '.join(missing)}")
    into.mkdir(parents=True)
    work = into.with_suffix(".packages")
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(lambda archive: _extract(archive, into), _download(package, work)):
                pass
    finally:
        shutil.rmtree(work)
    return Tree(into)


def _download(package: str, work: Path) -> Iterator[Path]:
    """Yield the archives of packages. The system's own lists may be absent, or older than its servers' files."""
    archives = work / "archives"
    for folder in (archives, work / "lists"):
        (folder / "partial").mkdir(parents=True)
    options = {
        "Dir::State::lists": work / "lists",
        "Dir::Cache::archives": archives,
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Debug::NoLocking": True,  # the locks are root's, and nothing of the system's is written
        "APT::Sandbox::User": "root",  # another one could not write here
        "APT::Install-Recommends": False,
        "APT::Get::Download-Only": True,
        "APT::Get::ReInstall": True,  # fetched also where the system has it
        "Acquire::Languages": "none",
    }
    apt = ["apt-get", "-qq", "-y", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    for words in (["update"], ["install", package]):
        subprocess.run([*apt, *words], check=True, stdin=subprocess.DEVNULL)
    # The system's loader, which starts the interpreter, goes with the system's C library and no other.
    yield from (path for path in archives.glob("*.deb") if not path.name.startswith("libc6_"))


def _extract(archive: Path, into: Path) -> None:
    """Unpack an archive. No program may run as root here, as some do in a system."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as unpacking:
        tar = ["tar", "--extract", "--directory", str(into), "--no-same-owner", "--no-same-permissions"]
        subprocess.run(tar, check=True, stdin=unpacking.stdout)
    if unpacking.returncode:
        raise ChildProcessError(f"dpkg-deb cannot read {archive}")
