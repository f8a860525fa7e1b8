"""What a backend promises of uploads."""
# ruff: noqa: D102, S101 - tests that are shipped: their names say what they promise

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imagesync.backend import Metadata, Retirement, State
from imagesync.errors import BackendConflictError, BackendError, StoredDigestError
from imagesync.testing.subject import LATER, NOW, Bench, described, listed


class UploadPromises:
    """Uploads, whole and interrupted."""

    def test_an_upload_is_staged_and_not_published(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            uploaded = bench.upload(backend)

            assert uploaded.state is State.STAGED
            assert listed(backend) == {uploaded.ref: uploaded}

    def test_a_record_is_what_was_asked_for(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            spec = bench.own(backend)
            uploaded = bench.upload(backend)

        assert (uploaded.key, uploaded.fingerprint, uploaded.format) == (spec.key, spec.fingerprint, spec.format)
        assert (uploaded.size, uploaded.virtual_size) == (spec.size, spec.virtual_size)
        assert uploaded.metadata == described(spec.metadata, State.STAGED)
        assert uploaded.created_at == spec.at
        assert uploaded.retirement is None

    def test_the_digest_of_the_stored_bytes_is_attested(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            uploaded = bench.upload(backend)

            assert uploaded.digest == bench.own(backend).digest

    def test_progress_adds_up_to_the_size(self, bench: Bench) -> None:
        steps: list[int] = []
        with bench.subject.open() as backend:
            spec = bench.own(backend)
            backend.upload(spec, bench.file(1), steps.append)

        assert sum(steps) == spec.size

    def test_uploading_again_returns_the_staged_record(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            first, second = bench.upload(backend), bench.upload(backend)

            assert second == first
            assert list(listed(backend)) == [first.ref]

    def test_uploading_again_brings_a_staged_record_up_to_date(self, bench: Bench) -> None:
        metadata = Metadata("Title in the next version of the list", {"new": "value"}, min_ram=1)
        with bench.subject.open() as backend:
            staged = bench.upload(backend)
            again = backend.upload(replace(bench.own(backend), metadata=metadata), bench.file(1), lambda _: None)

            assert again == replace(staged, metadata=described(metadata, State.STAGED))
            assert listed(backend) == {staged.ref: again}

    @pytest.mark.parametrize("state", [State.PUBLISHED, State.RETIRED])
    def test_uploading_what_is_there_changes_nothing(self, bench: Bench, state: State) -> None:
        with bench.subject.open() as backend:
            before = bench.publish(backend)
            if state is State.RETIRED:
                backend.retire(before.ref, LATER)
                before = listed(backend)[before.ref]

            assert bench.upload(backend) == before
            assert listed(backend) == {before.ref: before}

    def test_another_fingerprint_makes_another_record(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            old = bench.publish(backend, number=1)
            new = bench.upload(backend, number=2)

            assert new.ref != old.ref
            assert listed(backend) == {old.ref: old, new.ref: new}

    def test_images_with_equal_bytes_are_two_records(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            one, two = bench.publish(backend, "image-1"), bench.publish(backend, "image-2")
            bench.remove(backend, one.ref)

            assert listed(backend) == {two.ref: two}

    def test_bytes_other_than_promised_are_refused_and_removed(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            spec = replace(bench.own(backend), digest=bench.own(backend, number=2).digest)

            with pytest.raises(StoredDigestError):
                backend.upload(spec, bench.file(1), lambda _: None)

            assert listed(backend) == {}

    def test_a_refused_upload_leaves_the_published_record(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            old = bench.publish(backend)
            spec = replace(bench.own(backend, number=2), digest=bench.own(backend, number=3).digest)

            with pytest.raises(StoredDigestError):
                backend.upload(spec, bench.file(2), lambda _: None)

            assert listed(backend) == {old.ref: old}

    def test_a_missing_file_is_an_error_of_the_port(self, bench: Bench, tmp_path: Path) -> None:
        with bench.subject.open() as backend:
            with pytest.raises(BackendError):
                backend.upload(bench.own(backend), tmp_path / "absent", lambda _: None)

            assert all(image.state is State.PARTIAL for image in backend.owned())

    def test_an_interrupted_upload_is_partial_or_gone(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            bench.interrupt(backend)
        with bench.subject.open() as backend:
            assert [image.state for image in backend.owned()] in ([], [State.PARTIAL])
            assert [image.digest for image in backend.owned()] in ([], [None])

    def test_an_interrupted_upload_is_finished_by_the_next(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            bench.interrupt(backend)
        with bench.subject.open() as backend:
            uploaded = bench.upload(backend)

            assert uploaded.state is State.STAGED
            assert uploaded.digest == bench.own(backend).digest
            assert listed(backend) == {uploaded.ref: uploaded}

    def test_an_interrupted_upload_cannot_be_published_but_deleted(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            bench.interrupt(backend)
        with bench.subject.open() as backend:
            for image in backend.owned():
                with pytest.raises(BackendConflictError):
                    backend.publish(image.ref)
                backend.delete(image.ref)

            assert listed(backend) == {}

    def test_an_interrupted_replacement_leaves_the_published_record(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            old = bench.publish(backend)
            bench.interrupt(backend, number=2)
        with bench.subject.open() as backend:
            assert listed(backend)[old.ref] == old

    @pytest.mark.parametrize("content", [None, b"something else"])
    def test_bytes_that_changed_are_not_attested(self, bench: Bench, content: bytes | None) -> None:
        with bench.subject.open() as backend:
            published = bench.publish(backend)
            if bench.subject.tamper is None:
                return
            bench.subject.tamper(published.ref, content)

            assert listed(backend)[published.ref].digest != published.digest
        with bench.subject.open() as backend:
            assert listed(backend)[published.ref].digest != published.digest

    @pytest.mark.parametrize("content", [None, b"something else"])
    def test_a_record_with_changed_bytes_is_replaced_by_another(self, bench: Bench, content: bytes | None) -> None:
        with bench.subject.open() as backend:
            bad = bench.publish(backend)
            if bench.subject.tamper is None:
                return
            bench.subject.tamper(bad.ref, content)
            good = bench.publish(backend)
            assert good.ref != bad.ref
            backend.retire(bad.ref, Retirement(NOW, "tampered", superseded=True))
            backend.delete(bad.ref)

            assert listed(backend) == {good.ref: good}
            assert good.digest == bench.own(backend).digest
