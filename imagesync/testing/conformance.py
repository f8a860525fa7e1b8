"""What a backend promises, as tests. PUBLIC.

Subclass ``BackendConformance`` in a test module of your own and give it a ``subject``::

    class TestMyCloud(BackendConformance):
        @pytest.fixture
        def subject(self, tmp_path):
            return Subject(open_backend, {"url": ...}, plant_foreign=..., foreign=...)

The target must be empty at the start of each test.
"""

from __future__ import annotations

from pathlib import Path

import pytest

# Before they are imported: then a failing promise shows the values it compared.
pytest.register_assert_rewrite(
    "imagesync.testing.change_promises", "imagesync.testing.listing_promises", "imagesync.testing.upload_promises"
)

from imagesync.testing.change_promises import ChangePromises  # noqa: E402
from imagesync.testing.listing_promises import ListingPromises  # noqa: E402
from imagesync.testing.subject import Bench, Subject  # noqa: E402
from imagesync.testing.upload_promises import UploadPromises  # noqa: E402

__all__ = ["BackendConformance", "Bench", "Subject"]


class BackendConformance(ListingPromises, UploadPromises, ChangePromises):
    """The promises of ``imagesync.backend.Backend``. Override ``subject``."""

    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        """Return the backend to be tested, on an empty target."""
        raise NotImplementedError("override the fixture subject")

    @pytest.fixture
    def bench(self, subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Bench:
        """Return files and specifications for the subject."""
        return Bench(subject, tmp_path_factory.mktemp("content"))
