import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path

import pytest

from imagesync.backend import Backend, Capabilities, Context, ImageSpec, OwnedImage, Progress
from imagesync.errors import BackendBrokenError, BackendUnavailableError, ConfigError
from imagesync.registry import (
    BACKENDS,
    EntryPointInfo,
    backends,
    checked,
    guarded,
    load_backend,
    load_source,
    opened,
    sources,
)
from imagesync.testing.backend import FakeBackend, FakeCloud
from imagesync.testing.conformance import BackendConformance, Bench, Subject
from imagesync.testing.steps import Died
from imagesync.testing.subject import LATER, listed

Install = Callable[..., Callable[[str], Iterable[EntryPoint]]]
CONTEXT = Context("mysite", "conformance")


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Lay out distributions as pip does, and return the entry points of exactly those."""

    def install(**registered: str) -> Callable[[str], Iterable[EntryPoint]]:
        points: list[EntryPoint] = []
        for name, text in registered.items():
            folder = tmp_path / f"{name}-1.0.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            (folder / "entry_points.txt").write_text(text)
            points += Distribution.at(folder).entry_points
        return lambda group: [point for point in points if point.group == group]

    return install


def group(*lines: str, name: str = BACKENDS) -> str:
    return "\n".join([f"[{name}]", *lines])


# --- names ------------------------------------------------------------------------------------------------------------
def test_backends_are_listed_sorted_with_their_distribution_and_not_loaded(install: Install) -> None:
    installed = install(one=group("zebra = no_such_module:f"), two=group("ant = nor_this:f"))

    assert list(backends(installed).items()) == [
        ("ant", EntryPointInfo("ant", "two", "1.0")),
        ("zebra", EntryPointInfo("zebra", "one", "1.0")),
    ]


def test_another_version_of_the_port_is_not_found(install: Install) -> None:
    assert backends(install(one=group("future = x:f", name="imagesync.backends.v2"))) == {}


def test_sources_are_another_group(install: Install) -> None:
    installed = install(one=group("hepix = json:loads", name="imagesync.sources.v1"))

    assert list(sources(installed)) == ["hepix"]
    assert load_source("hepix", installed)("[]") == []
    assert backends(installed) == {}


def test_a_name_registered_twice_is_refused_and_both_are_named(install: Install) -> None:
    installed = install(one=group("glance = json:loads"), two=group("glance = json:dumps"))

    with pytest.raises(ConfigError, match=r"backend glance: is registered by one 1\.0 and two 1\.0"):
        backends(installed)
    with pytest.raises(ConfigError, match=r"one 1\.0 and two 1\.0 \(uninstall all but one of them\)"):
        load_backend("glance", installed)


def test_a_duplicate_does_not_stop_another_backend(install: Install) -> None:
    installed = install(one=group("a = json:loads", "b = json:dumps"), two=group("a = json:loads"))

    assert load_backend("b", installed)("x", indent=1)  # type: ignore[call-arg, arg-type]


def test_an_unknown_name_says_the_nearest_known_one(install: Install) -> None:
    installed = install(one=group("glance = json:loads", "directory = json:loads"))

    with pytest.raises(ConfigError, match=r"backend glanze: is not installed \(did you mean glance\?\)"):
        load_backend("glanze", installed)
    with pytest.raises(ConfigError, match="known are: directory, glance"):
        load_backend("xyz", installed)
    with pytest.raises(ConfigError, match="known are: none"):
        load_backend("xyz", install())


def test_a_missing_module_says_what_to_install(install: Install) -> None:
    with pytest.raises(ConfigError, match=r"No module named 'no_such_module' \(install cloudy\[sky\]"):
        load_backend("sky", install(cloudy=group("sky = no_such_module:open")))


def test_a_backend_that_fails_to_load_names_its_package(install: Install) -> None:
    with pytest.raises(ConfigError, match=r"cannot be loaded from cloudy 1\.0: AttributeError"):
        load_backend("sky", install(cloudy=group("sky = json:no_such_function")))


def test_a_backend_that_cannot_be_called_is_refused(install: Install) -> None:
    with pytest.raises(ConfigError, match=r"json:__name__ of cloudy 1\.0 cannot be called"):
        load_backend("sky", install(cloudy=group("sky = json:__name__")))


def test_the_installed_directory_backend_is_found() -> None:
    assert backends()["directory"].distribution == "imagesync"
    assert load_backend("directory").__module__ == "imagesync_directory.backend"


def test_asking_for_names_imports_no_backend() -> None:
    program = (
        "import sys; from imagesync.registry import backends; backends(); print('imagesync_directory' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


# --- the boundary -----------------------------------------------------------------------------------------------------
class TestGuarded(BackendConformance):
    """What is guarded keeps every promise of what it guards."""

    @pytest.fixture
    def subject(self) -> Subject:
        cloud = FakeCloud()

        def open_guarded(settings: object, context: Context) -> AbstractContextManager[Backend]:
            checked(cloud.open_backend, settings, context)  # type: ignore[arg-type]
            return opened(cloud.open_backend, settings, context)  # type: ignore[arg-type]

        return Subject(open_guarded, {}, lambda: None, lambda: None, tamper=cloud.tamper)

    # "Only ours" makes these two stricter: what was never listed in the session is not even asked for.
    def test_records_of_another_instance_cannot_be_changed(self, bench: Bench) -> None:
        with bench.subject.open("one") as one, bench.subject.open("two") as two:
            theirs = bench.publish(one)
            with pytest.raises(BackendBrokenError, match="did not list as ours"):
                two.delete(theirs.ref)

            assert listed(one) == {theirs.ref: theirs}

    def test_deleting_what_is_absent_succeeds(self, bench: Bench) -> None:
        with bench.subject.open() as backend:
            image = bench.publish(backend)
            backend.delete(image.ref)
            backend.delete(image.ref)

            assert listed(backend) == {}


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud()


@pytest.fixture
def bench(cloud: FakeCloud, tmp_path: Path) -> Bench:
    return Bench(Subject(cloud.open_backend, {}, lambda: None, lambda: None), tmp_path)


@pytest.mark.parametrize("step", ["publish", "update", "retire", "delete"])
def test_only_ours(cloud: FakeCloud, bench: Bench, step: str) -> None:
    with bench.subject.open() as backend:
        image = bench.publish(backend)
    before = dict(cloud.records)
    cloud.calls.clear()
    fresh = guarded(FakeBackend(cloud, "conformance"), "mysite")
    calls = {
        "publish": lambda: fresh.publish(image.ref),
        "update": lambda: fresh.update(image.ref, image.metadata),
        "retire": lambda: fresh.retire(image.ref, LATER),
        "delete": lambda: fresh.delete(image.ref),
    }

    with pytest.raises(BackendBrokenError, match=f"mysite: {step} of {image.ref}, which the target did not list"):
        calls[step]()
    assert (cloud.records, cloud.calls) == (before, [])
    fresh.owned()
    calls[step]()


class Rude(FakeBackend):
    """Raises what it likes, wherever it is asked to."""

    def __init__(self, cloud: FakeCloud, error: BaseException) -> None:
        super().__init__(cloud, "conformance")
        self.error: BaseException | None = None
        self.later = error

    def _enter(self, method: str) -> None:
        super()._enter(method)
        if self.error is not None:
            raise self.error

    def capabilities(self) -> Capabilities:
        self._enter("capabilities")
        return super().capabilities()

    def owners(self, vo: str) -> Sequence[str]:
        self._enter("owners")
        return super().owners(vo)


def calls_of(backend: Backend, bench: Bench, ref: str) -> dict[str, Callable[[], object]]:
    spec, image = bench.spec(), next(iter(backend.owned()))
    return {
        "capabilities": backend.capabilities,
        "owners": lambda: backend.owners("vo"),
        "owned": backend.owned,
        "upload": lambda: backend.upload(spec, bench.file(1), lambda _: None),
        "publish": lambda: backend.publish(ref),
        "update": lambda: backend.update(ref, image.metadata),
        "retire": lambda: backend.retire(ref, LATER),
        "delete": lambda: backend.delete(ref),
    }


STEPS = ["capabilities", "owners", "owned", "upload", "publish", "update", "retire", "delete"]


@pytest.mark.parametrize("step", STEPS)
def test_a_foreign_exception_is_a_broken_backend(cloud: FakeCloud, bench: Bench, step: str) -> None:
    rude = Rude(cloud, ValueError("oops"))
    backend = guarded(rude, "mysite")
    call = calls_of(backend, bench, bench.publish(backend).ref)[step]
    rude.error = rude.later

    with pytest.raises(BackendBrokenError, match=f"mysite: {step}: the backend raised ValueError: oops"):
        call()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", [BackendUnavailableError("cloud", "down"), Died("killed"), KeyboardInterrupt()])
def test_errors_of_the_port_and_death_pass(cloud: FakeCloud, bench: Bench, step: str, error: BaseException) -> None:
    rude = Rude(cloud, error)
    backend = guarded(rude, "mysite")
    call = calls_of(backend, bench, bench.publish(backend).ref)[step]
    rude.error = rude.later

    with pytest.raises(type(error)) as caught:
        call()
    assert caught.value is error


def test_an_error_while_listing_lazily_is_a_broken_backend(cloud: FakeCloud) -> None:
    class Lazy(FakeBackend):
        def owned(self) -> Sequence[OwnedImage]:
            return (1 / 0 for _ in "x")  # type: ignore[return-value]

    with pytest.raises(BackendBrokenError, match="owned: the backend raised ZeroDivisionError"):
        guarded(Lazy(cloud, "x"), "mysite").owned()


def test_a_listing_with_something_else_is_a_broken_backend(cloud: FakeCloud) -> None:
    class Odd(FakeBackend):
        def owned(self) -> Sequence[OwnedImage]:
            return ["image"]  # type: ignore[list-item]

    with pytest.raises(BackendBrokenError, match="something else than records"):
        guarded(Odd(cloud, "x"), "mysite").owned()


def test_a_record_listed_twice_is_a_broken_backend(cloud: FakeCloud, bench: Bench) -> None:
    class Double(FakeBackend):
        def owned(self) -> Sequence[OwnedImage]:
            return [*super().owned(), *super().owned()]

    with bench.subject.open() as backend:
        bench.upload(backend)
    with pytest.raises(BackendBrokenError, match="lists a record twice"):
        guarded(Double(cloud, "conformance"), "mysite").owned()


def test_an_upload_that_returns_another_record_is_a_broken_backend(cloud: FakeCloud, bench: Bench) -> None:
    class Wrong(FakeBackend):
        def upload(self, spec: ImageSpec, data: Path, progress: Progress) -> OwnedImage:
            return replace(super().upload(spec, data, progress), key=bench.spec("other").key)

    with pytest.raises(BackendBrokenError, match="another record than list-1/image-1"):
        bench.upload(guarded(Wrong(cloud, "x"), "mysite"))


def test_a_factory_that_raises_something_else_is_a_broken_backend() -> None:
    def factory(settings: object, context: Context) -> AbstractContextManager[Backend]:
        raise KeyError("path")

    with pytest.raises(BackendBrokenError, match="checking the settings: the backend raised KeyError"):
        checked(factory, {}, CONTEXT)


def test_wrong_settings_stay_an_error_of_the_configuration(cloud: FakeCloud) -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        opened(cloud.open_backend, {"x": 1}, CONTEXT).__enter__()


class Door(nullcontext[Backend]):
    """A target that opens or closes badly."""

    def __init__(self, backend: Backend, *, enter: Exception | None = None, leave: Exception | None = None) -> None:
        super().__init__(backend)
        self.enter, self.leave = enter, leave
        self.seen: object = None

    def __enter__(self) -> Backend:
        if self.enter:
            raise self.enter
        return super().__enter__()

    def __exit__(self, *failure: object) -> None:
        self.seen = failure[0]
        if self.leave:
            raise self.leave


def test_a_foreign_exception_on_opening_is_a_broken_backend(cloud: FakeCloud) -> None:
    door = Door(FakeBackend(cloud, "x"), enter=OSError("no"))
    with pytest.raises(BackendBrokenError, match="open: the backend raised OSError"):
        opened(lambda settings, context: door, {}, CONTEXT).__enter__()


def test_a_foreign_exception_on_closing_is_a_broken_backend(cloud: FakeCloud) -> None:
    door = Door(FakeBackend(cloud, "x"), leave=OSError("no"))
    with (
        pytest.raises(BackendBrokenError, match="close: the backend raised OSError"),
        opened(lambda settings, context: door, {}, CONTEXT),
    ):
        pass


def test_a_target_is_closed_with_what_happened_inside(cloud: FakeCloud) -> None:
    door = Door(FakeBackend(cloud, "x"))
    with pytest.raises(RuntimeError), opened(lambda settings, context: door, {}, CONTEXT):
        raise RuntimeError("inside")

    assert door.seen is RuntimeError
