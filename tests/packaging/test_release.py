"""A release is built with locked tools, and its bill of materials tells what it is made of."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name


@pytest.fixture(scope="module")
def release(root: Path, build_once: Callable[[str], None]) -> Path:
    """Return the directory of a release of this checkout."""
    build_once("dist")
    return root / "dist"


def test_a_release_has_the_sums_of_its_parts(release: Path) -> None:
    ran = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=release, capture_output=True, check=False
    )

    assert (ran.returncode, len(ran.stdout.splitlines())) == (0, 3)


def test_a_release_has_the_distributions_of_this_checkout(release: Path, wheel: Path, sdist: Path) -> None:
    assert (release / wheel.name).read_bytes() == wheel.read_bytes()
    assert (release / sdist.name).read_bytes() == sdist.read_bytes()


def test_the_bill_of_materials_fits_its_schema(root: Path, release: Path) -> None:
    """By the validator of the CycloneDX library, beside the one of the program that wrote it."""
    code = (
        "import sys; from pathlib import Path\n"
        "from cyclonedx.schema import SchemaVersion\n"
        "from cyclonedx.validation.json import JsonStrictValidator\n"
        "error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(Path(sys.argv[1]).read_text())\n"
        "sys.exit(str(error) if error else 0)\n"
    )
    (bill,) = release.glob("*.cdx.json")
    command = [root / "build" / "release" / "bin" / "python", "-c", code, bill]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_bill_of_materials_names_what_is_locked_with_licences(root: Path, release: Path) -> None:
    (bill,) = release.glob("*.cdx.json")
    text = bill.read_text(encoding="utf-8")
    content = json.loads(text)
    # A purl keeps the dots of a name, for which locks have dashes.
    named = {f"{canonicalize_name(part['name'])}=={part['version']}" for part in content["components"]}
    lock = (root / "packaging" / "requirements.txt").read_text(encoding="utf-8")
    locked = {line.split()[0] for line in lock.splitlines() if "==" in line and "win32" not in line}

    assert named == locked
    assert content["metadata"]["component"]["name"] == "imagesync"
    assert content["metadata"]["component"]["version"]
    assert [part["name"] for part in content["components"] if not part.get("licenses")] == []
    assert str(root) not in text
