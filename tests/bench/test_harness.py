"""The bench's own rules: turns, medians, limits."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def harness() -> ModuleType:
    """Return the harness; the bench scripts find it beside themselves, a test does not."""
    spec = importlib.util.spec_from_file_location("bench_harness", HERE / "harness.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.gc = SimpleNamespace(collect=lambda: 0)  # type: ignore[attr-defined] # of all that other tests have left
    return module


def test_two_actions_take_turns(harness: ModuleType) -> None:
    turns: list[str] = []

    def action(name: str) -> float:
        turns.append(name)
        return 1.0

    harness.alternate({"a": lambda: action("a"), "b": lambda: action("b")})

    assert turns == ["a", "b"] * 5


def test_fewer_than_five_rounds_are_refused(harness: ModuleType) -> None:
    with pytest.raises(ValueError, match="at least 5"):
        harness.alternate({"a": lambda: 1.0}, rounds=4)


def test_a_ratio_is_one_of_medians(harness: ModuleType) -> None:
    ours, reference = iter([2.0, 2.0, 2.0, 2.0, 90.0]), iter([4.0, 4.0, 4.0, 0.1, 4.0])

    found = harness.ratio("half", lambda: next(ours), lambda: next(reference), at_most=0.5)

    assert (found["value"], found["ok"]) == (0.5, True)


def test_a_value_beyond_its_limit_is_not_ok(harness: ModuleType) -> None:
    found = harness.limit("memory", 151, at_most=150, unit="MiB")

    assert not found["ok"]
    assert "TOO MUCH" in harness.table([found])


@pytest.mark.parametrize(("value", "status"), [(1, 0), (3, 1)])
def test_the_bench_fails_when_a_limit_is_passed(tmp_path: Path, value: int, status: int) -> None:
    folder = tmp_path / "tests" / "bench"
    folder.mkdir(parents=True)
    for name in ("harness.py", "__main__.py"):
        (folder / name).write_bytes((HERE / name).read_bytes())
    script = f"import harness\ndef measure():\n    return harness.limit('two', {value}, at_most=2, unit='s')\n"
    (folder / "bench_two.py").write_text(script)

    ran = subprocess.run([sys.executable, str(folder)], capture_output=True, text=True, check=False, timeout=60)

    assert ran.returncode == status
    assert json.loads((tmp_path / "build" / "bench.json").read_text())["measurements"][0]["value"] == value


def test_every_bench_script_can_measure() -> None:
    lacking = [path.name for path in HERE.glob("bench_*.py") if "def measure() ->" not in path.read_text()]

    assert lacking == []


def test_the_site_of_the_measurements_has_nothing_to_do(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from bench_nothing_to_do import set_up
from scene import scene

with scene(Path(sys.argv[1])) as site:
    set_up(site, lists=1, images=2)
"""

    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
