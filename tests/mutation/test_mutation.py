"""The tool that changes the verifier's code, by what it does to a few lines, and the list of what it may leave."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))

EXAMPLE = """
LIMIT = 5

def first(items, top=3):
    \"""Not changed.\"""
    for item in items:
        if item < LIMIT and not item.odd:
            return item
    raise ValueError("not changed")

def kind(value):
    match value:
        case int() if value:
            return "number"
        case _:
            return None
"""


def test_every_small_change_of_a_module_is_one_mutant(tmp_path: Path) -> None:
    from sites import mutants

    file = tmp_path / "example.py"
    file.write_text(EXAMPLE)

    assert [mutant.name for mutant in mutants("example", str(file))] == [
        "module: LIMIT = 5 -> LIMIT = 6",
        "module: LIMIT = 5 -> LIMIT = 4",
        "module: def first(items, top=3): -> def first(items, top=4):",
        "module: def first(items, top=3): -> def first(items, top=2):",
        "first: if item < LIMIT and (not item.odd): -> if False:",
        "first: if item < LIMIT and (not item.odd): -> if True:",
        "first: if item < LIMIT and (not item.odd): -> if item < LIMIT or not item.odd:",
        "first: if item < LIMIT and (not item.odd): -> if item <= LIMIT and (not item.odd):",
        "first: if item < LIMIT and (not item.odd): -> if item < LIMIT and item.odd:",
        "first: return item -> return None",
        "first: raise ValueError('not changed') left out",
        "kind: case int() if value: left out",
        "kind: case int() if value: -> case int():",
        "kind: return 'number' -> return 'mutant'",
        "kind: case _: left out",
    ]


def test_a_mutant_has_the_code_of_its_change_and_no_other(tmp_path: Path) -> None:
    from sites import mutants

    file, found = tmp_path / "example.py", []
    file.write_text("def answer():\n    return 42\n")
    for mutant in mutants("example", str(file)):
        names: dict[str, object] = {}
        exec(mutant.code(), names)
        found.append((names["answer"](), sorted(mutant.lines)))  # type: ignore[operator]

    assert found == [(43, [2]), (41, [2])]


@pytest.mark.parametrize("module", yaml.safe_load((FOLDER / "equivalent.yaml").read_text()) or {})
def test_what_is_listed_as_without_effect_is_a_mutant_and_has_a_reason(module: str) -> None:
    from sites import mutants

    reasons = yaml.safe_load((FOLDER / "equivalent.yaml").read_text())[module]
    file = importlib.import_module(f"imagesync.lists.{module}").__file__

    assert set(reasons) <= {mutant.name for mutant in mutants(module, str(file))}
    assert all(len(reason.split()) > 2 for reason in reasons.values())


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER), "--quick", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)


def test_a_module_whose_tests_see_its_mutants_is_good() -> None:
    ran = run("namespaces", "--only", "SubjectRules.permit")

    assert (ran.returncode, ran.stdout.splitlines()[0][:34]) == (0, "namespaces: 2 mutants, 2 killed, 0"), ran.stderr


def test_a_mutant_that_no_test_sees_is_named(tmp_path: Path) -> None:
    ran = run("revocation", "--only", "covers only some certificates")

    assert (ran.returncode, "SURVIVED" in ran.stdout) == (1, True), ran.stderr
