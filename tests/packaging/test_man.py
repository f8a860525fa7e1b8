"""The man pages are what the program says today, complete, and what man and mandoc have nothing to say about."""

import subprocess
import sys
from pathlib import Path

import pytest

PAGES = ("imagesync.1", "imagesync.yaml.5")


def _shown(page: Path) -> str:
    ran = subprocess.run(
        ["man", "--warnings", "-l", str(page)],
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "500", "LC_ALL": "C.UTF-8"},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert ran.stderr == ""
    return ran.stdout


@pytest.fixture(scope="module")
def pages(root: Path) -> Path:
    """Return the directory of the man pages."""
    return root / "packaging" / "man"


def test_the_man_pages_are_current(pages: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(pages / "generate.py"), str(tmp_path)], check=True, timeout=60)

    old = [name for name in PAGES if (tmp_path / name).read_text() != (pages / name).read_text()]
    assert old == [], "run `make man` and commit what it changed"


@pytest.mark.parametrize("page", PAGES)
def test_mandoc_finds_nothing_to_say_about_a_page(pages: Path, page: str) -> None:
    judged = subprocess.run(
        ["mandoc", "-T", "lint", str(pages / page)], capture_output=True, text=True, check=False, timeout=60
    )

    assert (judged.returncode, judged.stdout) == (0, "")


def test_the_page_of_the_program_has_every_command_with_its_options(pages: Path) -> None:
    text = _shown(pages / "imagesync.1")

    for command in ("sync", "list sign", "config init", "bundle export", "image inspect", "daemon"):
        assert f"\n   imagesync {command}\n" in text
    for option in ("-c, --config FILE", "--honour-back-off", "--passphrase-file PATH"):
        assert f"       {option}" in text
    assert "imagesync pass" not in text


def test_the_page_of_the_program_has_every_exit_code(pages: Path) -> None:
    from imagesync.run.exits import Exit

    _, _, text = _shown(pages / "imagesync.1").partition("EXIT STATUS")

    assert [code for code in Exit if f"\n       {code.value}      " not in text] == []


def test_the_page_of_the_configuration_has_every_key(pages: Path) -> None:
    from imagesync_directory.settings import KNOWN
    from imagesync_glance.settings import Settings

    from imagesync.config.reference import json_schema, parts

    text = _shown(pages / "imagesync.yaml.5")
    schemas = (json_schema(), Settings.model_json_schema())
    keys = {option.key for schema in schemas for part in parts(schema) for option in part.options}

    assert [key for key in (*keys, *KNOWN) if f"\n       {key}" not in text] == []


def test_text_that_looks_like_a_request_of_roff_is_text(pages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(pages))
    import roff

    assert roff.filled(roff.marked(".TH in `a-b`\\c")) == "\\&.TH in \\fBa\\-b\\fR\\ec\n"
