from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from imagesync.http import HttpPolicy
from imagesync.testing.hazards import HazardServer
from imagesync.testing.tls import TlsAuthority


@pytest.fixture
def server() -> Iterator[HazardServer]:
    with HazardServer() as server:
        yield server


@pytest.fixture
def other() -> Iterator[HazardServer]:
    with HazardServer() as server:
        yield server


@pytest.fixture
def authority(tmp_path: Path) -> TlsAuthority:
    return TlsAuthority(tmp_path)


@pytest.fixture
def secure(authority: TlsAuthority) -> Iterator[HazardServer]:
    with HazardServer(authority.server("127.0.0.1", "localhost")) as server:
        yield server


@pytest.fixture
def private() -> HttpPolicy:
    """Patient: only a test about slowness shortens a time."""
    return HttpPolicy(allow_private=True, header_timeout=30, stall_timeout=30)


@pytest.fixture
def trusting(private: HttpPolicy, authority: TlsAuthority) -> HttpPolicy:
    return replace(private, ca_bundle=authority.bundle)
