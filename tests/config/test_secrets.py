from __future__ import annotations

from pathlib import Path

import pytest

from imagesync.backend import Secret
from imagesync.config.secrets import SecretRef
from imagesync.errors import ConfigError


def reference(context: dict[str, object] | None = None, **fields: str) -> SecretRef:
    return SecretRef.model_validate(fields, context=context or {})


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("the word\n")
    path.chmod(0o640)
    return path


def test_a_file_gives_its_content_without_the_line_end(secret: Path) -> None:
    assert reference(file=str(secret)).value() == "the word"


def test_a_relative_file_is_beside_the_configuration(secret: Path) -> None:
    assert reference({"directory": secret.parent}, file="secret").value() == "the word"


def test_a_secret_is_read_when_it_is_asked_for(secret: Path) -> None:
    late = reference(file=str(secret))
    secret.write_text("another word")
    assert late.value() == "another word"


def test_an_environment_variable_gives_its_value() -> None:
    assert reference({"environment": {"TOKEN": "the word"}}, env="TOKEN").value() == "the word"


def test_a_systemd_credential_is_read_from_its_directory(secret: Path) -> None:
    context: dict[str, object] = {"environment": {"CREDENTIALS_DIRECTORY": str(secret.parent)}}
    assert reference(context, credential="secret").value() == "the word"


def test_no_form_of_it_shows_the_secret(secret: Path) -> None:
    shown = reference({"environment": {"TOKEN": "the word"}}, env="TOKEN")
    assert "the word" not in f"{shown} {shown!r} {shown.model_dump()} {shown.model_dump_json()} {vars(shown)}"
    assert str(shown) == "env TOKEN"


def test_a_file_that_everybody_may_read_is_refused(secret: Path) -> None:
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match=f"everybody may read it .chmod o-r {secret}"):
        reference(file=str(secret)).value()


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gone: cannot be read: No such file"):
        reference(file=str(tmp_path / "gone")).value()
    with pytest.raises(ConfigError, match="environment variable TOKEN: is not set"):
        reference(env="TOKEN").value()
    with pytest.raises(ConfigError, match="there are no systemd credentials"):
        reference(credential="token").value()


@pytest.mark.parametrize(("content", "problem"), [(b"\n", "is empty"), (b"\xff\xfe", "is not UTF-8")])
def test_a_file_without_a_secret_is_refused(secret: Path, content: bytes, problem: str) -> None:
    secret.write_bytes(content)
    with pytest.raises(ConfigError, match=problem):
        reference(file=str(secret)).value()


@pytest.mark.parametrize("fields", [{}, {"file": "/a", "env": "B"}, {"file": None}])
def test_exactly_one_place_is_named(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="exactly one of file, env, credential"):
        reference(**fields)


def test_a_secret_in_the_configuration_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="holds the secret itself") as caught:
        SecretRef.model_validate("the word")
    assert "the word" not in str(caught.value)


def test_a_credential_cannot_leave_its_directory() -> None:
    with pytest.raises(ValueError, match="pattern"):
        reference(credential="../../etc/shadow")


def test_a_reference_in_a_targets_settings_is_given_as_a_secret(files, minimal: str, secret: Path) -> None:
    extra = f"backend: directory, auth: {{user: me, deep: [{{password: {{file: {secret}}}}}]}}"
    files.write(minimal.replace("backend: directory", extra))
    auth = files.load().targets[0].settings["auth"]

    assert auth["user"] == "me"
    assert isinstance(auth["deep"][0]["password"], Secret)
    assert auth["deep"][0]["password"].value() == "the word"
