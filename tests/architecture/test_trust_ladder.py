"""Each level of trust is reached in exactly one module (design: a type per level of trust)."""

from collections.abc import Sequence
from typing import Any

import pytest

LADDER = {
    "SignedPayload": "imagesync.lists.smime",
    "ImageList": "imagesync.lists.hepix",
    "TrustedList": "imagesync.lists.admit",
}


@pytest.mark.parametrize(("value", "maker"), LADDER.items(), ids=str)
def test_a_level_of_trust_is_constructed_in_one_module_only(modules: Sequence[Any], value: str, maker: str) -> None:
    makers = {module.name for module in modules for name, _ in module.calls() if name.split(".")[-1] == value}

    assert makers == {maker}
