"""Keystone or Glance is down, or killed with SIGKILL in the middle of a pass, and started again afterwards."""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Moment:
    """When a service is killed: at a request, before or after Glance acted, or half-way through the request's body."""

    method: str
    path: str
    nth: int = 1
    when: str = "before"
    upload: str = "upload"

    def fault(self, kill):
        faults = {"before": Intercept(kill), "half": Meanwhile(kill, HALF), "after": Meanwhile(kill, answer=True)}
        return faults[self.when]


DOWN = None
LISTING = Moment("GET", "/v2/images", nth=3)  # the second page
UPLOAD = Moment("PUT", r"/v2/images/[^/]+/file", when="half")
IMPORT = Moment("POST", r"/v2/images/[^/]+/import", when="after", upload="glance-direct")  # which is never finished
PUBLICATION = Moment("PATCH", r"/v2/images/[^/]+")
CASES = [
    *((name, moment) for moment in (LISTING, UPLOAD, PUBLICATION, DOWN) for name in ("glance", "keystone")),
    ("glance", IMPORT),
]


def kill_at(trial, service, moment):
    """Kill a service, at once or during the next pass."""
    trial.site.configure(upload_method=moment.upload if moment else "upload")
    trial.renew()
    if moment is DOWN:
        service.kill()
    else:
        trial.glance.add(moment.method, moment.path, moment.fault(service.kill), nth=moment.nth)


def test_a_service_that_is_killed_leaves_nothing_that_the_next_pass_does_not_settle(changing, services, share):
    for name, moment in share(CASES, 3):
        kill_at(changing, services[name], moment)

        result = changing.site.sync()

        assert services[name].pid is None
        [target] = result.json["targets"]
        errors = [target["error"], *(one["error"] for one in target["actions"])]
        assert {"see whether the service runs" in error for error in errors if error} == {True}, errors
        if moment in {DOWN, LISTING}:
            assert (result.code, target["actions"]) == (5, [])
        else:
            assert result.code == 1
        services[name].start()
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
