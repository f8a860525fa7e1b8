"""What a backend promises of opening, listing, and of what belongs to others."""
# ruff: noqa: D102, S101 - tests that are shipped: their names say what they promise

from __future__ import annotations

from dataclasses import replace

import pytest

from imagesync.backend import Context, Format, Retirement
from imagesync.errors import BackendConflictError, ConfigError
from imagesync.testing.subject import LATER, NOW, Bench, Subject, listed


class ListingPromises:
    """Opening, listing, only ours."""

    def test_every_unknown_setting_is_reported_at_once(self, subject: Subject) -> None:
        wrong = {**subject.settings, "no_such_key": 1, "nor_this_one": 2}

        with pytest.raises(ConfigError) as caught:
            subject.open_backend(wrong, Context("conformance", "conformance"))

        assert all(any(key in problem for problem in caught.value.problems) for key in ("no_such_key", "nor_this_one"))

    def test_an_empty_target_lists_nothing(self, subject: Subject) -> None:
        with subject.open() as backend:
            assert tuple(backend.owned()) == ()

    def test_capabilities_name_formats_and_take_the_subjects(self, subject: Subject) -> None:
        with subject.open() as backend:
            assert subject.format in backend.capabilities().formats
            assert all(isinstance(form, Format) for form in backend.capabilities().formats)

    def test_a_vo_has_owners_each_once(self, subject: Subject) -> None:
        with subject.open() as backend:
            owners = list(backend.owners(subject.vo))

        assert owners
        assert len(set(owners)) == len(owners)

    def test_the_listing_is_complete_and_stable(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            uploaded = {bench.upload(backend, f"image-{number}", number).ref for number in range(30)}
            first = backend.owned()

            assert {image.ref for image in first} == uploaded
            assert tuple(backend.owned()) == tuple(first)
        with bench.subject.open() as backend:
            assert tuple(backend.owned()) == tuple(first)

    def test_a_new_session_sees_what_the_last_one_left(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            bench.upload(backend, "staged", 1)
            bench.publish(backend, "published", 2)
            backend.retire(bench.publish(backend, "retired", 3).ref, LATER)
            before = tuple(backend.owned())

        with bench.subject.open() as backend:
            assert tuple(backend.owned()) == before

    def test_two_open_sessions_see_each_others_changes(self, bench: Bench) -> None:
        with bench.subject.open() as one, bench.subject.open() as two:
            published = bench.publish(one)
            assert listed(two) == {published.ref: published}
            two.retire(published.ref, LATER)

            assert [image.retirement for image in one.owned()] == [LATER]

    def test_what_belongs_to_others_is_neither_listed_nor_touched(self, bench: Bench) -> None:
        bench.subject.plant_foreign()
        before = bench.subject.foreign()
        with bench.subject.open() as backend:
            assert listed(backend) == {}
            old, new = bench.publish(backend, number=1), bench.publish(backend, number=2)
            backend.retire(old.ref, Retirement(NOW, "superseded", superseded=True))
            backend.update(new.ref, replace(new.metadata, name="Another title"))
            backend.delete(old.ref)
            bench.remove(backend, new.ref)
            assert listed(backend) == {}

        assert bench.subject.foreign() == before

    def test_records_of_another_instance_are_invisible(self, bench: Bench) -> None:
        with bench.subject.open("one") as one, bench.subject.open("two") as two:
            first, second = bench.publish(one), bench.publish(two)
            assert (list(listed(one)), list(listed(two))) == ([first.ref], [second.ref])
            bench.remove(two, second.ref)

            assert listed(one) == {first.ref: first}
            assert listed(two) == {}

    def test_records_of_another_instance_cannot_be_changed(self, bench: Bench) -> None:
        with bench.subject.open("one") as one, bench.subject.open("two") as two:
            theirs = bench.publish(one)
            with pytest.raises(BackendConflictError):
                two.retire(theirs.ref, LATER)
            with pytest.raises(BackendConflictError):
                two.update(theirs.ref, replace(theirs.metadata, name="Another title"))
            two.delete(theirs.ref)

            assert listed(one) == {theirs.ref: theirs}
