from datetime import timedelta

import pytest

from imagesync.backend import State
from imagesync.plan.values import GuardRules


def guarded(world, **rules):
    world.view["guard"] = GuardRules(**rules)
    return [(kind, cause) for kind, cause, _ in world.decisions()]


def test_removals_up_to_the_share_pass(world):
    world.offer("a", "b").hold(*"abcd")

    assert guarded(world).count(("retire", "withdrawn")) == 2


def test_removals_beyond_the_share_are_all_held(world):
    world.offer("a").hold(*"abcd")

    assert guarded(world) == [("keep", "current"), *[("hold", "guard")] * 3]


def test_what_is_held_says_how_to_let_it_pass(world):
    world.offer("a").hold(*"abcd").view["guard"] = GuardRules()

    reason = world.plan().actions[-1].reason

    assert "3 of 4" in reason
    assert "--allow-removals 3" in reason


def test_share_does_not_count_below_the_minimum(world):
    world.offer("a").hold(*"abc")

    assert guarded(world).count(("retire", "withdrawn")) == 2


def test_leaving_a_list_without_any_image_always_trips(world):
    world.hold("a")

    assert guarded(world) == [("hold", "guard")]


def test_an_addition_of_the_same_pass_counts_against_leaving_nothing(world):
    world.offer("new").hold("a")

    assert guarded(world) == [("register", "new"), ("retire", "withdrawn")]


def test_allowance_lets_that_many_pass(world):
    world.hold(*"abcd")

    assert guarded(world, allowed=4) == [("retire", "withdrawn")] * 4


def test_more_than_the_allowance_is_all_held(world):
    world.hold(*"abcd")

    assert guarded(world, allowed=3) == [("hold", "guard")] * 4


def test_allowance_of_nothing_holds_every_removal(world):
    world.offer("a", "b").hold(*"abc")

    assert ("hold", "guard") in guarded(world, allowed=0)


@pytest.mark.parametrize(("hours", "held"), [(23, True), (25, False)])
def test_removals_add_up_over_a_day(world, hours, held):
    world.offer(*"abc").hold(*"abcdef")
    for name in "ghij":
        world.hold(name, state=State.RETIRED, at=world.now - timedelta(hours=hours))

    assert (("hold", "guard") in guarded(world)) is held


def test_replacements_and_expiry_are_not_counted(world):
    world.offer("a", content="new").offer("b").hold("a", content="old").hold("b")
    world.hold(*"cdef", expires=world.now)

    assert ("hold", "guard") not in guarded(world)


def test_a_second_list_is_judged_on_its_own(world):
    world.offer(*"abc").hold(*"abcd")
    key = world.owned[0].key
    for index in range(4):
        other = type(key)("", "other-list", f"x{index}")
        world.hold("x").change(key=other).property("imagesync_subscription", "gone")

    assert guarded(world).count(("retire", "withdrawn")) == 1
