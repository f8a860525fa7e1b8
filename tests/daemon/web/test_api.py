"""What programs ask: health, metrics, the status and its description."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from prometheus_client.parser import text_string_to_metric_families

from imagesync import __version__
from imagesync.daemon.passes import HOUSEKEEPING
from imagesync.daemon.web.access import Rules
from imagesync.daemon.web.app import make_app
from imagesync.daemon.web.openapi import description
from imagesync.daemon.web.server import Server
from imagesync.run.situation import Outlook

HOUR = timedelta(hours=1)
SECRET = "open sesame"
BEARER = {"authorization": f"Bearer {SECRET}"}


@pytest.fixture
def described(place):
    """A server whose state has something of everything, and what it says of itself."""
    place.accept(entries=[{"dc:identifier": "one"}]).hold().hold("two", state="failed", retry_at=place.now + HOUR)
    place.ran(lists=[("fedcloud", "refused", "rollback: lower")], code=3).passed(code=3, failures=2)
    place.next["fedcloud"] = place.now + HOUR
    place.paused("target", "site", until=place.now + HOUR)
    place.live.begin("fedcloud", place.now)
    place.live.take("fedcloud", {"event": "task", "task": 1, "step": "download", "title": "t", "total": 2})
    server = Server(make_app(place.window(), Rules(SECRET)), "127.0.0.1:0")
    yield schemathesis.openapi.from_url(f"{server.address}/api/v1/openapi.json", headers=BEARER)
    server.stop()


def test_the_api_answers_as_it_is_described(described):
    for found in described.get_all_operations():
        _answers_as_described(found.ok())


def _answers_as_described(operation):
    @settings(max_examples=15, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate])
    @given(case=operation.as_strategy())
    def check(case):
        case.call_and_validate(headers=BEARER)

    check()


def test_every_route_for_programs_is_described():
    from imagesync.daemon.web.app import GETS

    programs = {path for path in GETS if path.startswith("/api/")} | {"/healthz", "/readyz", "/metrics"}
    assert set(description()["paths"]) == programs | {"/api/v1/lists/{name}/sync"}


def test_every_key_of_the_status_is_described(place):
    place.accept(entries=[{"dc:identifier": "one"}]).hold().ran().passed().paused("list", "fedcloud")
    status, schemas = place.open().get("/api/v1/status").json(), description()["components"]["schemas"]

    for name, found in (
        ("Status", status),
        ("List", status["lists"][0]),
        ("Target", status["targets"][0]),
        ("Image", status["targets"][0]["images"][0]),
    ):
        assert set(found) == set(schemas[name]["properties"]), name


def test_the_status_has_the_keys_of_the_command(place):
    place.accept(entries=[{"dc:identifier": "one"}]).hold().ran()
    status = place.open().get("/api/v1/status").json()

    command = {
        "name",
        "verdict",
        "reason",
        "notices",
        "version",
        "signer",
        "identifier",
        "warnings",
        "created",
        "expires",
        "images",
    }
    assert command <= set(status["lists"][0])
    row = {"key", "title", "state", "reason", "since", "digest", "format", "vo", "signer"}
    assert row <= set(status["targets"][0]["images"][0])
    assert {"name", "error", "images"} <= set(status["targets"][0])


def test_very_long_text_is_cut(place):
    status = place.accept().hold("i" * 1_000_000, title="t" * 1_000_000).open().get("/api/v1/status")

    assert len(status.content) < 20_000


# --- health -----------------------------------------------------------------------------------------------------------
def test_it_is_alive_before_it_is_ready(place):
    client = place.open()

    assert client.get("/healthz").text == "alive\n"
    assert client.get("/readyz").status_code == 503
    assert "no pass yet over fedcloud" in client.get("/readyz").text


def test_why_it_is_not_ready_is_told_to_those_who_may_see_the_page(place):
    secret, local = place.open(Rules(SECRET)), place.open(Rules(local=True))

    assert secret.get("/readyz").text == "not ready\n"
    assert "fedcloud" in secret.get("/readyz", headers=BEARER).text
    assert local.get("/readyz", headers={"host": "evil.example.org"}).text == "not ready\n"
    assert "fedcloud" in local.get("/readyz", headers={"host": "localhost"}).text


def test_it_is_ready_when_every_list_was_looked_at_also_in_vain(place):
    assert (
        place.ran(lists=[("fedcloud", "unavailable", "http-status: 503")], code=5).open().get("/readyz").text
        == "ready\n"
    )


def test_it_is_not_alive_when_what_is_due_does_not_begin(place):
    place.is_alive = False

    assert place.open().get("/healthz").status_code == 503


def test_it_is_not_ready_while_the_state_cannot_be_written(place):
    place.state = "state.db: cannot be written: disk full"
    client = place.accept().ran().open(Rules(local=True))
    answer = client.get("/readyz", headers={"host": "localhost"})

    assert (answer.status_code, "disk full" in answer.text) == (503, True)
    assert "disk full" in client.get("/", headers={"host": "localhost"}).text
    assert _metrics(place.open())["imagesync_state_usable",] == 0


# --- metrics ----------------------------------------------------------------------------------------------------------
def _metrics(client):
    text = client.get("/metrics").text
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_say_what_the_state_says(place):
    place.next["fedcloud"] = place.now + HOUR
    place.hold("one").hold("two", state="failed", since=place.now - 30 * HOUR, retry_at=place.now + HOUR)
    found = _metrics(
        place.accept(entries=[{"dc:identifier": "one"}]).ran().passed(failures=1, retry_at=place.now).open()
    )

    assert found["imagesync_images", "published", "site"] == 1
    assert found["imagesync_images", "failed", "site"] == 1
    assert found["imagesync_images_late_seconds", "site"] == 30 * 3600
    assert found["imagesync_list_verified_timestamp_seconds", "fedcloud"] == place.now.timestamp()
    assert found["imagesync_list_age_seconds", "fedcloud"] == 3600
    assert found["imagesync_list_expiry_seconds", "fedcloud"] == 30 * 86_400
    assert found["imagesync_signer_expiry_seconds", "fedcloud"] == 300 * 86_400
    assert found["imagesync_next_pass_timestamp_seconds", "fedcloud"] == (place.now + HOUR).timestamp()
    assert found["imagesync_list_verdict", "fedcloud", "trusted"] == 1
    assert found["imagesync_back_offs", "image"] == found["imagesync_back_offs", "list"] == 1
    assert found["imagesync_target_failed", "site"] == 0
    assert found["imagesync_pass_success_timestamp_seconds", "fedcloud"] == (place.now - HOUR).timestamp() + 90
    assert found["imagesync_list_images", "fedcloud"] == 1
    assert found["imagesync_running_passes",] == 0
    assert found["imagesync_start_time_seconds",] == (place.now - 24 * HOUR).timestamp()
    assert found["imagesync_state_usable",] == found["imagesync_configuration_in_force",] == 1
    assert found["imagesync_clock_trusted",] == 1
    (build,) = [name for name in found if name[0] == "imagesync_build_info"]
    assert __version__ in build


def test_metrics_say_what_is_wrong(place):
    place.complaint = "configuration not reloaded: x"
    place.live.begin("fedcloud", place.now)
    found = _metrics(
        place.accept()
        .ran(lists=[("fedcloud", "refused", "rollback: lower")], code=3, error="backend-unavailable")
        .open()
    )

    assert found["imagesync_list_verdict", "fedcloud", "refused"] == 1
    assert found["imagesync_list_verdict", "fedcloud", "trusted"] == 0
    assert found["imagesync_configuration_in_force",] == 0
    assert found["imagesync_running_passes",] == 1
    assert found["imagesync_target_failed", "site"] == 1
    assert ("imagesync_pass_success_timestamp_seconds", "fedcloud") not in found


def test_revocation_lists_count_as_the_last_pass_had_them_not_as_the_first(place):
    ends = [
        {"matter": "certificate-expiry", "subject": "the certificate of a", "at": "2026-11-22T15:00:00Z"},
        {"matter": "crl-expiry", "subject": "the CRL of b", "at": "2026-11-22T13:00:00Z"},
    ]
    client = place.accept().ran(ends=ends).open()

    assert _metrics(client)["imagesync_crl_expiry_seconds", "fedcloud"] == 3600
    assert _metrics(client)["imagesync_certificate_expiry_seconds", "fedcloud"] == 3 * 3600
    (found,) = client.get("/api/v1/status").json()["findings"]
    assert (found["level"], found["matter"]) == ("critical", "crl-expiry")


def test_passes_are_counted_once(place):
    failed = {
        "kind": "register",
        "key": "k",
        "outcome": "failed",
        "error": "x",
        "error_reason": "no-space",
        "bytes_downloaded": 7,
    }
    client = place.ran(1, actions=[failed], code=1).open()
    _metrics(client)
    found = _metrics(client)

    assert found["imagesync_passes_total", "1"] == 1
    assert found["imagesync_failures_total", "image", "no-space"] == 1
    assert found["imagesync_bytes_total", "downloaded"] == 7
    assert found["imagesync_pass_duration_seconds_sum", "fedcloud"] == 90


def test_what_ran_before_the_daemon_began_is_not_counted(place):
    assert ("imagesync_passes_total", "0") not in _metrics(place.ran(ago=48 * HOUR).open())


def test_what_began_after_the_daemon_is_counted_whatever_the_clock_said(place):
    place.ran(1, ago=-24 * HOUR)
    place.past = 1
    place.ran(2, ago=48 * HOUR, code=3)
    found = _metrics(place.open())

    assert found["imagesync_passes_total", "3"] == 1
    assert ("imagesync_passes_total", "0") not in found


def test_when_a_pass_was_good_is_known_for_longer_than_runs_are_looked_back_on(place):
    place.ran(0, ago=100 * HOUR)
    for number in range(1, 62):
        place.ran(number, ago=(90 - number) * HOUR, code=5, lists=[("fedcloud", "refused", "x")])
    good = _metrics(place.open())["imagesync_pass_success_timestamp_seconds", "fedcloud"]

    assert good == (place.now - 100 * HOUR).timestamp() + 90


def test_no_stranger_adds_a_label(place):
    nasty = 'x"} 1\nevil{a="'
    actions = [
        {"kind": "register", "key": f"k{n}", "outcome": "failed", "error": nasty, "error_reason": f"{nasty}{n}"}
        for n in range(50)
    ]
    place.hold(state=nasty, reason=nasty).ran(lists=[(nasty, nasty, f"{nasty}: x")], actions=actions, error=nasty)
    text = place.accept(version=nasty).open().get("/metrics").text

    assert "evil" not in text
    assert len(re.findall("^imagesync_failures_total", text, re.MULTILINE)) == 3


def test_the_size_of_the_cache_is_told(place):
    area = place.root / "cache" / "sources"
    area.mkdir(parents=True)
    (area / "x").write_bytes(b"x" * 100_000)

    assert _metrics(place.open())[("imagesync_store_bytes",)] >= 100_000


def test_what_is_paused_is_measured_and_no_alarm(place):
    place.accept().hold(state="held").hold("two", state="missing", since=place.now - 99 * HOUR).ran()
    found = _metrics(place.paused("list", "fedcloud").open())

    assert found["imagesync_list_paused", "fedcloud"] == 1
    assert found["imagesync_target_paused", "site"] == 0
    assert found["imagesync_images", "held", "site"] == 0
    assert found["imagesync_images", "paused", "site"] == 1
    assert found["imagesync_images_late_seconds", "site"] == 0
    assert found["imagesync_list_verdict", "fedcloud", "trusted"] == 0


def test_passes_that_left_no_report_are_counted(place, visitor):
    window = replace(place.window(), outlook=lambda: Outlook(next={"fedcloud": place.now}, crashed={"other": 2}))
    found = _metrics(visitor(make_app(window, Rules())))

    assert found["imagesync_crashed_passes_total", "other"] == 2
    assert found["imagesync_crashed_passes_total", "fedcloud"] == 0


def test_the_last_housekeeping_is_shown_as_no_list(place):
    place.accept().ran().passed(HOUSEKEEPING, code=-1, failures=3, retry_at=place.now + HOUR)
    client = place.open()

    assert [HOUSEKEEPING in client.get(path).text for path in ("/", "/metrics", "/api/v1/status")] == [False] * 3
    assert _metrics(client)["imagesync_back_offs", "list"] == 0
