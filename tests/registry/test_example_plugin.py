"""A distribution that nobody here wrote is installed, found, and keeps every promise."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2] / "fixtures" / "plugins" / "imagesync-example"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the plug-in as pip does, offline, and return an environment that has it."""
    work = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(PLUGIN, work / "source", ignore=shutil.ignore_patterns("__pycache__"))
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *offline, "--target", str(work / "site"), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(work / "site"), *filter(None, sys.path)])}


def test_it_passes_the_conformance_suite(installed: dict[str, str], tmp_path: Path) -> None:
    tests = shutil.copy(PLUGIN / "tests" / "test_conformance.py", tmp_path)
    options = ["-q", "-p", "no:cacheprovider", "-W", "error", "--import-mode=importlib", f"--rootdir={tmp_path}"]
    command = [sys.executable, "-m", "pytest", *options, f"--basetemp={tmp_path / 'base'}", str(tests)]
    done = subprocess.run(command, env=installed, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    passed = int(done.stdout.rsplit(" passed", 1)[0].split()[-1])
    assert passed >= 45


def test_it_is_listed_beside_ours(installed: dict[str, str]) -> None:
    program = """
import dataclasses, json
from imagesync.registry import backends
print(json.dumps({name: dataclasses.asdict(info) for name, info in backends().items()}))
"""
    done = subprocess.run([sys.executable, "-c", program], env=installed, capture_output=True, text=True, check=True)

    listed = json.loads(done.stdout)
    assert listed["example"] == {"name": "example", "distribution": "imagesync-example", "version": "1.2.3"}
    assert "directory" in listed


def test_it_imports_only_the_port() -> None:
    text = (PLUGIN / "imagesync_example" / "__init__.py").read_text()
    imported = {line.split()[1] for line in text.splitlines() if line.startswith("from imagesync")}

    assert imported == {"imagesync.backend", "imagesync.errors"}
