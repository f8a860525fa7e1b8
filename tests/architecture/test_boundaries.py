"""What may be caught, printed, read and imported where."""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

# Each is a boundary that turns any error into a value of ours, so that damage ends there.
CATCH_ALLS = {
    "imagesync/daemon/notify/boundary.py": "one thing to tell, or one receiver, silences no other",
    "imagesync/daemon/service.py": "a new configuration does not end what goes on with the old one",
    "imagesync/daemon/web/background.py": "one answer stops no other",
    "imagesync/lists/smime.py": "parsers of hostile bytes raise anything",
    "imagesync/registry.py": "a plug-in raises anything",
    "imagesync/run/apply.py": "one image stops no other",
    "imagesync/run/observe.py": "one list stops no other",
    "imagesync/run/sync.py": "one target stops no other",
}

# The command line reads the world once and passes it on as values; the demo and the test kit are commands of a kind.
READERS_OF_THE_WORLD = ("imagesync/cli/", "imagesync/demo/", "imagesync/testing/")
CLOCKS = re.compile(r"(^|\.)(datetime\.(now|utcnow|today)|date\.today|time\.(time|time_ns|localtime|gmtime|ctime))$")
CHANCE = re.compile(r"(^|\.)(uuid[14]|urandom|getrandom|token_(bytes|hex|urlsafe))$")
ENVIRONMENT = re.compile(r"^(os\.)?(environb?|getenvb?|expandvars)$")

VAGUE = re.compile(r"manager|handler|helper|utils?$", re.IGNORECASE)


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    match handler.body[-1]:
        case ast.Raise(exc=None):  # clearing away and passing on swallows nothing
            return False
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or ast.unparse(kind).split(".")[-1] in {"Exception", "BaseException"} for kind in caught)


def _catch_alls(module: Any) -> list[int]:
    return [n.lineno for n in ast.walk(module.tree) if isinstance(n, ast.ExceptHandler) and _catches_everything(n)]


def test_everything_is_caught_at_the_listed_boundaries_only(modules: Sequence[Any]) -> None:
    others = [f"{m.path}:{line}" for m in modules if m.path not in CATCH_ALLS for line in _catch_alls(m)]

    assert others == []


@pytest.mark.parametrize("path", CATCH_ALLS)
def test_a_listed_boundary_still_catches_everything(modules: Sequence[Any], path: str) -> None:
    found = [_catch_alls(module) for module in modules if module.path == path]

    assert all(found)


def test_suppress_does_not_swallow_everything(modules: Sequence[Any]) -> None:
    swallowed = [
        f"{module.path}:{node.lineno}"
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "suppress"
        if {ast.unparse(kind) for kind in node.args} & {"Exception", "BaseException"}
    ]

    assert swallowed == []


def test_only_the_command_line_prints(modules: Sequence[Any]) -> None:
    prints = [
        f"{module.path}:{line}"
        for module in modules
        if not module.path.startswith("imagesync/cli/")
        for name, line in module.calls()
        if name in {"print", "click.echo", "sys.stdout.write", "sys.exit", "exit"}
    ]

    assert prints == []


def _readings(module: Any) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute | ast.Name):
            name = ast.unparse(node)
            if CLOCKS.search(name) or CHANCE.search(name) or ENVIRONMENT.search(name):
                yield f"{module.path}:{node.lineno} {name}"
    yield from (f"{module.path}:{line} {name}" for name, line in module.imports() if name in {"random", "secrets"})


def test_clock_environment_and_chance_are_read_by_the_command_line_only(modules: Sequence[Any]) -> None:
    readings = [found for m in modules if not m.path.startswith(READERS_OF_THE_WORLD) for found in _readings(m)]

    assert readings == []


def test_a_backend_imports_only_the_port_and_the_errors(modules: Sequence[Any]) -> None:
    foreign = [
        f"{module.path}:{line} {name}"
        for module in modules
        if module.path.startswith("backends/")
        for name, line in module.imports()
        if name.split(".")[0] == "imagesync" and name not in {"imagesync.backend", "imagesync.errors"}
    ]

    assert foreign == []


def test_type_checks_are_waived_at_most_three_times_each_with_code_and_reason(modules: Sequence[Any]) -> None:
    lines = [
        f"{m.path}:{n} {line.strip()}"
        for m in modules
        for n, line in enumerate(m.text.splitlines(), 1)
        if "type: ignore" in line
    ]

    assert len(lines) <= 3
    assert [line for line in lines if not re.search(r"# type: ignore\[[a-z-]+\]  # \w", line)] == []


def test_names_are_words_of_the_field(modules: Sequence[Any]) -> None:
    vague = [module.path for module in modules if VAGUE.search(module.name.split(".")[-1])]
    vague += [
        f"{module.path}:{node.lineno} {node.name}"
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and VAGUE.search(node.name) and not _named_by_its_base(node)
    ]

    assert vague == []


def _named_by_its_base(node: ast.ClassDef) -> bool:
    # A class that http.server or logging calls back is a handler because they say so.
    return any("Handler" in ast.unparse(base) for base in node.bases)


def _dataclasses(module: Any) -> Iterator[tuple[str, set[str]]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef):
            for decorator in node.decorator_list:
                if ast.unparse(decorator).split("(")[0].split(".")[-1] == "dataclass":
                    yield node.name, {ast.unparse(keyword) for keyword in getattr(decorator, "keywords", ())}


def test_public_values_are_frozen_and_all_are_slotted(modules: Sequence[Any]) -> None:
    # What a test edits before it is served lives in the test kit and is not a value.
    loose = [
        f"{module.path} {name}"
        for module in modules
        if not module.path.startswith(("imagesync/testing/", "imagesync/demo/"))
        for name, options in _dataclasses(module)
        if "slots=True" not in options or ("frozen=True" not in options and not name.startswith("_"))
    ]

    assert loose == []


def test_log_arguments_are_lazy(modules: Sequence[Any]) -> None:
    eager = [
        f"{module.path}:{node.lineno}"
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and re.fullmatch(r"(G|LOG|_?log(ger)?)\.(debug|info|warning|error|exception|critical)", ast.unparse(node.func))
        and node.args
        and isinstance(node.args[0], ast.JoinedStr | ast.BinOp)
    ]

    assert eager == []


def test_packaging_and_fixtures_shadow_no_library(root: Path) -> None:
    # `python -m pytest` puts the repository first on the path: a module here would hide PyPI's packages of that name.
    python = [path for folder in ("packaging", "fixtures") for path in (root / folder).glob("*.py")]

    assert python == []
