"""What can be asked of the making of an artifact, and what comes out: the values that a pass speaks in.

Kept apart from what does the work, so that a pass that finds nothing to do need not load that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imagesync.backend import FileFacts
from imagesync.images.confine import STANDARD_PATH
from imagesync.model import Digest, Format

_GIB = 1 << 30

_COMPRESSED = "compressed"


@dataclass(frozen=True, slots=True)
class ConversionOptions:
    """What a target may choose. ``compress`` makes qcow2 with zstd clusters and vmdk stream-optimized.

    ``compare`` has the result compared with the source, every byte of the disk, before it is used.
    """

    compress: bool = False
    compare: bool = False

    def tag(self) -> str:
        """Return what tells results of these options apart in a fingerprint: empty for the defaults."""
        return _COMPRESSED if self.compress else ""


@dataclass(frozen=True, slots=True)
class ConversionLimits:
    """Bounds of one conversion. Sizes are in bytes, times in seconds; what is per GiB counts the virtual size.

    A compressed vmdk of a full disk took 34 s of processor time per GiB where everything was measured, and slower
    machines are allowed for: results that are compressed have a bound of their own.

    ``path`` is where qemu-img and what starts it are looked for; no other environment reaches them.
    """

    memory: int = _GIB
    cpu: int = 60
    cpu_per_gib: int = 20
    cpu_per_gib_compressed: int = 120
    stall: float = 300.0
    deadline: float = 600.0
    deadline_per_gib: float = 120.0
    path: str = STANDARD_PATH


@dataclass(frozen=True, slots=True)
class BootCheck:
    """What became of a file that was started: the verdict, the evidence in one line, the seconds spent on it now."""

    verdict: str
    why: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file ready for upload; it stays in the store while the ``prepare`` that gave it is open.

    ``digest`` is the SHA-512 of the file, ``size`` its length, ``virtual_size`` what a guest sees, all sizes in bytes.
    ``source_format`` is the format inside what was published; ``converted`` says that the file is not the published
    one, and ``tag`` how it was made. ``downloaded`` is the number of bytes fetched for it now. ``linkable`` is what the
    file was when it was read, if that was now (see ``ImageSpec``). ``boot`` is there when it was started.
    """

    path: Path
    digest: Digest
    size: int
    virtual_size: int
    format: Format
    source_format: Format
    converted: bool
    downloaded: int
    tag: str = ""
    linkable: FileFacts | None = None
    boot: BootCheck | None = None
