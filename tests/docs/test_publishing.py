"""docs/publishing.rst is true: its description is accepted, its commands run and print what it says."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagesync.lists.description import Description, Endorser, ImageDescription
from imagesync.testing.pki import Authority, write_anchors, write_identity

ANCHORS = "/etc/grid-security/certificates"


@pytest.fixture
def manager(tmp_path: Path) -> Path:
    """Return the directory of a VO manager: images, a certificate, its key, and the anchors of a site."""
    (tmp_path / "images").mkdir()
    for name in ("alma9.qcow2", "debian12.qcow2"):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "images" / name, "1M"], check=True)
    authority = Authority("/DC=org/DC=example/CN=Example CA", datetime.now(UTC))
    write_identity(authority.issue("/DC=org/DC=example/CN=Ada Lovelace"), tmp_path)
    write_anchors(tmp_path / "certificates", [authority])
    return tmp_path


def test_the_commands_run_and_print_what_is_said(
    root: Path,
    manager: Path,
    blocks: Callable[[Path, str], list[str]],
    commands: Callable[[Path], list[tuple[str, str]]],
    shell: Callable[[str, Path], subprocess.CompletedProcess[str]],
    prints: Callable[[str, str], bool],
) -> None:
    document = root / "docs" / "publishing.rst"
    (description,) = blocks(document, "yaml")
    (manager / "images.yaml").write_text(description, encoding="utf-8")
    shell(f'PATH="{Path(sys.executable).parent}:$PATH"', manager)

    ran = [(line, output, shell(line.replace(ANCHORS, "certificates"), manager)) for line, output in commands(document)]

    assert [line.split()[2] for line, _, _ in ran] == ["make", "make", "sign", "sign", "verify"]
    for line, output, result in ran:
        assert result.returncode == 0, f"{line}\n{result.stdout}{result.stderr}"
        assert prints(output, result.stdout), f"{line} printed\n{result.stdout}"


@pytest.mark.parametrize("key", [*Description.model_fields, *Endorser.model_fields, *ImageDescription.model_fields])
def test_every_key_of_a_description_is_explained(root: Path, key: str) -> None:
    assert f"``{key}``" in (root / "docs" / "publishing.rst").read_text(encoding="utf-8")
