from collections.abc import Callable
from datetime import datetime

import pytest

from imagesync.model import Accepted, Digest, Floor, ListId
from imagesync.state import StoredList
from imagesync.state.repository import Repository

LIST = ListId("list-of-fedcloud")


def floor(version: str) -> Floor:
    return Floor(version, Digest(version.zfill(128)))


def test_what_was_begun_with_is_known_by_subscription_and_list(repository: Repository) -> None:
    assert repository.floors.begun() == {}
    repository.floors.begin("fedcloud", LIST, floor("1"))
    repository.floors.begin("fedcloud", ListId("another"), floor("2"))
    repository.floors.begin("other", LIST, floor("3"))

    expected = {"fedcloud": {LIST: floor("1"), "another": floor("2")}, "other": {LIST: floor("3")}}
    assert repository.floors.begun() == expected


@pytest.mark.parametrize(("first", "second", "stays"), [("9", "10", "10"), ("10", "9", "10"), ("9", "x", "x")])
def test_what_was_begun_with_only_rises(repository: Repository, first: str, second: str, stays: str) -> None:
    repository.floors.begin("fedcloud", LIST, floor(first))
    repository.floors.begin("fedcloud", LIST, floor(second))

    assert repository.floors.begun() == {"fedcloud": {LIST: floor(stays)}}


@pytest.mark.parametrize(("version", "done"), [("9", False), ("10", True)])
def test_what_was_begun_with_is_forgotten_when_it_is_accepted(
    repository: Repository, make_accepted: Callable[..., Accepted], version: str, *, done: bool
) -> None:
    repository.floors.begin("fedcloud", LIST, floor("10"))
    repository.accept(make_accepted("other", version="10"), StoredList(b"signed"))
    repository.accept(make_accepted(list=ListId("another"), version="10"), StoredList(b"signed"))
    assert repository.floors.begun()

    repository.accept(make_accepted(version=version), StoredList(b"signed"))

    assert (repository.floors.begun() == {}) is done


def test_lifting_the_floor_forgets_what_was_begun_with(repository: Repository, now: datetime) -> None:
    repository.floors.begin("fedcloud", LIST, floor("10"))
    repository.floors.begin("other", LIST, floor("10"))

    repository.lift_floor("fedcloud", now)

    assert list(repository.floors.begun()) == ["other"]
