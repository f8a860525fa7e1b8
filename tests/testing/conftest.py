from datetime import UTC, datetime

import pytest

from imagesync.lists.seal import SigningIdentity
from imagesync.testing import pki


@pytest.fixture(scope="session")
def now() -> datetime:
    return datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def authority(now: datetime) -> pki.Authority:
    return pki.Authority("/DC=org/DC=example/CN=Example CA", now, key=pki.ec_key())


@pytest.fixture(scope="session")
def endorser(authority: pki.Authority) -> SigningIdentity:
    return authority.issue("/DC=org/DC=example/CN=Robot - images", key=pki.ec_key())
