"""Where images are asked for."""

from dataclasses import replace

import pytest

from imagesync.http import HttpPolicy
from imagesync.model import Identity
from imagesync.run.settings import Rewrite, Subscription

URI = "https://images.example.org/large/a.img"
PUBLISHED = Subscription(
    "a", "vo", "https://lists.example.org/", (Identity("/CN=a", "/CN=b"),), HttpPolicy(), HttpPolicy()
)


@pytest.mark.parametrize(
    ("rules", "places"),
    [
        ((), [URI]),
        ((Rewrite("https://images.example.org/", "http://mirror/x/"),), ["http://mirror/x/large/a.img", URI]),
        ((Rewrite("https://images.example.org/", "http://mirror/", only=True),), ["http://mirror/large/a.img"]),
        ((Rewrite("https://elsewhere.example.org/", "http://mirror/", only=True),), [URI]),
        (
            (
                Rewrite("https://images.example.org/large/", "http://b/"),
                Rewrite("https://images.example.org/", "http://c/"),
            ),
            ["http://b/a.img", "http://c/large/a.img", URI],
        ),
    ],
)
def test_mirrors_come_first_in_order_and_the_published_place_last(
    rules: tuple[Rewrite, ...], places: list[str]
) -> None:
    assert [uri for uri, _ in replace(PUBLISHED, mirrors=rules).places(URI)] == places


def test_only_a_mirror_may_be_private_because_the_operator_named_it() -> None:
    rule = Rewrite("https://images.example.org/", "http://Mirror:8080/")

    (_, mirror), (_, published) = replace(PUBLISHED, mirrors=(rule,)).places(URI)

    assert (mirror.named_hosts, published.named_hosts) == (frozenset({"mirror"}), frozenset())
