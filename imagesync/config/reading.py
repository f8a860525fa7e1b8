"""Reading one YAML file, strictly: no key twice, no surprise types, bounded in size, depth and expansion."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import yaml

MAX_BYTES = 4 << 20
MAX_NODES = 200_000
MAX_DEPTH = 40

_PLAIN_TAG = "tag:yaml.org,2002:"


class UnreadableError(Exception):
    """A file that is no configuration; its argument is one problem per line, each with its place in the file."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        """Keep every problem found."""
        super().__init__(*problems)
        self.problems = problems


class _Loader(yaml.SafeLoader):
    """Safe YAML without the surprises of 1.1 for identifiers: no octal, no base 60, no dates. Booleans stay.

    What is nested too deep is refused on the way down, before it is a matter of how deep Python can go.
    """

    _depth = -1

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401 - as PyYAML has it
        self._depth += 1
        try:
            if self._depth > MAX_DEPTH:
                problem = f"is nested deeper than {MAX_DEPTH} levels"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=cast("Any", self).peek_event().start_mark)
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - as PyYAML has it
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:
            # What is not what its tag says, as in "!!int x", is met by PyYAML with whatever Python raises then.
            problem = f"is no {node.tag.removeprefix(_PLAIN_TAG)} that can be read: write another value"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from error


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in {"bool", "null", "merge"}]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_PLAIN_TAG}int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z"), list("-+0123456789"))
_Loader.add_implicit_resolver(f"{_PLAIN_TAG}float", re.compile(r"[-+]?[0-9]+\.[0-9]+\Z"), list("-+0123456789"))


def read(path: Path) -> dict[str, Any]:
    """Return the mapping in ``path``; an empty file is an empty one.

    Raises:
        UnreadableError: it cannot be read, is no YAML mapping, or breaks one of the rules above.
    """
    return parse(text_of(path))


def text_of(path: Path) -> bytes:
    """Return what is in ``path``.

    Raises:
        UnreadableError: it cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableError((f"cannot be read: {error.strerror}",)) from error
    if len(text) > MAX_BYTES:
        raise UnreadableError((f"is larger than {MAX_BYTES >> 20} MiB: that is no configuration",))
    return text


def parse(text: bytes) -> dict[str, Any]:
    """Return the mapping that ``text`` holds; nothing is an empty one.

    Raises:
        UnreadableError: it is no YAML mapping, or breaks one of the rules above.
    """
    try:
        return _parse(text)
    except yaml.MarkedYAMLError as error:
        raise UnreadableError(
            (_place(error.problem_mark) + (error.problem or error.context or "is no YAML"),)
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UnreadableError((f"is no YAML: {' '.join(str(error).split())}",)) from error


def _parse(text: bytes) -> dict[str, Any]:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}
        problems = tuple(_Inspection().problems(node))
        if problems:
            raise UnreadableError(problems)
        value = loader.construct_document(node)
    finally:
        loader.dispose()
    if not isinstance(value, dict):
        raise UnreadableError(("holds no options: write KEY: VALUE lines",))
    return value


class _Inspection:
    """One walk over a document before anything is built from it."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._sizes: dict[int, int] = {}

    def problems(self, root: yaml.Node) -> Iterator[str]:
        """Yield what is wrong; an alias without end, or too many values, is all that is said."""
        try:
            size = self._size(root)
        except UnreadableError as error:
            yield from error.problems
            return
        if size > MAX_NODES:
            yield f"has more than {MAX_NODES} values once its aliases are replaced"
            return
        yield from _bad_keys(root, set())

    def _size(self, node: yaml.Node) -> int:
        """Return how many values ``node`` stands for, aliases replaced; counted once per node."""
        known = self._sizes.get(id(node))
        if known is not None:
            if known < 0:
                raise UnreadableError((_place(node.start_mark) + "an alias refers to what it is in",))
            return known
        self._sizes[id(node)] = -1
        size = 1 + sum(self._size(child) for child in _children(node))
        self._sizes[id(node)] = size
        return size


def _bad_keys(node: yaml.Node, seen: set[int]) -> Iterator[str]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        yield from _bad_keys_here(node)
    for child in _children(node):
        yield from _bad_keys(child, seen)


def _bad_keys_here(node: yaml.MappingNode) -> Iterator[str]:
    first: dict[str, int] = {}
    for key, _ in node.value:
        place = _place(key.start_mark)
        if not isinstance(key, yaml.ScalarNode) or key.tag not in {f"{_PLAIN_TAG}str", f"{_PLAIN_TAG}merge"}:
            what = f"the key {key.value}" if isinstance(key, yaml.ScalarNode) else "a key"
            yield f"{place}{what} is not read as text: put it in quotes"
        elif key.value in first:
            yield f"{place}the key {key.value} is given twice, first in line {first[key.value]}: keep one"
        else:
            first[key.value] = key.start_mark.line + 1 if key.start_mark else 0


def _children(node: yaml.Node) -> list[yaml.Node]:
    match node:
        case yaml.MappingNode():
            return [part for pair in node.value for part in pair]
        case yaml.SequenceNode():
            return list(node.value)
        case _:
            return []


def _place(mark: yaml.Mark | None) -> str:
    return f"line {mark.line + 1}: " if mark else ""
