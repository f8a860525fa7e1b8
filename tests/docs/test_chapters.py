"""A reader of one chapter finds the others."""

import re
from pathlib import Path

import pytest


@pytest.fixture
def chapters(root: Path) -> dict[str, str]:
    """Return the text of each chapter that the index has for operators, by its name."""
    index = (root / "docs/index.rst").read_text(encoding="utf-8")
    listed = index.partition(":caption: For operators")[2].partition("..")[0].split()
    return {name: (root / f"docs/{name}.rst").read_text(encoding="utf-8") for name in listed}


def _links(chapters: dict[str, str], text: str) -> set[str]:
    labels = {label: name for name in chapters for label in re.findall(r"(?m)^\.\. _([\w-]+):$", chapters[name])}
    found = re.findall(r":(?:doc|ref):`(?:[^<`]*<)?([\w/-]+)>?`", text)
    return {labels.get(target, target) for target in found}


def test_every_chapter_is_named_by_another(chapters: dict[str, str]) -> None:
    named = {other for name, text in chapters.items() for other in _links(chapters, text) - {name}}

    assert len(chapters) > 15
    assert chapters.keys() - named == set()


@pytest.mark.parametrize("way", ["ansible", "migration", "releases", "service"])
def test_each_way_to_install_leads_to_what_all_have_in_common(chapters: dict[str, str], way: str) -> None:
    assert "installation" in _links(chapters, chapters[way])
