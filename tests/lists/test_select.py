from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagesync.errors import ConfigError
from imagesync.lists.select import Cause, Matcher, Selected, SelectionRules, Skipped, select
from imagesync.model import BrokenImage, Image, ImageId, ImageList, TrustedList

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def rule(**fields: str) -> tuple[Matcher, ...]:
    return tuple(Matcher(field, pattern) for field, pattern in fields.items())


@pytest.fixture
def trusted(listing: Callable[..., ImageList]) -> Callable[..., TrustedList]:
    def make(*images: Any, **changes: Any) -> TrustedList:
        return TrustedList("vo", "vo.example.org", listing(images=images, **changes))

    return make


def causes(decisions: Iterable[Selected | Skipped]) -> list[Cause | None]:
    return [decision.cause if isinstance(decision, Skipped) else None for decision in decisions]


def test_without_rules_every_image_is_selected_with_the_date_that_counts(
    trusted: Callable[..., TrustedList], image: Callable[..., Image]
) -> None:
    own = NOW + timedelta(days=1)
    content = trusted(image(), image(identifier=ImageId("b"), expires=own))

    first, second = select(content, (), NOW)

    assert first == Selected(content.content.images[0], content.content.expires)
    assert second == Selected(content.content.images[1], own)


def test_an_image_whose_own_date_has_come_is_expired_even_if_excluded(
    trusted: Callable[..., TrustedList], image: Callable[..., Image]
) -> None:
    rules = SelectionRules(exclude=(rule(title="*"),))

    (decision,) = select(trusted(image(expires=NOW)), (rules,), NOW)

    assert decision == Skipped(ImageId("image-1"), image().title, Cause.EXPIRED, "expired at 2026-06-01 12:00:00 UTC")


def test_broken_entries_are_kept_as_skipped(trusted: Callable[..., TrustedList]) -> None:
    broken = (BrokenImage(None, "", "no identifier"), BrokenImage(ImageId("x"), "X", "no size"))

    assert select(trusted(broken=broken), (), NOW) == (
        Skipped(None, "", Cause.BROKEN, "no identifier"),
        Skipped(ImageId("x"), "X", Cause.BROKEN, "no size"),
    )


def test_a_rule_needs_all_its_matchers_and_rules_are_alternatives(
    trusted: Callable[..., TrustedList], image: Callable[..., Image]
) -> None:
    images = image(), image(architecture="i686"), image(os_name="Other", architecture="i686")
    rules = SelectionRules(include=(rule(arch="x86_64"), rule(arch="i?86", os="other")))

    decisions = select(trusted(*images), (rules,), NOW)

    assert causes(decisions) == [None, Cause.EXCLUDED, None]
    assert decisions[1].reason == "not included by arch: x86_64 or arch: i?86 and os: other"


def test_exclusion_counts_over_inclusion_and_names_its_rule(
    trusted: Callable[..., TrustedList], image: Callable[..., Image]
) -> None:
    rules = SelectionRules(include=(rule(title="*"),), exclude=(rule(title="*EXAMPLE os*"),))

    decision, other = select(trusted(image(), image(title="x")), (rules,), NOW)

    assert isinstance(decision, Skipped)
    assert decision.reason == "excluded by title: *EXAMPLE os*"
    assert isinstance(other, Selected)


def test_the_subscription_and_the_target_must_both_agree(
    trusted: Callable[..., TrustedList], image: Callable[..., Image]
) -> None:
    subscription = SelectionRules(include=(rule(arch="*"),))
    target = SelectionRules(exclude=(rule(version="1.*"),))

    assert causes(select(trusted(image()), (subscription, target), NOW)) == [Cause.EXCLUDED]


@pytest.mark.parametrize(
    ("field", "pattern"),
    [
        ("title", "image for*"),
        ("identifier", "IMAGE-?"),
        ("version", "1.[0-3]"),
        ("arch", "x86_64"),
        ("os", "example"),
        ("osversion", "1.*"),
        ("mpuri", "https://appdb.example.org/*"),
        ("sha512", "0" * 128),
    ],
)
def test_a_glob_matches_each_field_whatever_the_case(image: Callable[..., Image], field: str, pattern: str) -> None:
    assert Matcher(field, pattern).matches(image())


def test_a_glob_matches_the_whole_field(image: Callable[..., Image]) -> None:
    assert not Matcher("title", "Image").matches(image())


def test_a_field_that_does_not_exist_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"no field 'titel'.*title, identifier"):
        Matcher("titel", "*")


@pytest.mark.parametrize("kind", ["include", "exclude"])
def test_an_empty_rule_is_a_configuration_error(kind: str) -> None:
    with pytest.raises(ConfigError, match="empty"):
        SelectionRules(**{kind: ((),)})
