"""The program's own source, parsed once."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("imagesync", "backends/imagesync_directory", "backends/imagesync_glance")


@dataclass(frozen=True, slots=True)
class Module:
    """One source file. ``path`` is relative to the repository, ``name`` dotted."""

    path: str
    name: str
    text: str
    tree: ast.Module

    def calls(self) -> Iterator[tuple[str, int]]:
        """Yield the dotted name as written and the line of each call."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func), node.lineno

    def imports(self) -> Iterator[tuple[str, int]]:
        """Yield the module that each import statement names, and its line; relative ones are resolved."""
        for node in ast.walk(self.tree):
            match node:
                case ast.Import(names=names):
                    yield from ((alias.name, node.lineno) for alias in names)
                case ast.ImportFrom(module=module, level=0):
                    yield module or "", node.lineno
                case ast.ImportFrom(module=module, level=level):
                    parent = self.name.split(".")
                    cut = level - 1 if self.path.endswith("__init__.py") else level
                    yield ".".join([*parent[: len(parent) - cut], *([module] if module else [])]), node.lineno


def _module(path: Path) -> Module:
    relative = path.relative_to(ROOT)
    parts = relative.parts[1:] if relative.parts[0] == "backends" else relative.parts
    name = ".".join(parts).removesuffix(".py").removesuffix(".__init__")
    text = path.read_text(encoding="utf-8")
    return Module(str(relative), name, text, ast.parse(text, str(relative)))


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the top of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def modules() -> tuple[Module, ...]:
    """Return every module of the three packages."""
    return tuple(_module(path) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
