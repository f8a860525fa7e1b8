"""What the tests of lists share: the committed fixtures, and the tools that made them for whatever else is needed."""

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from imagesync.lists.anchors import Anchors, load_anchors
from imagesync.model import Digest, Identity, Image, ImageId, ImageList, ListId, Signer

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
sys.path.insert(0, str(FIXTURES / "lists"))

BASE = "/DC=test/DC=imagesync/CN="


@pytest.fixture(scope="session")
def fixtures() -> Path:
    return FIXTURES


@pytest.fixture(scope="session")
def now() -> datetime:
    """Return the time at which the fixtures are to be judged."""
    return datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def anchors() -> Anchors:
    return load_anchors(FIXTURES / "trust" / "anchors")


@pytest.fixture(scope="session")
def forge() -> ModuleType:
    """Return the module that puts messages and certificates together."""
    import forge

    return forge


@pytest.fixture(scope="session")
def pki() -> ModuleType:
    """Return the module with the throw-away PKI."""
    import pki

    return pki


@pytest.fixture(scope="session")
def corpus_ground() -> ModuleType:
    """Return the module that makes certificates which differ in any single extension."""
    sys.path.insert(0, str(FIXTURES / "corpus"))
    import ground

    return ground


@pytest.fixture(scope="session")
def cas(pki: ModuleType) -> Any:
    return _quietly(pki.authorities)


@pytest.fixture(scope="session")
def people(pki: ModuleType, cas: Mapping[str, Any]) -> Any:
    return _quietly(lambda: pki.endorsers(cas))


def _quietly(make: Callable[[], Any]) -> Any:
    from imagesync.lists.anchors import serial_zero_tolerated

    with serial_zero_tolerated():
        return make()


@pytest.fixture
def signer() -> Signer:
    identity = Identity(f"{BASE}Endorser", f"{BASE}Root CA")
    return Signer(identity, datetime(2030, 1, 1, tzinfo=UTC), "ab" * 32)


@pytest.fixture
def image() -> Callable[..., Image]:
    """Return a function that makes an image with some values changed."""

    def make(**changes: object) -> Image:
        values: dict[str, object] = {
            "identifier": ImageId("image-1"),
            "title": "Image for Example OS [Example/1.0/KVM]",
            "description": "",
            "version": "1.0",
            "uri": "https://images.example.org/1.qcow2",
            "sha512": Digest("0" * 128),
            "size": 1000,
            "expires": None,
            "mpuri": "https://appdb.example.org/store/vo/image/1:2/",
            "architecture": "x86_64",
            "os_name": "Example",
            "os_version": "1.0",
            "ram_min": 1024,
            "cores_min": 1,
            "raw": {},
        }
        return Image(**(values | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture
def listing(signer: Signer, image: Callable[..., Image]) -> Callable[..., ImageList]:
    """Return a function that makes a parsed list with some values changed."""

    def make(**changes: object) -> ImageList:
        values: dict[str, object] = {
            "identifier": ListId("5a6a63be-7f86-5a5c-9f3c-6c0a3d6f9c11"),
            "version": "20260520093000",
            "vo": "vo.example.org",
            "title": "A list",
            "uri": "",
            "created": datetime(2026, 5, 20, 9, 30, tzinfo=UTC),
            "expires": datetime(2499, 12, 31, 22, tzinfo=UTC),
            "endorser": signer.identity,
            "signer": signer,
            "digest": Digest("1" * 128),
            "images": (image(),),
            "broken": (),
        }
        return ImageList(**(values | changes))  # type: ignore[arg-type]

    return make
