import json
from collections.abc import Callable
from pathlib import Path

import pytest
from imagesync_directory import open_backend

from imagesync.testing.conformance import Bench, Subject
from imagesync.testing.subject import listed

EXTENSION = {"note": {"who": "an operator", "number": 7}}


def _facts(path: Path) -> tuple[int, ...]:
    """Return what would show a change; the time of access is no change, and this very question moves it."""
    facts = path.lstat()
    return facts.st_ino, facts.st_mode, facts.st_uid, facts.st_gid, facts.st_nlink, facts.st_size, facts.st_mtime_ns


def subject_of(root: Path) -> Subject:
    """Return the directory target at ``root``; ``root`` need not be there yet."""
    foreign_names = ["other.qcow2", "f" * 64 + ".raw", "link.raw", "dangling", "sub"]

    def plant() -> None:
        root.mkdir(exist_ok=True)
        (root / "other.qcow2").write_bytes(b"foreign")
        (root / ("f" * 64 + ".raw")).write_bytes(b"named like one of ours")
        (root / "link.raw").symlink_to("other.qcow2")
        (root / "dangling").symlink_to("nowhere")
        (root / "sub").mkdir()
        (root / "sub" / "file").write_bytes(b"foreign")

    def foreign() -> object:
        paths = [root / name for name in (*foreign_names, "sub/file")]
        return [(*_facts(path), path.readlink() if path.is_symlink() else None) for path in paths]

    def annotate(ref: str) -> None:
        with made.open() as backend:
            key = listed(backend)[ref].key
        catalogue = json.loads((root / "catalogue.json").read_text())
        entry = next(entry for entry in catalogue["images"] if entry["key"]["image"] == key.image)
        entry.update(EXTENSION)
        (root / "catalogue.json").write_text(json.dumps(catalogue))

    def annotation(ref: str) -> object:
        catalogue = json.loads((root / "catalogue.json").read_text())
        return [entry.get("note") for entry in catalogue["images"]]

    def tamper(ref: str, content: bytes | None) -> None:
        catalogue = json.loads((root / "catalogue.json").read_text())
        (entry,) = catalogue["images"]
        (root / entry["file"]).unlink()
        if content is not None:
            (root / entry["file"]).write_bytes(content)

    made = Subject(
        open_backend,
        {"path": str(root)},
        plant_foreign=plant,
        foreign=foreign,
        annotate=annotate,
        annotation=annotation,
        tamper=tamper,
    )
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The target's directory; its parent is there."""
    return tmp_path / "pool"


@pytest.fixture
def make_subject() -> Callable[[Path], Subject]:
    return subject_of


@pytest.fixture
def subject(root: Path) -> Subject:
    return subject_of(root)


@pytest.fixture
def bench(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(subject, tmp_path_factory.mktemp("content"))


@pytest.fixture
def catalogue(root: Path) -> Callable[[], dict[str, object]]:
    """Read catalogue.json as any other program would."""
    return lambda: json.loads((root / "catalogue.json").read_text())


@pytest.fixture
def visible(root: Path) -> Callable[[], dict[str, str]]:
    """What a pool shows: each name with the target of a link, or nothing for a file."""

    def look() -> dict[str, str]:
        paths = [path for path in root.iterdir() if not path.name.startswith(".") and path.name != "catalogue.json"]
        return {path.name: str(path.readlink()) if path.is_symlink() else "" for path in paths}

    return look
