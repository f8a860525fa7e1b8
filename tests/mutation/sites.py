"""Where a module's code can be changed, and how: the classic small mistakes, each by itself.

Comparisons at their edge or turned round, ``and`` for ``or``, conditions that always or never hold, other constants,
statements, cases, guards and filters that are left out, values that are not returned. Left alone are annotations,
decorators, docstrings, the members of enumerations, formatted texts and those of exceptions: they decide nothing.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
}
NAMES = {"any": "all", "all": "any", "min": "max", "max": "min"}
LEFT_ALONE = {"annotation", "returns", "decorator_list"}
LEFT_OUT = "left out"
AROUND = 60
"""Characters of a statement that are shown before and behind a change."""


@dataclass(frozen=True, slots=True)
class Change:
    """``new`` where a node has a field, or one element of a field that is a list."""

    owner: ast.AST
    field: str
    index: int | None
    new: object

    def swap(self) -> Change:
        """Put the new value in its place and return the change that undoes it."""
        old = getattr(self.owner, self.field)
        if self.index is None:
            setattr(self.owner, self.field, self.new)
            return replace(self, new=old)
        if self.field == "cases":  # of a match: what is left out comes in again
            undo = replace(self, new=old.pop(self.index) if self.new is LEFT_OUT else LEFT_OUT)
            old[self.index : self.index] = [] if self.new is LEFT_OUT else [self.new]
            return undo
        undo = replace(self, new=old[self.index])
        old[self.index] = self.new
        return undo


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of a module. ``name`` says where and how; ``lines`` are the statement's, none outside functions."""

    module: str
    name: str
    file: str
    lines: frozenset[int]
    tree: ast.Module
    change: Change

    def code(self) -> CodeType:
        """Return the code of the whole module with this change."""
        undo = self.change.swap()
        try:
            return compile(ast.fix_missing_locations(self.tree), self.file, "exec")
        finally:
            undo.swap()


@dataclass(frozen=True, slots=True)
class Place:
    """A statement, and the names of the functions and classes around it."""

    node: ast.AST
    scope: tuple[str, ...]
    runs: bool
    """Whether it stands in a function, so that a test can be seen to run it."""

    def text(self) -> str:
        """Return the statement, or the head of a compound one, in one line."""
        return " ".join(ast.unparse(self.node).split("\n")[0].split())

    def lines(self) -> frozenset[int]:
        """Return the lines of the statement or of its head."""
        if not self.runs:
            return frozenset()
        node = self.node.pattern if isinstance(self.node, ast.match_case) else self.node
        first, last = node.lineno, node.end_lineno  # type: ignore[attr-defined]
        if isinstance(body := getattr(self.node, "body", None), list):
            last = max(first, body[0].lineno - 1)
        return frozenset(range(first, last + 1))


def mutants(module: str, file: str) -> Iterator[Mutant]:
    """Yield every mutant of a module; their names are unique in it and hold no line numbers."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    seen = Counter[str]()
    for place, change in list(_statements(tree, "body", (), runs=False)):
        name = f"{'.'.join(place.scope) or 'module'}: {_what(place, change)}"
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name} ({seen[name]})"
        yield Mutant(module, unique, file, place.lines(), tree, change)


def _what(place: Place, change: Change) -> str:
    before = place.text()
    if change.new is LEFT_OUT or isinstance(change.new, ast.Pass):
        return f"{before[: 2 * AROUND]} {LEFT_OUT}"
    undo = change.swap()
    after = place.text()
    undo.swap()
    return _difference(before, after)


def _difference(before: str, after: str) -> str:
    """Return both texts, of long ones what is around the place where they differ."""
    same = _alike(before, after)
    rest = _alike(before[same:][::-1], after[same:][::-1])
    texts = []
    for text in (before, after):
        begin, end = max(0, same - AROUND), min(len(text), len(text) - rest + AROUND)
        texts.append(f"{'...' if begin else ''}{text[begin:end]}{'...' if end < len(text) else ''}")
    return " -> ".join(texts)


def _alike(one: str, other: str) -> int:
    """Return how many characters at the beginning of two texts are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))


Found = Iterator[tuple[Place, Change]]


def _statements(owner: ast.AST, field: str, scope: tuple[str, ...], *, runs: bool) -> Found:
    for index, node in enumerate(getattr(owner, field)):
        place = Place(node, scope, runs)
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Expr(ast.Constant()) | ast.If(ast.Name("TYPE_CHECKING")):
                continue
            case ast.ClassDef() if any("Enum" in ast.unparse(base) for base in node.bases):
                continue
            case ast.ClassDef():
                yield from _statements(node, "body", (*scope, node.name), runs=False)
            case ast.FunctionDef():
                yield from _children(node.args, replace(place, runs=False))
                yield from _statements(node, "body", (*scope, node.name), runs=True)
            case ast.Raise():
                yield place, Change(owner, field, index, ast.Pass())
            case ast.Expr():
                yield place, Change(owner, field, index, ast.Pass())
                yield from _children(node, place)
            case _:
                yield from _children(node, place)


def _children(node: ast.AST, place: Place) -> Found:
    """Yield the changes of everything below a node that belongs to the same place."""
    for field, value in ast.iter_fields(node):
        if field in LEFT_ALONE or isinstance(node, ast.JoinedStr):
            continue
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            yield from _statements(node, field, place.scope, runs=place.runs)
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                if isinstance(inner, ast.AST):
                    yield from _below(Change(node, field, index, None), inner, place)
        elif isinstance(value, ast.AST):
            yield from _below(Change(node, field, None, None), value, place)


def _below(where: Change, node: ast.AST, place: Place) -> Found:
    if isinstance(node, ast.match_case):
        place = replace(place, node=node)
        yield replace(place, node=node), replace(where, new=LEFT_OUT)
    elif isinstance(node, ast.ExceptHandler):
        place = replace(place, node=node)
    for new in _instead(node, where):
        yield place, replace(where, new=new)
    for field, new in _within(node):
        yield place, Change(node, field, None, new)
    yield from _children(node, place)


def _instead(node: ast.AST, where: Change) -> Iterator[ast.AST]:
    """Yield what can stand in the place of a node."""
    if type(node) in SWAPS:
        yield SWAPS[type(node)]()
    if where.field == "test" and isinstance(where.owner, ast.If | ast.IfExp | ast.While):
        yield ast.Constant(value=False)
        if not isinstance(where.owner, ast.While):
            yield ast.Constant(value=True)
    if isinstance(where.owner, ast.Return) and not isinstance(node, ast.Constant):
        yield ast.Constant(value=None)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    if isinstance(node, ast.Constant):
        yield from (ast.Constant(value=value) for value in _other_values(node.value))


def _other_values(value: object) -> tuple[object, ...]:
    match value:
        case bool():
            return (not value,)
        case int():
            return value + 1, value - 1
        case str():
            return ("mutant",)
        case bytes():
            return (b"mutant",)
        case _:
            return ()


def _within(node: ast.AST) -> Iterator[tuple[str, object]]:
    """Yield fields of a node and what they can hold instead."""
    match node:
        case ast.comprehension(ifs=[_, *_]):
            yield "ifs", []
        case ast.match_case(guard=ast.AST()):
            yield "guard", None
        case ast.ExceptHandler(type=ast.Tuple(elts=kinds)):
            for index in range(len(kinds)):
                yield "type", ast.Tuple(elts=kinds[:index] + kinds[index + 1 :], ctx=ast.Load())
        case ast.Call(func=ast.Name(id=name)) if name in NAMES:
            yield "func", ast.Name(id=NAMES[name], ctx=ast.Load())
