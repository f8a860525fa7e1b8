"""Bringing images into a target's form, with the real cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagesync.backend import ImageKey, Metadata
from imagesync.config.load import load
from imagesync.errors import BackendRefusedError
from imagesync.http import HttpPolicy
from imagesync.model import Digest, Format, Image, ImageId, ListId
from imagesync.plan.spec import Wanted
from imagesync.run.notebook import Notebook
from imagesync.run.preparation import preparation
from imagesync.run.settings import Subscription, Target
from imagesync.state import open_state
from imagesync.state.repository import Repository

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DISK = bytes(510) + b"\x55\xaa" + bytes(65536)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Repository]:
    with open_state(f"sqlite:///{tmp_path}/state.db") as state:
        yield state


@pytest.fixture
def subscription(tmp_path: Path) -> Subscription:
    """A list that is a bundle."""
    bundle = tmp_path / "bundle"
    (bundle / "images").mkdir(parents=True)
    (bundle / "images" / hashlib.sha512(DISK).hexdigest()).write_bytes(DISK)
    return Subscription("fedcloud", "vo", bundle.as_uri(), (), HttpPolicy(), HttpPolicy())


@pytest.fixture
def wanted() -> Wanted:
    texts = dict.fromkeys(("description", "version", "mpuri", "architecture", "os_name", "os_version"), "")
    sha512 = Digest(hashlib.sha512(DISK).hexdigest())
    image = Image(
        ImageId("a"), title="Image a", uri="", sha512=sha512, size=len(DISK), expires=None, ram_min=0, cores_min=0,
        raw={}, **texts,
    )  # fmt: skip
    return Wanted(ImageKey("", ListId("list"), image.identifier), "fedcloud", image, Metadata("Image a", {}), {})


@pytest.mark.parametrize("max_size", [None, len(DISK), len(DISK) - 1])
def test_what_a_target_takes_at_most_counts(
    max_size: int | None, state: Repository, subscription: Subscription, wanted: Wanted, tmp_path: Path
) -> None:
    (tmp_path / "imagesync.yaml").write_text(f"cache: {tmp_path}/cache\ncache_reserve_bytes: 0\n")
    config = load(tmp_path / "imagesync.yaml", {"HOME": str(tmp_path)})
    bring = preparation(config, {"fedcloud": subscription}, {}, Notebook(state, NOW))
    target = Target("site", "fake", (Format.RAW,), max_size=max_size)

    if max_size == len(DISK) - 1:
        with pytest.raises(BackendRefusedError), bring(wanted, target, lambda _: None, lambda _: None):
            pass
    else:
        with bring(wanted, target, lambda _: None, lambda _: None) as artifact:
            assert artifact.size == len(DISK)
