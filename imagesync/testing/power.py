"""What a power cut leaves of a directory: only what was brought to the disk by ``fsync``. PUBLIC.

While a ``Power`` is open, it looks at the directory before and after every ``fsync``, rename, link and removal that
Python code does there, and keeps what would be left if the power failed just then::

    with Power(root) as power:
        work(root)
    for cut in power.cuts:
        cut.leave(root)
        work_again(root)
        ...

Each moment has three outcomes that POSIX allows. In the first, every name is as it was last seen, but bytes that no
``fsync`` brought to the disk are gone: the file is as long as it was at the last one, or empty. In the second, the file
has its length, and zeros in the place of those bytes. In the third, names are lost too: each directory has the names
that it had when it was last brought to the disk itself. Bytes that other programs write count as lost. Outcomes that
are the same as at the moment before are left out.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest import mock

_CHANGES = ("replace", "rename", "symlink", "unlink", "link")

_Node = tuple[int, int]
"""Device and number of an inode."""


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    mtime_ns: int
    mode: int


_Names = dict[str, "_Node | str"]
"""What a directory holds: files by their inode, and the targets of links."""


_Tree = dict[str, "_File | str | None"]


@dataclass(frozen=True, slots=True)
class Cut:
    """One moment. ``tree`` maps paths below the root to files, targets of links, or ``None`` for folders."""

    moment: str
    tree: _Tree

    def leave(self, root: Path) -> None:
        """Make the directory ``root`` what the power cut left of it."""
        for path in root.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for name, what in sorted(self.tree.items()):
            path = root / name
            match what:
                case None:
                    path.mkdir()
                case str():
                    path.symlink_to(what)
                case _File():
                    path.write_bytes(what.content)
                    path.chmod(what.mode)
                    os.utime(path, ns=(what.mtime_ns, what.mtime_ns))


class Power:
    """Watches a directory of a few small files. ``cuts`` are the moments at which the power may have failed."""

    def __init__(self, root: Path) -> None:
        """Take what is below ``root`` now for safe on the disk."""
        self.root = root
        self.cuts: list[Cut] = []
        self._safe: dict[_Node, bytes] = {}
        self._names: dict[str, _Names] = {}
        self._last: dict[str, _Tree] = {}
        self._moments = 0
        self._pins = ExitStack()
        self._patches = ExitStack()

    def __enter__(self) -> Self:
        """Begin to watch."""
        for folder in self._folders():
            self._names[str(folder)] = self._now(folder)
            for path in folder.iterdir():
                if path.is_file() and not path.is_symlink():
                    self._secure(path)
        for name in ("fsync", *_CHANGES):
            wrapped = self._watched(name, getattr(os, name))
            self._patches.enter_context(mock.patch.object(os, name, wrapped))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Watch no more."""
        self._patches.close()
        self._pins.close()

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - it stands for any of them
            self._moments += 1
            number = self._moments
            self._cut(f"before {name} {number}")
            result = real(*arguments, **options)
            if name == "fsync":
                self._synced(Path(f"/proc/self/fd/{arguments[0]}").readlink())
            self._cut(f"after {name} {number}")
            return result

        return call

    def _synced(self, path: Path) -> None:
        if not path.is_relative_to(self.root):
            return
        if path.is_dir():
            self._names[str(path)] = self._now(path)
        elif path.exists():
            self._secure(path)

    def _secure(self, path: Path) -> None:
        # An open descriptor keeps the inode's number from being given to another file.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._pins.callback(os.close, descriptor)
        facts = os.fstat(descriptor)
        self._safe[facts.st_dev, facts.st_ino] = os.pread(descriptor, facts.st_size, 0)

    # --- what would be left -----------------------------------------------------------------------------------------
    def _cut(self, moment: str) -> None:
        folders = list(self._folders())
        now = {str(folder): self._now(folder) for folder in folders}
        files = {node: path for folder in folders for node, path in self._files(folder)}
        safe = {folder: self._names.get(folder, {}) for folder in now}
        for how, names in (("bytes", now), ("content", now), ("names", safe)):
            tree: _Tree = {str(one.relative_to(self.root)): None for one in folders[1:]}
            for folder, held in names.items():
                below = Path(folder).relative_to(self.root)
                left = {name: self._left(what, files, full=how == "content") for name, what in held.items()}
                tree |= {str(below / name): what for name, what in left.items()}
            if self._last.get(how) != tree:
                self._last[how] = tree
                self.cuts.append(Cut(f"{moment}, lost {how}", tree))

    def _left(self, what: _Node | str, files: dict[_Node, Path], *, full: bool) -> _File | str:
        if isinstance(what, str):
            return what
        content = self._safe.get(what, b"")
        if what not in files:
            return _File(content, 0, 0o644)
        facts = files[what].stat()
        content = content.ljust(facts.st_size, b"\0") if full else content
        return _File(content, facts.st_mtime_ns, stat.S_IMODE(facts.st_mode))

    def _folders(self) -> Iterator[Path]:
        yield self.root
        yield from sorted(path for path in self.root.rglob("*") if path.is_dir() and not path.is_symlink())

    @staticmethod
    def _files(folder: Path) -> Iterator[tuple[_Node, Path]]:
        for path in folder.iterdir():
            facts = path.lstat()
            if stat.S_ISREG(facts.st_mode):
                yield (facts.st_dev, facts.st_ino), path

    def _now(self, folder: Path) -> _Names:
        links: _Names = {path.name: str(path.readlink()) for path in folder.iterdir() if path.is_symlink()}
        return {path.name: node for node, path in self._files(folder)} | links
