"""Answers that nobody wants, from the real Keystone and Glance through a proxy: what the report says, what is left."""

import re
import time

from cloud.faults import CutAnswer, Flood, Hang, ResetAnswer, ResetRequest, ShortenAnswer, Status

UPLOAD = r"/v2/images/[^/]+/file"
RECORD = r"/v2/images/[^/]+"
TOKENS = "/v3/auth/tokens"
SIZE = 1280 << 10
HTML = Status(503, html=True)

UPLOADS = (
    (Status(403, message="not allowed by policy"), r"Glance answers 403: not allowed by policy \(give the user"),
    (Status(409), r"Glance answers 409: .*\(.*next pass\)"),
    (Status(413, message="remaining quota 0 bytes"), r"Glance answers 413: .*\(raise user_storage_quota"),
    (Status(415), r"Glance answers 415: .*require_image_format_match"),
    (Status(429, retry_after=1), r"Glance answers 429"),
    (Status(500), r"Glance answers 500"),
    (HTML, r"Glance answers 503: 503 Service Unavailable made by the test's proxy"),
    (Status(504, forward=True), r"Glance answers 504"),
    (ResetRequest(SIZE // 10), r"\(see whether the service runs"),
    (ResetRequest(SIZE // 2), r"\(see whether the service runs"),
    (ResetRequest(SIZE * 99 // 100), r"\(see whether the service runs"),
    (Hang(SIZE // 2), r"\(see whether the service runs"),
)


def test_every_upload_that_fails_is_named_stops_no_other_and_is_repeated(trial):
    trial.allow(seconds=5)
    trial.site.offer("good", *(f"image {number}" for number, _ in enumerate(UPLOADS)))
    for number, (fault, _) in enumerate(UPLOADS, start=1):
        trial.glance.add("PUT", UPLOAD, fault, nth=number)

    result = trial.site.publish_and_sync()

    failed = [one["error"] for one in result.actions if one["outcome"] == "failed"]
    assert (result.code, len(result.done())) == (1, 1)
    for error, (fault, text) in zip(failed, UPLOADS, strict=True):
        assert re.search(text, error), (fault, error)
    assert trial.states() == [(title, "active") for _, title in result.done()]  # what was begun is gone
    assert len(trial.assert_converged().done()) == len(UPLOADS)


LISTINGS = (
    (Status(403), "Glance answers 403"),
    (HTML, "Glance answers 503: 503 Service Unavailable made by the test's proxy"),
    (Status(200, html=True), "is no JSON"),
    (Status(429, retry_after=600), "Glance answers 429"),
    (Status(401), "also with a new token"),
    (CutAnswer(300), "Connection broken"),
    (ShortenAnswer(100), "is no JSON"),
    (Flood(), "the answer is longer than 64 MiB (see what answers at this address)"),
    (ResetAnswer(300), "see whether the service runs"),
    (Hang(), "see whether the service runs"),
)


def test_a_listing_that_fails_changes_nothing(trial):
    trial.start("one", "two")
    before = trial.records()
    trial.site.replace("one", "one-next")
    trial.site.withdraw("two")
    trial.site.published.publish()
    for fault, text in LISTINGS:
        trial.glance.clear()
        trial.glance.add("GET", "/v2/images", fault, times=None)
        trial.allow(seconds=1 if isinstance(fault, Hang) else 60)

        result = trial.site.sync()

        [target] = result.json["targets"]
        assert (result.code, target["outcome"], target["actions"]) == (5, "failed", []), fault
        assert text in target["error"], fault
        assert {one.method for one in trial.glance.exchanges} == {"GET"}

    assert trial.records() == before
    trial.assert_converged()


LOGINS = (
    (Status(401), "see user and secret, and whether that user has a role on the project"),
    (HTML, "Keystone answers 503: 503 Service Unavailable made by the test's proxy"),
    (Hang(), "see whether the service runs and can be reached"),
)


def test_a_login_that_fails_changes_nothing(trial):
    trial.start("one", "two")
    trial.site.withdraw("two")
    trial.site.published.publish()
    for fault, text in LOGINS:
        trial.glance.clear()
        trial.keystone.clear()
        trial.keystone.add("POST", TOKENS, fault, times=None)
        trial.allow(seconds=1 if isinstance(fault, Hang) else 60)

        result = trial.site.sync()

        [target] = result.json["targets"]
        assert (result.code, target["outcome"], target["actions"]) == (5, "failed", []), fault
        assert text in target["error"], fault
        assert trial.glance.count() == 0

    trial.assert_converged()


CREATION = ("POST", "/v2/images")
SENDING = ("PUT", UPLOAD)
READING = ("GET", RECORD)
PUBLICATION = ("PATCH", RECORD)
RETIREMENT = ("POST", r"/v2/images/[^/]+/actions/deactivate")
STEPS = (
    (CREATION, Status(403), 1, r"Glance answers 403.*give the user"),
    (CREATION, Status(413, message="image_count_total is limited to 1"), 1, r"raise the project's limit image_count"),
    (CREATION, Status(500, forward=True), 1, r"Glance answers 500"),
    (CREATION, ResetAnswer(10), 1, r"see whether the service runs"),
    (READING, Status(500), 4, r"Glance answers 500"),
    (PUBLICATION, Status(403), 1, r"Glance answers 403.*give the user"),
    (PUBLICATION, Status(504, forward=True), 4, r"Glance answers 504"),
    (PUBLICATION, Hang(), 4, r"see whether the service runs"),
    (RETIREMENT, Status(500), 1, r"Glance answers 500"),
    (RETIREMENT, Status(500, forward=True), 1, r"Glance answers 500"),
)


def test_a_step_that_fails_leaves_what_the_next_pass_completes(trial, share):
    trial.start("changes", "stays", "swings")
    for step, fault, times, text in share(STEPS, 2):
        trial.renew()
        trial.allow(seconds=2 if isinstance(fault, Hang) else 60)
        # What is asked of an image without bytes, whether it may be retired, is answered and changes nothing.
        rule = trial.glance.add(*step, fault, times=times, nth=2 if step is RETIREMENT else 1)

        result = trial.site.sync()

        assert (rule.struck, result.code) == (times, 1), (step, fault, result.out)
        assert any(re.search(text, one["error"] or "") for one in result.actions), (step, fault, result.out)
        trial.glance.clear()
        trial.allow()
        assert trial.site.sync().code == 0
        trial.assert_good()
    trial.assert_converged()


def test_what_was_sent_is_not_sent_again_when_publishing_it_failed(trial):
    trial.site.offer("one")
    trial.glance.add(*PUBLICATION, Status(403))
    assert trial.site.publish_and_sync().code == 1
    assert trial.states() == [("one", "active hidden")]

    after = trial.assert_converged()

    assert after.json["totals"]["bytes_uploaded"] == 0


def test_passing_faults_are_not_even_seen(trial):
    trial.start("changes", "stays", "swings")
    trial.renew()
    trial.glance.add("GET", "/v2/images", Status(500))
    trial.glance.add(*CREATION, Status(429, retry_after=2))
    trial.glance.add(*READING, CutAnswer(50))
    trial.glance.add(*PUBLICATION, HTML)
    trial.keystone.add("POST", TOKENS, Status(500))
    began = time.monotonic()

    result = trial.site.sync()

    assert (result.code, len(result.done())) == (0, 3), result.out
    assert time.monotonic() - began > 2  # as Retry-After says
    assert trial.glance.count(*CREATION) == 2
    trial.assert_converged()


def test_a_token_that_is_no_longer_valid_is_renewed_once_for_each_request(trial):
    trial.start("changes", "stays", "swings")
    trial.renew()
    refused = (("GET", "/v2/images"), CREATION, SENDING, READING, PUBLICATION, RETIREMENT)
    for method, path in refused:
        trial.glance.add(method, path, Status(401))
    trial.keystone.clear()

    result = trial.site.sync()

    assert (result.code, len(result.done())) == (0, 3), result.out
    assert trial.keystone.count("POST", TOKENS) == 1 + len(refused)
    trial.assert_converged()
