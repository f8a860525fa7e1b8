from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest

from imagesync.model import Accepted, Digest, Floor, ListId
from imagesync.state import Resets, StoredList
from imagesync.state.repository import Repository

LIST = ListId("list-of-fedcloud")


def floor(version: str) -> Floor:
    return Floor(version, Digest(version.zfill(128)))


def test_what_was_begun_with_is_known_by_subscription_and_list(repository: Repository) -> None:
    assert repository.floors.begun() == {}
    repository.floors.begin("fedcloud", LIST, floor("1"), Resets())
    repository.floors.begin("fedcloud", ListId("another"), floor("2"), Resets())
    repository.floors.begin("other", LIST, floor("3"), Resets())

    expected = {"fedcloud": {LIST: floor("1"), "another": floor("2")}, "other": {LIST: floor("3")}}
    assert repository.floors.begun() == expected


@pytest.mark.parametrize(("first", "second", "stays"), [("9", "10", "10"), ("10", "9", "10"), ("9", "x", "x")])
def test_what_was_begun_with_only_rises(repository: Repository, first: str, second: str, stays: str) -> None:
    repository.floors.begin("fedcloud", LIST, floor(first), Resets())
    repository.floors.begin("fedcloud", LIST, floor(second), Resets())

    assert repository.floors.begun() == {"fedcloud": {LIST: floor(stays)}}


@pytest.mark.parametrize(("version", "done"), [("9", False), ("10", True)])
def test_what_was_begun_with_is_forgotten_when_it_is_accepted(
    repository: Repository, make_accepted: Callable[..., Accepted], version: str, *, done: bool
) -> None:
    repository.floors.begin("fedcloud", LIST, floor("10"), Resets())
    repository.accept(make_accepted("other", version="10"), StoredList(b"signed"))
    repository.accept(make_accepted(list=ListId("another"), version="10"), StoredList(b"signed"))
    assert repository.floors.begun()

    repository.accept(make_accepted(version=version), StoredList(b"signed"))

    assert (repository.floors.begun() == {}) is done


def test_lifting_the_floor_forgets_what_was_begun_with(repository: Repository, now: datetime) -> None:
    repository.floors.begin("fedcloud", LIST, floor("10"), Resets())
    repository.floors.begin("other", LIST, floor("10"), Resets())

    repository.lift_floor("fedcloud", now)

    assert list(repository.floors.begun()) == ["other"]


# --- resets ---
def test_resets_are_counted(repository: Repository, now: datetime) -> None:
    assert repository.floors.resets() == {}
    repository.lift_floor("fedcloud", now)
    repository.drop_pin("fedcloud")
    repository.lift_floor("fedcloud", now)
    repository.drop_pin("other")

    assert repository.floors.resets() == {"fedcloud": Resets(1, 2), "other": Resets(1, 0)}


@pytest.mark.parametrize("again", [False, True])
def test_a_pass_undoes_no_reset_that_it_does_not_know_of(
    repository: Repository, make_accepted: Callable[..., Accepted], now: datetime, *, again: bool
) -> None:
    """Neither one of what was in force when it began, nor one of what was reset before."""
    if again:
        repository.lift_floor("fedcloud", now)
    repository.accept(make_accepted(), StoredList(b"signed"))
    if again:
        repository.drop_pin("fedcloud")
        repository.lift_floor("fedcloud", now)
    known = repository.floors.resets().get("fedcloud", Resets())
    newer, listing = make_accepted(version="2027"), StoredList(b"newer", "etag", "yesterday", url_sha256="5" * 64)

    repository.drop_pin("fedcloud")
    repository.accept(newer, listing, known)
    assert repository.accepted("fedcloud") == replace(newer, pinned=False)
    assert repository.stored("fedcloud") == StoredList(b"newer")

    known = repository.floors.resets()["fedcloud"]
    repository.lift_floor("fedcloud", now)
    repository.floors.begin("fedcloud", LIST, floor("2027"), known)
    repository.accept(newer, listing, known)
    assert repository.accepted("fedcloud") == replace(newer, version=None)
    assert repository.stored("fedcloud") == StoredList(b"newer")
    assert repository.floors.begun() == {}

    repository.accept(newer, listing, repository.floors.resets()["fedcloud"])
    assert repository.accepted("fedcloud") == newer
    assert repository.stored("fedcloud") == listing


def test_a_floor_that_was_lifted_before_the_first_acceptance_stays_lifted_through_it(
    repository: Repository, make_accepted: Callable[..., Accepted], now: datetime
) -> None:
    repository.lift_floor("fedcloud", now)

    repository.accept(make_accepted(), StoredList(b"signed"), Resets())

    assert repository.accepted("fedcloud") == make_accepted(version=None)
