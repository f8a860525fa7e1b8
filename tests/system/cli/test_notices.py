"""What still holds but is old, or ends soon, is told in the report, the status and the log."""

from datetime import timedelta

import pytest

from imagesync.testing.faults import Status

FAR = timedelta(days=365 * 400)


def notices(result, name="shaky"):
    return [(one["level"], one["matter"]) for one in result.list(name)["notices"]]


def age(site, days):
    site.shaky.created = site.trust.now - timedelta(days=days)
    site.shaky.expires = site.trust.now + FAR
    site.shaky.publish()


def test_a_fresh_list_has_no_notices(synced):
    assert notices(synced.given("sync", "--json")) == notices(synced.given("status", "--json")) == []


@pytest.mark.parametrize(("days", "level"), [(100, "warning"), (200, "critical")])
def test_a_freeze_is_noticed_although_the_list_verifies(synced, days, level):
    age(synced, days)

    result = synced.sync()

    assert (result.code, result.list("shaky")["verdict"]) == (0, "trusted")
    assert notices(result) == [(level, "list-age")]
    assert f"no newer list was seen for {days} days" in result.list("shaky")["notices"][0]["text"]
    assert "list needs attention" in result.err
    assert notices(synced.given("status", "--json")) == [(level, "list-age")]
    assert f"  {level}: no newer list was seen" in synced.given("status").out


def test_a_list_that_ages_while_its_server_is_down_is_noticed_too(synced):
    age(synced, 100)
    synced.given("sync", "--json")
    synced.shaky.server.misbehave(synced.shaky.path, Status(503))

    result = synced.sync()

    assert (result.list("shaky")["verdict"], notices(result)) == ("unavailable", [("warning", "list-age")])


AHEAD = {
    "list-expiry": ({"list_expiry": {"warning": "29d", "critical": "1d"}}, "the list ends at"),
    "certificate-expiry": ({"certificate": {"warning": "400d", "critical": "7d"}}, "Robot: endorser ends at"),
    "crl-expiry": ({"crl": {"warning": "40d", "critical": "1d"}}, "the CRL of /DC=org/DC=example/CN=Test CA ends at"),
}


@pytest.mark.parametrize("matter", AHEAD)
def test_an_end_is_announced_ahead(synced, matter):
    limits, text = AHEAD[matter]
    synced.configure(notices=limits)

    result = synced.given("sync", "--json")

    assert (result.code, notices(result)) == (0, [("warning", matter)])
    assert text in result.list("shaky")["notices"][0]["text"]


def test_a_list_may_have_limits_of_its_own(synced):
    synced.subscription_options["shaky"] = {"list_age": {"warning": "3650d", "critical": "3650d"}}
    synced.configure()
    age(synced, 200)

    assert notices(synced.given("sync", "--json")) == []
