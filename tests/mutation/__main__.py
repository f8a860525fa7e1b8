"""Mutation testing of the code that verifies lists: ``python tests/mutation [MODULE ...]``.

Every small change of a module must be seen by a test. What no test sees is printed; those that change nothing stand,
each with the reason, in ``equivalent.yaml``. Exits with 1 if there are others, or if one that stands there is seen.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from sites import Mutant, mutants
from warm import Warm

ROOT = Path(__file__).resolve().parents[2]
LISTS = ROOT / "tests" / "lists"
EQUIVALENT = Path(__file__).parent / "equivalent.yaml"
MODULES = (
    *("envelope", "cms", "smime", "path", "revocation", "anchors", "admit"),
    *("names", "namespaces", "grammar", "hepix", "strict_json"),
)
TESTS = ("test_smime.py", "test_corpus.py::test_each_message_gets_its_verdict_for_its_reason")
OPTIONS = (
    *("-p", "no:terminal", "-p", "no:cacheprovider", "-p", "no:xdist", "-s", "-x", f"--rootdir={ROOT}"),
    *("-o", "timeout=0", "-o", "tmp_path_retention_policy=failed"),
    *("-k", "not mutated and not generator"),  # those are slow and see nothing that the others do not
)


@dataclass
class Report:
    """What is printed: each surprise at once, and a line for each module when it is done."""

    reasons: Mapping[str, Mapping[str, str]]
    expected: Counter[str]
    judged: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    surprises: Counter[str] = field(default_factory=Counter)

    def judge(self, mutant: Mutant, *, is_killed: bool) -> None:
        """Count a mutant and print it if it should not be there, or should no longer be on the list."""
        module, is_listed = mutant.module, mutant.name in self.reasons.get(mutant.module, {})
        self.judged[module] += 1
        self.killed[module] += is_killed
        if is_killed == is_listed:
            self.surprise(module, "seen by now, take it from the list" if is_killed else "SURVIVED", mutant.name)
        if self.judged[module] == self.expected[module]:
            print(self._line(module), flush=True)

    def surprise(self, module: str, what: str, name: str) -> None:
        """Print what makes the run fail."""
        self.surprises[module] += 1
        print(f"{module}: {what}: {name}", flush=True)

    def _line(self, module: str) -> str:
        number, killed = self.judged[module], self.killed[module]
        return f"{module}: {number} mutants, {killed} killed, {number - killed} not (for reasons, if nothing is above)"


def main() -> int:
    """Judge the modules that are named, or all, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of imagesync/lists: {', '.join(MODULES)}")
    parser.add_argument("--only", action="append", help="only mutants with this text in their names (repeatable)")
    parser.add_argument("--quick", action="store_true", help="have the modules' own tests alone judge: more survive")
    asked = parser.parse_args()
    begin, names = time.monotonic(), asked.modules or MODULES
    made = [mutant for name in names for mutant in _mutants(name)]
    chosen = [mutant for mutant in made if any(text in mutant.name for text in asked.only or [""])]
    expected = Counter(mutant.module for mutant in chosen)
    report = Report(yaml.safe_load(EQUIVALENT.read_text(encoding="utf-8")) or {}, expected)
    for name in names:
        for old in report.reasons.get(name, {}).keys() - {mutant.name for mutant in made if mutant.module == name}:
            report.surprise(name, "gone, take it from the list", old)
    tests = [f"test_{name}.py" for name in names] + ([] if asked.quick else [*TESTS])
    code = _run(tests, Warm(chosen, report.judge))
    print(f"{time.monotonic() - begin:.0f} s")
    return 1 if code or report.surprises else 0


def _mutants(name: str) -> Iterator[Mutant]:
    file = importlib.import_module(f"imagesync.lists.{name}").__file__ or ""
    return mutants(name, file)


def _run(tests: Sequence[str], plugin: Warm) -> int:
    os.environ.pop("PYTEST_ADDOPTS", None)  # made for another run, with other plugins
    with tempfile.TemporaryDirectory() as directory:
        paths = dict.fromkeys(str(LISTS / test) for test in tests)
        return pytest.main([*OPTIONS, f"--basetemp={directory}/tests", *paths], plugins=[plugin])


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
