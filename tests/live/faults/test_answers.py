"""Answers that nobody wants, from the real Keystone and Glance through a proxy: what the report says, what is left."""

import re

from cloud.faults import CutAnswer, Hang, ResetAnswer, ResetRequest, Status

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
    trial.site.configure(stall_timeout="2s")
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
    (Status(200, html=True), "the answer is no JSON"),
    (Status(429, retry_after=600), "Glance answers 429"),
    (Status(401), "also with a new token"),
    (CutAnswer(300), "Connection broken"),
    (ResetAnswer(300), "see whether the service runs"),
    (Hang(), "see whether the service runs"),
)


def test_a_listing_that_fails_changes_nothing(trial):
    trial.site.configure(request_timeout="1s")
    trial.start("one", "two")
    before = trial.records()
    trial.site.replace("one", "one-next")
    trial.site.withdraw("two")
    trial.site.published.publish()
    for fault, text in LISTINGS:
        trial.glance.clear()
        trial.glance.add("GET", "/v2/images", fault, times=None)

        result = trial.site.sync()

        [target] = result.json["targets"]
        assert (result.code, target["outcome"], target["actions"]) == (5, "failed", []), fault
        assert text in target["error"], fault
        assert {one.method for one in trial.glance.exchanges} == {"GET"}

    assert trial.records() == before
    trial.assert_converged()
