import base64

import pytest

from imagesync.errors import ConfigError
from imagesync.http import Credential, HttpPolicy, ignored_proxy_warning, origin_of

HOME = origin_of("https://lists.example.org/")


def test_a_basic_credential_sends_the_token_as_user() -> None:
    kind, _, text = Credential(HOME, "basic", "s3cret").header().partition(" ")

    assert kind == "Basic"
    assert base64.b64decode(text) == b"s3cret:x-oauth-basic"


def test_a_bearer_credential_sends_the_token_alone() -> None:
    assert Credential(HOME, "bearer", "s3cret").header() == "Bearer s3cret"


def test_a_credential_and_a_policy_show_no_secret() -> None:
    credential = Credential(HOME, "basic", "s3cret")
    policy = HttpPolicy(credential=credential, proxies={"https": "http://user:s3cret@proxy:3128"})

    for value in (credential, policy):
        for text in (repr(value), str(value), f"{value}"):
            assert "s3cret" not in text


@pytest.mark.parametrize("url", ["http://lists.example.org/", "http://127.0.0.1/"])
def test_a_credential_for_plain_http_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="https only"):
        Credential(origin_of(url), "basic", "s3cret")


@pytest.mark.parametrize("secret", ["", "s3cret\r\nHost: evil", "s3cret\n", "s3 cret", "s3crét"])
def test_a_token_that_no_header_can_hold_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Credential(HOME, "bearer", secret)

    assert "s3" not in str(caught.value)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "http_proxy"])
def test_a_proxy_of_the_environment_is_named_when_none_is_configured(name: str) -> None:
    warning = ignored_proxy_warning({name: "http://user:s3cret@proxy:3128"}, {})

    assert warning is not None
    assert name in warning
    assert "`proxies`" in warning
    assert "s3cret" not in warning


def test_no_warning_without_a_proxy_in_the_environment() -> None:
    assert ignored_proxy_warning({"HOME": "/root", "HTTPS_PROXY": ""}, {}) is None


def test_no_warning_when_a_proxy_is_configured() -> None:
    assert ignored_proxy_warning({"HTTPS_PROXY": "http://proxy:3128"}, {"https": "http://other:3128"}) is None


def test_the_deadline_grows_with_the_size() -> None:
    policy = HttpPolicy(base_deadline=10, minimum_rate=100)

    assert policy.deadline(0) == 10
    assert policy.deadline(1000) == 20
