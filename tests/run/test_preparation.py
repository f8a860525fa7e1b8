"""Bringing images into a target's form, with the real cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagesync.backend import ImageKey, Metadata
from imagesync.config.load import load
from imagesync.config.schema import Config
from imagesync.errors import BackendRefusedError
from imagesync.http import HttpPolicy
from imagesync.images.artifact import ConversionOptions
from imagesync.images.entries import Record, converted_name, record_path, source_name
from imagesync.model import UNPACKED, Digest, Format, Image, ImageId, ListId
from imagesync.plan.spec import Wanted
from imagesync.run.notebook import Notebook
from imagesync.run.preparation import open_store, preparation
from imagesync.run.progress import Silent
from imagesync.run.settings import Scope, Subscription, Target
from imagesync.run.wiring import open_ports, task
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
def config(tmp_path: Path) -> Config:
    text = f"cache: {tmp_path}/cache\ncache_reserve_bytes: 0\nstate: sqlite:///{tmp_path}/state.db\n"
    (tmp_path / "imagesync.yaml").write_text(text + f"trust: {{anchors: {tmp_path}/none}}\n")
    return load(tmp_path / "imagesync.yaml", {"HOME": str(tmp_path)})


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
    max_size: int | None, state: Repository, subscription: Subscription, wanted: Wanted, config: Config
) -> None:
    bring = preparation(config, {"fedcloud": subscription}, {}, Notebook(state, NOW))
    target = Target("site", "fake", (Format.RAW,), max_size=max_size)

    if max_size == len(DISK) - 1:
        with pytest.raises(BackendRefusedError), bring(wanted, target, lambda _: None, lambda _: None):
            pass
    else:
        with bring(wanted, target, lambda _: None, lambda _: None) as artifact:
            assert artifact.size == len(DISK)


def test_what_a_pass_will_need_of_the_cache_is_evicted_after_what_nobody_wants(config: Config, wanted: Wanted) -> None:
    store, sha512 = open_store(config), wanted.image.sha512
    needed = [
        source_name(sha512),
        *(converted_name(sha512, Format.QCOW2, tag) for tag in ("", "compressed", UNPACKED)),
        converted_name(sha512, Format.RAW, "compressed"),
    ]
    needless = [converted_name(sha512, Format.VDI), source_name(Digest("0" * 128))]
    for used, name in enumerate((*needed, *needless)):
        with store.working(name), store.workspace() as work:
            (work / "file").write_bytes(DISK)
            with store.add(name, work / "file", Record(sha512, len(DISK))) as entry:
                os.utime(record_path(entry.path), (used, used))

    target = Target("site", "fake", (Format.QCOW2, Format.RAW), options=ConversionOptions(compress=True))
    unknown = replace(wanted, image=replace(wanted.image, sha512=Digest("f" * 128)))
    with open_ports(config, {}, task(config, Scope(recalls_only=True), NOW), Silent()) as ports:
        ports.expect(target, [unknown, wanted])

    gone = [entry.name for entry in store.ls() if entry.used_ns < 10 * 10**9]
    assert sorted(gone) == sorted([converted_name(sha512, Format.QCOW2), *needless])
