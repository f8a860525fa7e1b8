from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from imagesync.backend import Backend, Context, OpenBackend
from imagesync.config.check import check, shown
from imagesync.config.schema import Config
from imagesync.errors import ConfigError
from imagesync.testing.pki import Authority, write_anchors

Load = Callable[..., Config]


def open_fake(settings: Mapping[str, object], context: Context) -> Any:
    """A backend that knows the settings ``path`` and ``projects``, and must not be entered."""
    unknown = tuple(f"{key}: unknown key" for key in settings if key not in {"path", "projects"})
    if unknown:
        raise ConfigError(context.target, "wrong settings", problems=unknown)

    @contextmanager
    def enter() -> Iterator[Backend]:
        raise AssertionError("a check connects to nothing")
        yield

    return enter()


def load_backend(name: str) -> OpenBackend:
    if name != "directory":
        raise ConfigError(name, "there is no such backend", "known are directory")
    return open_fake


@pytest.fixture
def anchors(tmp_path: Path) -> Path:
    authority = Authority("/DC=org/DC=example/CN=Test CA", datetime(2026, 3, 1, tzinfo=UTC))
    return write_anchors(tmp_path / "anchors", [authority])


@pytest.fixture
def checked(loaded: Load, anchors: Path, tmp_path: Path) -> Callable[..., list[str]]:
    def run(more: str = "trust: {anchors: anchors}\n", **environment: str) -> list[str]:
        found = check(loaded(more, **environment), load_backend, {"hepix"})
        return [problem.replace(f"{tmp_path}/", "") for problem in found]

    return run


@pytest.fixture
def checked_text(files: Any, minimal: str, anchors: Path, tmp_path: Path) -> Callable[[str, str], list[str]]:
    def run(old: str, new: str) -> list[str]:
        files.write(minimal.replace(old, new) + "trust: {anchors: anchors}\n")
        return [text.replace(f"{tmp_path}/", "") for text in check(files.load(), load_backend, {"hepix"})]

    return run


def test_a_usable_configuration_has_no_problems(checked: Callable[..., list[str]]) -> None:
    assert checked() == []


def test_anchors_that_no_pass_could_use_are_problems(checked: Callable[..., list[str]], anchors: Path) -> None:
    (missing,) = checked("trust: {anchors: none}\n")
    assert missing.startswith("imagesync.yaml: trust.anchors: none: cannot be read: No such file or directory (put CA")
    for file in anchors.iterdir():
        file.unlink()
    (anchors / "README").touch()
    (useless,) = checked()
    assert useless.startswith("imagesync.yaml: trust.anchors: anchors: it holds no usable root CA certificate (no file")


def test_secrets_that_cannot_be_read_are_problems(checked: Callable[..., list[str]]) -> None:
    more = "trust: {anchors: anchors}\nproxies: {https: {url: 'http://p', user: u, password: {env: GONE}}}\n"
    assert checked(more) == [
        "imagesync.yaml: proxies.https.password: environment variable GONE: is not set (it should hold a secret)"
    ]
    assert checked(more, GONE="x") == []


def test_a_token_that_cannot_be_read_is_a_problem(checked_text: Callable[[str, str], list[str]]) -> None:
    (problem,) = checked_text("    vo:", "    token: {file: gone}\n    vo:")
    assert problem.startswith("imagesync.yaml: subscriptions[0].token: gone: cannot be read")


def test_unknown_backends_and_sources_are_problems(checked_text: Callable[[str, str], list[str]]) -> None:
    assert checked_text("backend: directory", "backend: glanse") == [
        "imagesync.yaml: targets[0].backend: glanse: there is no such backend (known are directory)"
    ]
    assert checked_text("    vo:", "    source: oci\n    vo:") == [
        "imagesync.yaml: subscriptions[0].source: oci is not known: write hepix"
    ]


def test_what_the_backend_finds_is_placed_in_the_target(checked_text: Callable[[str, str], list[str]]) -> None:
    assert checked_text("backend: directory", "backend: directory, formts: [raw], zz: 1") == [
        "imagesync.yaml: targets[0].formts: unknown key (did you mean formats?)",
        "imagesync.yaml: targets[0].zz: unknown key",
    ]


def test_a_vo_without_a_project_is_a_problem(checked_text: Callable[[str, str], list[str]]) -> None:
    assert checked_text("backend: directory", "backend: directory, projects: {fedcloud.egi.eu: abc}") == []
    assert checked_text("backend: directory", "backend: directory, projects: {other: abc}") == [
        (
            "imagesync.yaml: targets[0].projects: has no project for VO fedcloud.egi.eu of subscription fedcloud:"
            " add it, or name the target's subscriptions"
        )
    ]


def test_nothing_to_do_is_a_problem(files: Any, anchors: Path) -> None:
    files.write("trust: {anchors: anchors}\n")
    found = check(files.load(), load_backend, {"hepix"})
    assert [problem.partition(": ")[2] for problem in found] == [
        "subscriptions: is missing: name a list to follow",
        "targets: is missing: name a catalogue to keep",
    ]


def test_a_secret_of_a_backend_that_is_not_there_is_a_problem(checked_text: Callable[[str, str], list[str]]) -> None:
    projects = "projects: {fedcloud.egi.eu: {password: {env: ABSENT}}}"
    [found] = checked_text("backend: directory", f"backend: directory, {projects}")
    place = "imagesync.yaml: targets[0].projects.fedcloud.egi.eu.password"
    assert found == f"{place}: environment variable ABSENT: is not set (it should hold a secret)"


def test_showing_hides_what_backends_take_as_plain_text(files: Any, minimal: str) -> None:
    extra = "backend: directory, auth: {username: me, password: word, user_token: word, nested: [{secret: word}]}"
    files.write(minimal.replace("backend: directory", extra).replace("    vo:", "    token: {env: HIDDEN}\n    vo:"))
    data = shown(files.load(HIDDEN="word"))
    assert "word" not in str(data).replace("password", "")
    assert data["targets"][0]["auth"]["username"] == "me"
    assert data["subscriptions"][0]["token"] == {"env": "HIDDEN"}
    assert data["expiry_grace"] == "3d"


def test_what_is_shown_can_be_loaded_again(loaded: Load, files: Any) -> None:
    import yaml

    first = loaded("trust: {crl: off}\n")
    files.write(yaml.safe_dump(shown(first)))
    assert shown(files.load()) == shown(first)
