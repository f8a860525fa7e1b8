"""Keystone or Glance is down, or killed with SIGKILL in the middle of a pass, and started again afterwards."""

import pytest
from cloud.faults import Intercept, Meanwhile

UPLOAD = r"/v2/images/[^/]+/file"
RECORD = r"/v2/images/[^/]+"
HALF = 640 << 10


@pytest.fixture
def services(fragile):
    """Return Keystone and Glance; what was killed is started again in the end."""
    found = {"keystone": fragile.keystone, "glance": fragile.glance()}
    yield found
    for service in found.values():
        service.start()


@pytest.fixture
def changing(try_site, fragile, services):
    """Return a site whose next pass registers, replaces, retires and updates."""
    trial = try_site(fragile)
    trial.start("one", "two", "three")
    trial.glance.clear()
    trial.site.replace("one", "one-next")
    trial.site.withdraw("two")
    trial.site.offer("four")
    trial.site.published.publish()
    trial.watch()
    return trial


@pytest.mark.parametrize("name", ["keystone", "glance"])
def test_a_service_that_is_down_is_named_and_nothing_changes(changing, services, name):
    before = changing.states()
    services[name].kill()

    result = changing.site.sync()

    [target] = result.json["targets"]
    assert (result.code, target["actions"]) == (5, [])
    assert "see whether the service runs and can be reached" in target["error"]
    services[name].start()
    assert changing.states() == before
    assert {kind for kind, _ in changing.assert_converged().done()} == {"register", "replace", "retire", "update"}


def listing(kill):
    """The second of several pages."""
    return "GET", "/v2/images", Intercept(kill), 3


def upload(kill):
    return "PUT", UPLOAD, Meanwhile(kill, HALF), 1


def publication(kill):
    return "PATCH", RECORD, Intercept(kill), 1


def published(kill):
    return "PATCH", RECORD, Meanwhile(kill, answer=True), 1


@pytest.mark.parametrize("moment", [listing, upload, publication, published])
@pytest.mark.parametrize("name", ["keystone", "glance"])
def test_a_service_that_is_killed_leaves_nothing_that_the_next_pass_does_not_settle(changing, services, name, moment):
    method, path, fault, nth = moment(services[name].kill)
    rule = changing.glance.add(method, path, fault, nth=nth)

    result = changing.site.sync()

    assert rule.struck == 1
    [target] = result.json["targets"]
    assert result.code == (5 if moment is listing else 1)
    errors = [target["error"]] if moment is listing else [one["error"] for one in target["actions"] if one["error"]]
    print(errors)
    assert all("see whether the service runs" in error for error in errors)
    services[name].start()
    changing.assert_converged()
