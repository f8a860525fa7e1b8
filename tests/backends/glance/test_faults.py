import json

import pytest
from imagesync_glance.faults import AnswerError, fault, refusal, translated
from keystoneauth1 import exceptions
from openstack.exceptions import ConfigException
from requests import ConnectionError as BrokenError
from requests import Response

from imagesync.errors import (
    BackendConflictError,
    BackendError,
    BackendRefusedError,
    BackendUnavailableError,
    ConfigError,
    Retry,
)


def answer(status, body, content_type="application/json", **headers):
    response = Response()
    response.status_code = status
    response.headers.update({"Content-Type": content_type, **headers})
    response._content = body.encode()
    return response


@pytest.mark.parametrize(
    ("status", "detail", "kind", "hint"),
    [
        (400, "Invalid disk format", BackendRefusedError, "report it"),
        (401, "unauthorized", BackendRefusedError, "application credential was removed"),
        (403, "You are not authorized to complete publicize_image action.", BackendRefusedError, "rule publicize_image"),
        (403, "Image 7e is protected and cannot be deleted.", BackendConflictError, "remove the image's protection"),
        (404, "No image found with ID 7e", BackendConflictError, "next pass"),
        (409, "Image 7e could not be deleted because it is in use", BackendConflictError, "next pass"),
        (410, "Image 7e could not be found after upload", BackendConflictError, "next pass"),
        (413, "The limit has been exceeded on the number of allowed image properties.", BackendRefusedError, "image_property_quota"),
        (413, "The limit has been exceeded on the number of allowed image tags.", BackendRefusedError, "image_tag_quota"),
        (413, "The limit has been exceeded on the number of allowed image members", BackendRefusedError, "image_member_quota"),
        (413, "Image storage media is full: no space", BackendRefusedError, "more room"),
        (413, "something new", BackendRefusedError, "raise the quota"),
        (415, "Unsupported Content-Type: text/plain", BackendRefusedError, "changes requests"),
        (415, "Image failed safety checks", BackendRefusedError, "own inspection refused"),
        (418, "teapot", BackendRefusedError, "report it"),
        (429, "slow down", BackendUnavailableError, "again later"),
        (500, "boom", BackendUnavailableError, "again later"),
        (503, "down", BackendUnavailableError, "again later"),
    ],
)  # fmt: skip
def test_an_answer_becomes_an_error_with_what_glance_said_and_what_to_do(status, detail, kind, hint):
    error = fault("image 7e", AnswerError(status, detail))

    assert type(error) is kind
    assert error.subject == "image 7e"
    assert f"{status}: {detail}" in error.detail
    assert hint in error.hint
    assert error.retry is Retry.LATER


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (json.dumps({"message": "No such<br /><br />\n\nimage", "code": "404"}), "application/json", "No such image"),
        (json.dumps({"error": {"message": "from Keystone", "code": 401}}), "application/json", "from Keystone"),
        (json.dumps({"forbidden": {"message": "from Nova"}}), "application/json; charset=UTF-8", "from Nova"),
        ("<html><h1>502 Bad Gateway</h1>nginx</html>", "text/html", "502 Bad Gateway nginx"),
        ("{not json", "application/json", "{not json"),
        ("[1]", "application/json", "[1]"),
        ("", "text/plain", "no reason given"),
        ("x" * 9999, "text/plain", "x" * 400),
        ("no route to https://user:pw@k:5000/v3", "text/plain", "no route to https://k:5000/v3"),
    ],
)
def test_what_a_service_says_is_read_from_every_form_of_it(body, kind, said):
    assert refusal(answer(400, body, kind)).detail == said


@pytest.mark.parametrize(("text", "seconds"), [("7", 7.0), ("", None), ("Fri, 01 Jan 2027", None), ("9" * 30, None)])
def test_the_time_to_wait_is_read(text, seconds):
    assert refusal(answer(503, "", **{"Retry-After": text})).retry_after == seconds


@pytest.mark.parametrize(
    ("raised", "kind", "word"),
    [
        (AnswerError(404, "gone"), BackendConflictError, "gone"),
        (ConfigError("token", "cannot be read"), BackendRefusedError, "cannot be read"),
        (ConfigException("Cloud x was not found."), BackendRefusedError, "clouds.yaml"),
        (exceptions.Unauthorized("no"), BackendRefusedError, "see user and secret"),
        (exceptions.ServiceUnavailable("down"), BackendUnavailableError, "again later"),
        (exceptions.ConnectFailure("refused"), BackendUnavailableError, "can be reached"),
        (exceptions.ConnectTimeout("slow"), BackendUnavailableError, "can be reached"),
        (exceptions.ConnectFailure("to https://user:pw@k/v3"), BackendUnavailableError, "to https://k/v3"),
        (exceptions.SSLError("untrusted"), BackendUnavailableError, "cacert"),
        (exceptions.DiscoveryFailure("no versions"), BackendUnavailableError, "auth_url"),
        (exceptions.MissingRequiredOptions([]), BackendRefusedError, "auth_type"),
        (exceptions.NoMatchingPlugin("v3nothing"), BackendRefusedError, "v3nothing"),
        (BrokenError("reset"), BackendUnavailableError, "reset"),
    ],
)
def test_what_the_libraries_raise_becomes_an_error_of_the_port(raised, kind, word):
    with pytest.raises(BackendError) as caught, translated("target mysite"):
        raise raised

    assert type(caught.value) is kind
    assert word in str(caught.value)


def test_what_is_no_error_of_a_service_is_not_touched():
    with pytest.raises(ZeroDivisionError), translated("target mysite"):
        1 / 0  # noqa: B018 - raising it is the point
