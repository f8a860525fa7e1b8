"""Streams out of gzip, xz, bzip2, zstd and zip, in steps that are bounded in memory.

Nothing here bounds the length of the stream: its reader does (``imagesync.images.archive``).
"""

from __future__ import annotations

import bz2
import lzma
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Protocol

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

from imagesync.images.faults import Fault
from imagesync.images.file import ImageFile
from imagesync.images.identify import Wrapper

_BROKEN = (zlib.error, lzma.LZMAError, ZstdError, zipfile.BadZipFile, struct.error)

STEP = 1 << 20
_READ = 64 << 10
_XZ_MEMORY = 128 << 20  # xz -9 needs 65 MiB to unpack
_ZSTD_WINDOW_LOG = 27  # 128 MiB: what the zstd program takes without being asked (RFC 8878, 3.1.1.1.2)
_ZIP_DIRECTORY = 1 << 20


class _Decompressor(Protocol):
    """What ``bz2``, ``lzma`` and ``compression.zstd`` have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """``zlib`` in the shape of the others (RFC 1952: header and checksum are verified by zlib)."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self._stream.eof and not self._stream.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._stream.decompress(data or self._stream.unconsumed_tail, max_length)


def _zstd() -> _Decompressor:
    return ZstdDecompressor(options={DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})


_DECOMPRESSORS: Mapping[Wrapper, Callable[[], _Decompressor]] = {
    Wrapper.GZIP: _Gzip,
    Wrapper.BZIP2: bz2.BZ2Decompressor,
    Wrapper.XZ: lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY),
    Wrapper.ZSTD: _zstd,
}


def unpacked(file: ImageFile, wrapper: Wrapper) -> Iterator[bytes]:
    """Yield the content in pieces of at most 1 MiB; a piece may be empty, so that a caller can look at its clock.

    Raises:
        HostileImageError: truncated, damaged, needs too much memory, or a zip that does not hold exactly one file.
        UnsupportedFormatError: a method that is not supported.
    """
    with _errors(file):
        yield from _zip(file) if wrapper is Wrapper.ZIP else _streams(file, wrapper)


def _streams(file: ImageFile, wrapper: Wrapper) -> Iterator[bytes]:
    """Yield the content of one or more streams after each other.

    Zeros may pad the end (gzip manual, 8). Between two streams only xz has them, in fours (xz 2.2): other programs
    ignore what follows them, or refuse it.
    """
    start = position = 0
    while True:
        position = yield from _stream(file, start, _DECOMPRESSORS[wrapper]())
        start = yield from _after_zeros(file, position)
        if start == file.size:
            return
        padding = start - position
        if padding % 4 if wrapper is Wrapper.XZ else padding:
            raise Fault.ARCHIVE_DAMAGED.error(file.subject, f"something follows {padding} zeros")


def _stream(file: ImageFile, position: int, stream: _Decompressor) -> Generator[bytes, None, int]:
    """Yield the content of the stream at ``position``, and return where it ends."""
    while not stream.eof:
        data = file.at(position, _READ) if stream.needs_input else b""
        if stream.needs_input and not data:
            raise Fault.ARCHIVE_DAMAGED.error(file.subject, "it ends too early")
        position += len(data)
        yield stream.decompress(data, STEP)
    return position - len(stream.unused_data)


def _after_zeros(file: ImageFile, position: int) -> Generator[bytes, None, int]:
    """Return where there is something else than zeros from ``position`` on, or the end of the file."""
    while data := file.at(position, _READ):
        if rest := data.lstrip(b"\0"):
            return position + len(data) - len(rest)
        position += len(data)
        yield b""
    return position


@dataclass(slots=True)
class _BoundedReads:
    """A file for ``zipfile`` that refuses to read a large directory into memory at once."""

    file: ImageFile
    position: int = 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self.position, self.file.size)[whence]
        if base + offset < 0:
            raise OSError(22, "Invalid argument")
        self.position = base + offset
        return self.position

    def read(self, length: int = -1) -> bytes:
        length = max(self.file.size - self.position, 0) if length < 0 else length
        if length > _ZIP_DIRECTORY:
            raise Fault.ARCHIVE_MEMBERS.error(self.file.subject, "its directory is larger than 1 MiB")
        data = self.file.at(self.position, length)
        self.position += len(data)
        return data


def _zip(file: ImageFile) -> Iterator[bytes]:
    with zipfile.ZipFile(_as_file(_BoundedReads(file))) as archive:
        if not all(member.filename for member in archive.infolist()):
            raise Fault.ARCHIVE_DAMAGED.error(file.subject, "a member has no name")
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            raise Fault.ARCHIVE_MEMBERS.error(file.subject, f"it holds {len(members)}")
        if members[0].flag_bits & 0x1:
            raise Fault.ENCRYPTED.error(file.subject, "zip")
        if members[0].compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise Fault.ARCHIVE_METHOD.error(file.subject, f"zip method {members[0].compress_type}")
        with archive.open(members[0]) as stream:
            while data := stream.read(STEP):
                yield data


def _as_file(reads: _BoundedReads) -> IO[bytes]:
    return reads  # type: ignore[return-value]  # the four methods that zipfile uses


@contextmanager
def _errors(file: ImageFile) -> Iterator[None]:
    try:
        yield
    except NotImplementedError as error:
        raise Fault.ARCHIVE_METHOD.error(file.subject, str(error)) from error
    except (*_BROKEN, EOFError, OSError, ValueError, LookupError) as error:
        raise Fault.ARCHIVE_DAMAGED.error(file.subject, str(error)) from error
