"""Functions and modules stay small enough to be read in one go."""

import ast
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

LONGEST_FUNCTION = 40
LONGEST_MODULE = 400
MEDIAN_FUNCTION = 9


def _functions(modules: Sequence[Any]) -> Iterator[tuple[str, int]]:
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module.path}:{node.lineno} {node.name}", _body_lines(node)


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_no_function_body_is_longer_than_forty_lines(modules: Sequence[Any]) -> None:
    long = {name: lines for name, lines in _functions(modules) if lines > LONGEST_FUNCTION}

    assert long == {}


def test_the_median_function_has_nine_lines_or_fewer(modules: Sequence[Any]) -> None:
    assert median(lines for _, lines in _functions(modules)) <= MEDIAN_FUNCTION


def test_no_module_is_longer_than_four_hundred_lines(modules: Sequence[Any]) -> None:
    long = {m.path: n for m in modules if (n := len(m.text.splitlines())) > LONGEST_MODULE}

    assert long == {}
