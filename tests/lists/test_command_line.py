"""The commands about lists, asked in odd ways: each answer is an error that says what is wrong."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from imagesync.cli.main import cli
from imagesync.errors import ConfigError, ImagesyncError, ListFormatError, UnreachableError

Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """Return a function that runs a command in this process."""

    def run(*arguments: object, stdin: bytes = b"") -> Result:
        return CliRunner().invoke(cli, ["-c", str(tmp_path / "none.yaml"), *map(str, arguments)], input=stdin)

    return run


def error_of(result: Result, kind: type[ImagesyncError]) -> str:
    assert isinstance(result.exception, kind), result.exception
    return str(result.exception)


PINS = {"--endorser-dn": "/CN=x", "--endorser-ca": "/CN=y", "--vo": "vo", "--identifier": "id"}


@pytest.mark.parametrize("empty", ["", " "])
@pytest.mark.parametrize("option", PINS)
def test_an_empty_pin_is_wrong_usage(call: Call, fixtures: Path, option: str, empty: str) -> None:
    given = [part for pair in (PINS | {option: empty}).items() for part in pair]

    result = call("list", "verify", "-", "--anchors", fixtures / "trust" / "anchors", *given)

    assert f"{option} is empty" in error_of(result, ConfigError)


DEEP = b"[" * 100_000
CONTENTS = {
    "no JSON": b"hello",
    "deep": DEEP,
    "digits": b'{"a": ' + b"9" * 5000 + b"}",
    "array": b"[]",
    "surrogate": b'{"a": "\\ud800"}',
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_signed_part_that_is_no_list_is_an_error(
    call: Call, forge: ModuleType, people: Mapping[str, Any], content: str, options: tuple[str, ...]
) -> None:
    message = forge.envelope(CONTENTS[content], forge.sign(forge.canonical(CONTENTS[content]), people["endorser"]))

    result = call("list", "show", "-", *options, stdin=message)

    assert error_of(result, ListFormatError)


def test_columns_have_their_own_names(call: Call, forge: ModuleType, people: Mapping[str, Any]) -> None:
    content = json.dumps({"hv:imagelist": {"hv:images": []}}).encode()

    result = call("list", "show", "-", stdin=forge.envelope(content, forge.sign(content, people["endorser"])))

    assert "dc:date:expires" in result.output


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000])
def test_a_name_that_no_file_can_have_is_an_error(call: Call, fixtures: Path, name: str) -> None:
    anchors = fixtures / "trust" / "anchors"

    verified = call("list", "verify", name, "--anchors", anchors)
    shown = call("list", "show", name)

    assert (verified.exit_code, "cannot be read" in verified.output) == (5, True)
    assert "no path" in error_of(shown, ConfigError)
    assert error_of(call("list", "show", f"./{name}"), UnreachableError)


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+12:00"])
def test_a_time_without_room_around_it_is_wrong_usage(call: Call, moment: str) -> None:
    result = call("list", "verify", "-", "--at", moment)

    assert (result.exit_code, "outside of the years 1900 to 9900" in result.output) == (2, True)


@pytest.mark.parametrize("command", ["make", "sign"])
def test_days_have_an_end(call: Call, tmp_path: Path, command: str) -> None:
    (tmp_path / "x").touch()

    assert call("list", command, tmp_path / "x", "--days", 3_000_000).exit_code == 2


def test_a_recall_of_a_name_that_no_file_can_have_is_no_recall(call: Call) -> None:
    assert "is no recall" in error_of(call("revoke", "--lift", "x" * 400), ConfigError)


def test_a_certificate_that_cannot_be_read_is_named(
    call: Call, tmp_path: Path, forge: ModuleType, pki: ModuleType, people: Mapping[str, Any]
) -> None:
    identifier, authority = bytes.fromhex("0603551d0e"), bytes.fromhex("0603551d23")
    odd = forge.reissue(people["endorser"], pki.rsa_key("root"), lambda tbs: tbs.replace(identifier, authority))
    (tmp_path / "list").write_bytes(b"{}")
    from cryptography.hazmat.primitives.serialization import Encoding

    (tmp_path / "odd.pem").write_bytes(odd.certificate.public_bytes(Encoding.PEM))
    out = tmp_path / "out"

    result = call("list", "sign", tmp_path / "list", "--cert", tmp_path / "odd.pem", "--prepare", "--out", out)

    assert "odd.pem: holds a certificate that cannot be used" in error_of(result, ConfigError)
