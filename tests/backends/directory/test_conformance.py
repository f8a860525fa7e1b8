from collections.abc import Callable
from pathlib import Path

import pytest

from imagesync.testing.conformance import BackendConformance, Subject


class TestDirectory(BackendConformance):
    @pytest.fixture
    def subject(self, make_subject: Callable[[Path], Subject], root: Path) -> Subject:
        return make_subject(root)
