"""A list that fails holds its own images and nothing else, whatever is wrong with it."""

from datetime import timedelta

import pytest

from imagesync.model import Identity
from imagesync.testing.faults import (
    BrokenOff,
    Endless,
    Redirect,
    Replaced,
    Shortened,
    Silent,
    Slow,
    Status,
    Tampered,
    appdb_error,
    html_page,
)

UNAVAILABLE = {
    "404": (Status(404), "HTTP 404", "check the URL"),
    "503": (Status(503, retry_after=3600), "HTTP 503", "the next pass tries again"),
    "401": (Status(401), "HTTP 401", "check the token"),
    "slow body": (Slow(chunk=100, pause=30), "no data for 2 s", "the next pass tries again"),
    "silence": (Silent(), "no complete answer within 4 s", "the next pass tries again"),
    "connection closed half-way": (BrokenOff(after=500), "after 500 of", "the next pass tries again"),
    "connection reset half-way": (BrokenOff(after=500, reset=True), "reset by peer", "check the server"),
    "redirect to a file": (Redirect("file:///etc/passwd"), "scheme file", "use https or http"),
}

REFUSED = {
    "HTML": (html_page(), "a web page", "check the URL"),
    "AppDB's unsigned answer": (appdb_error(), "no such list", "check the URL"),
    "unsigned JSON": (Replaced(b'{"hv:imagelist": {"hv:images": []}}'), "unsigned JSON", "imagesync list sign"),
    "endless body": (Endless(), "allowed are 65536", "check what is published there"),
    "truncated S/MIME": (Shortened(1500), "bad-envelope", "tell the publisher"),
    "empty body": (Shortened(0), "it is empty", "truncated it"),
    "tampered content": (Tampered(), "bad-signature", "tell the publisher"),
}


@pytest.mark.parametrize("what", UNAVAILABLE)
def test_a_list_that_cannot_be_had_holds_its_images(synced, what):
    fault, reason, hint = UNAVAILABLE[what]
    synced.shaky.publish()
    synced.shaky.server.misbehave(synced.shaky.path, fault)

    result = synced.fails_alone()

    assert (result.code, result.list("shaky")["verdict"]) == (1, "unavailable")
    assert reason in result.list("shaky")["reason"]
    assert hint in result.list("shaky")["hint"]
    assert result.action("shaky-1")["outcome"] == "held"


def test_a_list_server_that_is_down_holds_its_images(synced):
    synced.close("shaky")

    result = synced.fails_alone()

    assert (result.code, result.list("shaky")["verdict"]) == (1, "unavailable")
    assert "connection refused" in result.list("shaky")["reason"]
    assert "check" in result.list("shaky")["hint"]


@pytest.mark.parametrize("what", REFUSED)
def test_an_answer_that_is_no_trusted_list_is_an_alarm_and_holds_its_images(synced, what):
    fault, reason, hint = REFUSED[what]
    synced.shaky.publish()
    synced.shaky.server.misbehave(synced.shaky.path, fault)

    result = synced.fails_alone()

    assert (result.code, result.list("shaky")["verdict"]) == (3, "refused")
    assert reason in result.list("shaky")["reason"]
    assert hint in result.list("shaky")["hint"]


def an_untrusted_signer(site):
    site.shaky.publish(signer=site.trust.stranger)


def another_endorser(site):
    site.shaky.publish(signer=site.trust.colleague)


def a_false_claim(site):
    site.shaky.claims = Identity("/DC=org/CN=nobody", "/DC=org/CN=none")
    site.shaky.publish()


def an_expired_list(site):
    site.shaky.created = site.trust.now - timedelta(days=2)
    site.shaky.expires = site.trust.now - timedelta(days=1)
    site.shaky.publish()


def a_list_of_the_future(site):
    site.shaky.created = site.trust.now + timedelta(days=1)
    site.shaky.publish()


def an_older_version(site):
    site.shaky.publish(version=0)


def another_content_of_the_same_version(site):
    site.shaky.publish(version=site.shaky.version)


def another_identifier(site):
    site.shaky.identifier = "33333333-3333-4333-8333-333333333333"
    site.shaky.publish()


def another_vo(site):
    site.shaky.extra["ad:vo"] = "other.example.org"
    site.shaky.publish()


def the_list_of_somebody_else(site):
    site.shaky.publish_bytes(site.steady.message)


SIGNED = {
    an_untrusted_signer: ("untrusted-signer", "install that CA's package"),
    another_endorser: ("wrong-endorser", "add it under 'endorsers'"),
    a_false_claim: ("wrong-endorser", "hv:endorser"),
    an_expired_list: ("expired-list", "ask the endorser to publish a new one"),
    a_list_of_the_future: ("not-yet-valid", "check this machine's clock"),
    an_older_version: ("rollback", "imagesync list reset"),
    another_content_of_the_same_version: ("rollback", "imagesync list reset"),
    another_identifier: ("identity-mismatch", "imagesync list reset"),
    another_vo: ("identity-mismatch", "check the URL and 'vo'"),
    the_list_of_somebody_else: ("identity-mismatch", "check the URL"),
}


@pytest.mark.parametrize("publish", SIGNED, ids=lambda publish: publish.__name__)
def test_a_signed_list_that_must_not_be_trusted_is_an_alarm_and_holds_its_images(synced, publish):
    reason, hint = SIGNED[publish]
    synced.shaky.withdraw(next(iter(synced.shaky.images)))
    publish(synced)

    result = synced.fails_alone()

    assert (result.code, result.list("shaky")["verdict"]) == (3, "refused")
    assert result.list("shaky")["reason"].startswith(reason)
    assert hint in result.list("shaky")["hint"]


def test_when_no_list_arrives_at_all_nothing_could_be_done(synced):
    before = synced.held(None)
    synced.close()

    result = synced.sync()

    assert (result.code, result.json["exit"]) == (5, 5)
    assert synced.held(None) == before


def test_a_refused_list_weighs_more_than_one_that_did_not_arrive(synced):
    synced.close("steady")
    synced.shaky.publish(signer=synced.trust.stranger)

    assert synced.sync().code == 3


def test_without_state_the_versions_on_the_target_are_the_floor(synced):
    for file in synced.root.glob("state.db*"):
        _ = file.is_dir() or file.unlink()
    synced.shaky.publish(version=0)

    result = synced.fails_alone()

    assert (result.code, result.list("shaky")["verdict"]) == (3, "refused")
    assert result.json["state"] == "lost"
    assert "rollback" in result.list("shaky")["reason"]
    assert "imagesync list reset NAME --version" in result.list("shaky")["hint"]
