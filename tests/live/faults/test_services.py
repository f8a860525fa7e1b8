"""Keystone or Glance is down, or killed with SIGKILL in the middle of a pass, and started again afterwards."""

import pytest
from cloud.faults import Intercept, Meanwhile

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
    """Return a site on the cloud whose services may be killed."""
    trial = try_site(fragile)
    trial.start("changes", "stays", "swings")
    return trial


@pytest.mark.parametrize("name", ["keystone", "glance"])
def test_a_service_that_is_down_is_named_and_nothing_changes(changing, services, name):
    changing.renew()
    before = changing.states()
    services[name].kill()

    result = changing.site.sync()

    [target] = result.json["targets"]
    assert (result.code, target["actions"]) == (5, [])
    assert "see whether the service runs and can be reached" in target["error"]
    services[name].start()
    assert changing.states() == before
    assert changing.assert_converged().done()


LISTING = ("GET", "/v2/images", 3)  # the second page
UPLOAD = ("PUT", r"/v2/images/[^/]+/file", 1)
PUBLICATION = ("PATCH", r"/v2/images/[^/]+", 1)
CASES = [(name, moment) for moment in (LISTING, UPLOAD, PUBLICATION) for name in ("keystone", "glance")]


def test_a_service_that_is_killed_leaves_nothing_that_the_next_pass_does_not_settle(changing, services, share):
    for name, moment in share(CASES, 2):
        changing.renew()
        method, path, nth = moment
        kill = services[name].kill
        rule = changing.glance.add(
            method, path, Meanwhile(kill, HALF) if moment is UPLOAD else Intercept(kill), nth=nth
        )

        result = changing.site.sync()

        assert rule.struck == 1
        [target] = result.json["targets"]
        errors = [target["error"], *(one["error"] for one in target["actions"])]
        assert result.code == (5 if moment is LISTING else 1)
        assert {"see whether the service runs" in error for error in errors if error} == {True}
        services[name].start()
        changing.assert_converged()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_glance_that_is_killed_during_an_import_leaves_nothing(changing, services, moment):
    """It never goes on with it; without the state of its worker the image stays in ``importing`` for ever."""
    changing.site.configure(upload_method="glance-direct", request_timeout="2s")
    changing.renew()
    kill = services["glance"].kill
    fault = Intercept(kill) if moment == "before" else Meanwhile(kill, answer=True)
    rule = changing.glance.add("POST", r"/v2/images/[^/]+/import", fault)

    result = changing.site.sync()

    assert (rule.struck, result.code) == (1, 1)
    assert "see whether the service runs" in result.action("changes")["error"]
    services["glance"].start()
    changing.assert_converged()


def test_a_token_that_is_revoked_in_the_middle_of_an_upload_is_replaced(changing, fragile):
    """Glance looks at it when the upload begins; the next request is refused, by Keystone's own word."""

    def revoke():
        for token in changing.tokens():
            fragile.admin.identity.call("DELETE", "/auth/tokens", headers={"X-Subject-Token": token})

    changing.renew()
    changing.keystone.clear()
    rule = changing.glance.add("PUT", r"/v2/images/[^/]+/file", Meanwhile(revoke, HALF))

    result = changing.site.sync()

    assert (rule.struck, result.code, len(result.done())) == (1, 0, 3), result.out
    refused = [one for one in changing.glance.exchanges if one.status == 401]
    assert (len(refused), changing.keystone.count("POST", "/v3/auth/tokens")) == (1, 2)
    changing.assert_converged()
