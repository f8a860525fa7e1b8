"""What a backend promises of changing a record."""
# ruff: noqa: D102, S101 - tests that are shipped: their names say what they promise

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from imagesync.backend import RECALLED, Metadata, Retirement, State, state_properties
from imagesync.errors import BackendConflictError
from imagesync.testing.subject import LATER, NOW, Bench, described, listed


class ChangePromises:
    """Publish, retire, restore, update, delete."""

    def test_publishing_changes_the_state_alone(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            staged = bench.upload(backend)
            backend.publish(staged.ref)

            metadata = described(staged.metadata, State.PUBLISHED)
            assert listed(backend)[staged.ref] == replace(staged, state=State.PUBLISHED, metadata=metadata)

    def test_publishing_twice_changes_nothing(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            published = bench.publish(backend)
            backend.publish(published.ref)

            assert listed(backend) == {published.ref: published}

    @pytest.mark.parametrize("superseded", [False, True])
    def test_a_retirement_is_kept(self, bench: Bench, superseded: bool) -> None:  # noqa: FBT001 - a parameter of pytest
        retirement = Retirement(NOW + timedelta(microseconds=7), "expired", superseded=superseded)
        with bench.subject.open() as backend:
            published = bench.publish(backend)
            backend.retire(published.ref, retirement)

        with bench.subject.open() as backend:
            retired = listed(backend)[published.ref]
        assert (retired.state, retired.retirement) == (State.RETIRED, retirement)
        assert retired.digest == published.digest
        assert retired.metadata.properties.items() >= state_properties(State.RETIRED).items()

    def test_retiring_twice_keeps_the_first_retirement(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            published = bench.publish(backend)
            backend.retire(published.ref, LATER)
            backend.retire(published.ref, Retirement(NOW + timedelta(days=9), "expired"))

            assert listed(backend)[published.ref].retirement == LATER

    def test_a_recall_becomes_the_reason_of_an_earlier_retirement(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            published = bench.publish(backend)
            backend.retire(published.ref, replace(LATER, superseded=True))
            for _ in range(2):
                backend.retire(published.ref, Retirement(NOW + timedelta(days=9), RECALLED))

                recalled = listed(backend)[published.ref]
                assert recalled.retirement == replace(LATER, superseded=True, reason=RECALLED)
                assert (recalled.state, recalled.metadata.name) == (State.RETIRED, published.metadata.name)

    def test_publishing_undoes_a_retirement(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            published = bench.publish(backend)
            backend.retire(published.ref, replace(LATER, superseded=True))
            backend.publish(published.ref)

            assert listed(backend) == {published.ref: published}

    def test_a_replacement_is_published_beside_the_old_record(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            old, new = bench.publish(backend, number=1), bench.publish(backend, number=2)
            assert [image.state for image in backend.owned()] == [State.PUBLISHED] * 2

            backend.retire(old.ref, Retirement(NOW, "superseded", superseded=True))

            assert listed(backend)[new.ref] == new
            assert listed(backend)[old.ref].state is State.RETIRED

    def test_an_update_replaces_all_metadata_and_nothing_else(self, bench: Bench) -> None:
        metadata = Metadata("Another title", {"imagesync_list": "list-1", "new": "value"}, min_ram=1024)
        with bench.subject.open() as backend:
            published = bench.publish(backend)
            backend.update(published.ref, metadata)

            expected = replace(published, metadata=described(metadata, State.PUBLISHED))
            assert listed(backend) == {published.ref: expected}

    def test_an_update_does_not_touch_what_others_wrote(self, bench: Bench) -> None:
        annotate, annotation = bench.subject.annotate, bench.subject.annotation
        with bench.subject.open() as backend:
            published = bench.publish(backend)
            if annotate is None or annotation is None:
                return
            annotate(published.ref)
            before = annotation(published.ref)
            backend.update(published.ref, replace(published.metadata, name="Another title"))
            backend.retire(published.ref, LATER)
            backend.publish(published.ref)

        assert annotation(published.ref) == before

    def test_an_update_keeps_a_retirement(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            published = bench.publish(backend)
            backend.retire(published.ref, LATER)
            backend.update(published.ref, replace(published.metadata, name="Another title"))

            retired = listed(backend)[published.ref]
            assert (retired.state, retired.retirement) == (State.RETIRED, LATER)
            assert retired.metadata.properties.items() >= state_properties(State.RETIRED).items()

    def test_metadata_comes_back_exactly(self, bench: Bench) -> None:
        properties = {
            "vmcatcher_event_ad_mpuri": "https://appdb.example.org/store/vm/image/é%2F:1/?a=b&c=d#e",
            "APPLIANCE_ATTRIBUTES": '{"ad:mpuri": "x\\u00e9", "dc:title": "\\"quoted\\""}',
            "vmcatcher_event_dc_description": "first line\nsecond\ttabbed, " + "Größe 日本語 🐧 " * 200,
            "spaces": "  kept  ",
            "empty": "",
            **{f"imagesync_{number:02}": "v" * 255 for number in range(40)},
        }
        metadata = Metadata("Ubuntu «22.04» · Ελλάδα 🐧", properties, min_ram=2**20)
        with bench.subject.open() as backend:
            fitted = backend.fit(metadata)
            spec = replace(bench.own(backend), metadata=fitted)
            uploaded = backend.upload(spec, bench.file(1), lambda _: None)

        with bench.subject.open() as backend:
            assert backend.fit(fitted) == fitted
            assert listed(backend)[uploaded.ref].metadata == described(fitted, State.STAGED)

    def test_metadata_beyond_every_limit_is_fitted(self, bench: Bench) -> None:
        metadata = Metadata("Title\n" * 1000, {"vmcatcher_event_dc_description": "x\x00\x1b🐧" * 100_000, "empty": ""})
        with bench.subject.open() as backend:
            fitted = backend.fit(metadata)
            uploaded = backend.upload(replace(bench.own(backend), metadata=fitted), bench.file(1), lambda _: None)

            assert fitted.name
            assert backend.fit(fitted) == fitted
            assert listed(backend)[uploaded.ref].metadata == described(fitted, State.STAGED)

    def test_an_update_leaves_no_drift(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            published = bench.publish(backend)
            assert published.drift == ()
            backend.update(published.ref, published.metadata)

            assert listed(backend)[published.ref].drift == ()

    def test_two_images_may_have_one_title(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            one, two = bench.publish(backend, "image-1", 1), bench.publish(backend, "image-2", 2)
            backend.update(two.ref, replace(two.metadata, name=one.metadata.name))
            bench.remove(backend, one.ref)

            assert [(image.ref, image.metadata.name) for image in backend.owned()] == [(two.ref, one.metadata.name)]

    @pytest.mark.parametrize("state", [State.STAGED, State.RETIRED])
    def test_deleting_removes_the_record(self, bench: Bench, state: State) -> None:
        with bench.subject.open() as backend:
            image = bench.upload(backend) if state is State.STAGED else bench.publish(backend)
            if state is State.RETIRED:
                backend.retire(image.ref, LATER)
            backend.delete(image.ref)

            assert listed(backend) == {}

    def test_deleting_what_is_absent_succeeds(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            image = bench.publish(backend)
            bench.remove(backend, image.ref)
            backend.delete(image.ref)
        with bench.subject.open() as backend:
            backend.delete(image.ref)

            assert listed(backend) == {}

    def test_an_image_can_be_uploaded_again_after_its_deletion(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            bench.remove(backend, bench.publish(backend).ref)
            again = bench.publish(backend)

            assert again.digest == bench.own(backend).digest
            assert listed(backend) == {again.ref: again}

    @pytest.mark.parametrize("step", ["publish", "update", "retire"])
    def test_changing_what_is_absent_is_a_conflict(self, bench: Bench, step: str) -> None:
        with bench.subject.open() as backend:
            image = bench.publish(backend)
            bench.remove(backend, image.ref)
            calls = {
                "publish": lambda: backend.publish(image.ref),
                "update": lambda: backend.update(image.ref, image.metadata),
                "retire": lambda: backend.retire(image.ref, LATER),
            }

            with pytest.raises(BackendConflictError):
                calls[step]()
