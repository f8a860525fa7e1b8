from dataclasses import replace
from pathlib import Path

import pytest

from imagesync.backend import State
from imagesync.errors import BackendConflictError, BackendRefusedError, BackendUnavailableError
from imagesync.testing.backend import FakeCloud
from imagesync.testing.conformance import BackendConformance, Bench, Subject
from imagesync.testing.steps import Died, Steps, each_step
from imagesync.testing.subject import listed


def subject_of(cloud: FakeCloud, folder: Path) -> Subject:
    def plant() -> None:
        with subject.open("somebody else") as backend:
            Bench(subject, folder).publish(backend)

    def annotate(ref: str) -> None:
        cloud.records[ref] = replace(cloud.records[ref], notes={"hw_disk_bus": "scsi"})

    subject = Subject(
        cloud.open_backend,
        {},
        plant_foreign=plant,
        foreign=lambda: [record for record in cloud.records.values() if record.instance == "somebody else"],
        annotate=annotate,
        annotation=lambda ref: cloud.records[ref].notes,
        tamper=cloud.tamper,
    )
    return subject


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud()


@pytest.fixture
def bench(cloud: FakeCloud, tmp_path: Path) -> Bench:
    return Bench(subject_of(cloud, tmp_path), tmp_path)


class TestFakeBackend(BackendConformance):
    @pytest.fixture
    def subject(self, cloud: FakeCloud, tmp_path: Path) -> Subject:
        return subject_of(cloud, tmp_path)


class TestFakeBackendWithProjects(BackendConformance):
    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        return subject_of(FakeCloud(projects={"vo.example.org": ["project-1", "project-2"]}), tmp_path)


def test_a_fault_is_raised_once(cloud: FakeCloud, bench: Bench) -> None:
    fault = BackendUnavailableError("cloud", "reset")
    cloud.faults["publish"] = [fault]
    with bench.subject.open() as backend:
        staged = bench.upload(backend)
        with pytest.raises(BackendUnavailableError):
            backend.publish(staged.ref)
        backend.publish(staged.ref)

    assert [image.ref for image in cloud.published()] == [staged.ref]


def test_a_cloud_that_is_down_cannot_be_opened(cloud: FakeCloud, bench: Bench) -> None:
    cloud.is_down = True

    with pytest.raises(BackendUnavailableError):
        bench.subject.open().__enter__()


def test_a_cloud_that_goes_down_answers_no_more(cloud: FakeCloud, bench: Bench) -> None:
    with bench.subject.open() as backend:
        cloud.is_down = True
        with pytest.raises(BackendUnavailableError):
            backend.owned()


def test_a_vo_without_project_is_refused() -> None:
    cloud = FakeCloud(projects={"known": ["project"]})
    with (
        subject_of(cloud, Path()).open() as backend,
        pytest.raises(BackendRefusedError, match="unknown: has no project"),
    ):
        backend.owners("unknown")


def test_an_image_over_the_limit_is_refused(cloud: FakeCloud, bench: Bench) -> None:
    cloud.max_size = 10
    with bench.subject.open() as backend, pytest.raises(BackendRefusedError):
        bench.upload(backend)


def test_an_image_in_use_is_not_deleted(cloud: FakeCloud, bench: Bench) -> None:
    with bench.subject.open() as backend:
        image = bench.publish(backend)
        cloud.in_use.add(image.ref)
        with pytest.raises(BackendConflictError, match="in use"):
            backend.delete(image.ref)

        assert list(listed(backend)) == [image.ref]


def test_dying_inside_of_an_upload_leaves_a_partial_record(cloud: FakeCloud, bench: Bench) -> None:
    deaths = 0

    def upload(steps: Steps) -> None:
        cloud.records.clear()
        cloud.steps = steps
        with bench.subject.open() as backend:
            bench.upload(backend)

    for steps in each_step(upload):
        with pytest.raises(Died):
            upload(steps)
        deaths += 1
        assert [record.image.state for record in cloud.records.values()] == [State.PARTIAL]

    assert deaths == 2
