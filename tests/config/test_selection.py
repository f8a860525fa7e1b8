from __future__ import annotations

from typing import Any

import pytest

from imagesync.config.selection import DenyEntry, Select
from imagesync.run.denial import Denial


def select(**fields: Any) -> Select:
    return Select.model_validate(fields)


def test_nothing_given_includes_all_and_excludes_none() -> None:
    assert (select().include_rules(), select().exclude_rules()) == ((), ())


def test_a_rule_is_all_of_its_fields_and_any_of_their_globs() -> None:
    chosen = select(include=[{"os": ["debian", "ubuntu"], "arch": "x86_64"}, {"title": "*gold*"}])
    assert chosen.include_rules() == (
        (("arch", "x86_64"), ("os", "debian")),
        (("arch", "x86_64"), ("os", "ubuntu")),
        (("title", "*gold*"),),
    )


def test_fields_outside_of_include_are_its_only_rule() -> None:
    chosen = select(arch=["x86_64"], exclude=[{"title": "*test*"}])
    assert chosen.include_rules() == ((("arch", "x86_64"),),)
    assert chosen.exclude_rules() == ((("title", "*test*"),),)


@pytest.mark.parametrize(
    ("entry", "facts", "denied"),
    [
        ({"identifier": "abc"}, {"identifier": "ABC"}, True),
        ({"identifier": "abc"}, {"identifier": "abcd"}, False),
        ({"signer": "*/CN=Jane*"}, {"signer": "/DC=org/CN=jane doe"}, True),
        ({"list": "l", "list_version": "1.*"}, {"list": "l", "list_version": "1.2"}, True),
        ({"list": "l", "list_version": "1.*"}, {"list": "m", "list_version": "1.2"}, False),
        ({"mpuri": "http*"}, {"identifier": "abc"}, False),
        ({"signer": "/CN=Robot [prod]"}, {"signer": "/CN=robot [prod]"}, True),
        ({"signer": "/CN=Robot [prod]"}, {"signer": "/CN=Robot p"}, True),
        ({"signer": "/CN=Robot [prod]"}, {"signer": "/CN=Robot [test]"}, False),
    ],
)
def test_all_patterns_of_an_entry_must_match(entry: dict[str, str], facts: dict[str, str], denied: bool) -> None:
    rule = Denial(tuple(DenyEntry.model_validate(entry).patterns().items()), "")

    assert rule.matches({name: frozenset({value}) for name, value in facts.items()}) is denied


@pytest.mark.parametrize("entry", [{}, {"reason": "x"}, {"identifier": "*"}, {"list": "??*", "mpuri": "*"}])
def test_an_entry_that_recalls_everything_is_refused(entry: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="would recall every image"):
        DenyEntry.model_validate(entry)
