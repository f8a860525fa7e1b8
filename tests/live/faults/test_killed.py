"""imagesync is killed with SIGKILL at each request of a pass, before and after Glance acted; the next pass completes it.

Between two requests a killed process leaves the cloud as it was after the first of them, so these are all the steps.
"""

import os
import signal
from dataclasses import dataclass
from typing import Any

import passes
import pytest
from cloud.faults import ANY, Intercept, Meanwhile

HALF = 640 << 10
STAGE = r"/v2/images/[^/]+/stage"


@dataclass
class Rounds:
    """Passes on one site that each register, replace, retire, restore, update and delete."""

    trial: Any
    away: Any = None
    number: int = 0

    def begin(self) -> None:
        self.trial.site.configure(delete_after="0s", in_use="ignore")
        self.trial.start("stays", "changes", "comes", "swings", "swings too")
        self.away = self.trial.site.published.images.pop(self.trial.site.identifier("swings too"))
        assert self.trial.site.publish_and_sync().code == 0
        self.change()
        assert self.trial.site.sync().code == 0  # the next one deletes what this one retired

    def change(self) -> None:
        """Publish what the next pass has to do: something of everything."""
        self.number += 1
        published = self.trial.site.published
        self.trial.site.replace("changes", f"changes {self.number}")
        back, self.away = self.away, published.images.pop(self._swinging())
        published.images[back.identifier] = back
        [gone] = [one for one in self.trial.records() if one["vmcatcher_event_dc_title"] == "comes"]
        self.trial.images.delete(gone["id"])
        published.publish()

    def _swinging(self):
        return self.trial.site.identifier("swings too" if self.away.title == "swings" else "swings")

    def count(self) -> list[str]:
        """Return the methods of the requests that such a pass makes."""
        self.change()
        self.trial.glance.clear()
        done = self.trial.site.sync()
        kinds = {kind for kind, _ in done.done()}
        assert kinds == {"register", "replace", "retire", "restore", "update", "delete"}, done.out
        return [one.method for one in self.trial.glance.exchanges]

    def kill(self, number: int, moment: str) -> None:
        """Run such a pass and kill it at a request.

        If it ended before, then there was nothing to delete: the last one was killed after it had retired something.
        """
        for _ in range(2):
            self.change()
            before = self.trial.published()
            if killed_at(self.trial, (ANY, ".*"), number, moment):
                break
        else:
            pytest.fail(f"no pass made {number} requests")
        self.trial.look(before)
        self.trial.glance.clear()


def killed_at(trial, request, number, moment):
    """Run a pass that is killed at one of certain requests; return whether it came to that."""
    victims = []

    def kill() -> None:
        os.kill(victims[0], signal.SIGKILL)

    faults = {"before": Intercept(kill), "half": Meanwhile(kill, HALF), "after": Meanwhile(kill, answer=True)}
    trial.glance.clear()
    trial.glance.add(*request, faults[moment], nth=number)
    process = passes.start(trial.site.words("sync"), trial.site.env, trial.site.root / "killed.log")
    victims.append(process.pid)
    process.join()
    return process.exitcode == -signal.SIGKILL


def steps(methods):
    """Yield every step as the number of its request and the moment."""
    for number, method in enumerate(methods, start=1):
        yield number, "before"
        if method == "PUT":
            yield number, "half"
        if method != "GET":
            yield number, "after"


IMPORT = (
    ("PUT", STAGE, "half"),
    ("PUT", STAGE, "after"),
    ("POST", r"/v2/images/[^/]+/import", "before"),
    ("POST", r"/v2/images/[^/]+/import", "after"),
)


def test_an_import_that_is_interrupted_is_never_finished_with_less(trial, share):
    """Glance makes a whole image of half the bytes when it is asked to import what was staged."""
    trial.site.configure(upload_method="glance-direct")
    trial.start("changes", "stays", "swings")
    for method, path, moment in share(IMPORT, 2):
        trial.renew()
        assert killed_at(trial, (method, path), 1, moment), (path, moment)
        assert trial.site.sync().code == 0, (path, moment)
        trial.assert_good()
    trial.assert_converged()


@pytest.fixture
def member(cloud, trial, request):
    """Return a project with which every image of the site is shared, or none."""
    if request.param == "per-project":
        return None
    member = cloud.project()
    trial.site.entries["member"] = member.login().entry()
    projects = {trial.site.vo: {"id": member.id, "cloud": "member"}}
    trial.site.configure(ownership="shared", owner={"id": trial.project.id}, projects=projects)
    return member


def assert_shared(trial, member):
    """Return if the member accepted what is published, and has no other of our images in its list."""
    wanted = {member.id: "accepted"}
    active = {one["id"] for one in trial.records() if one["status"] == "active"}
    assert {one["id"] for one in member.images().list(visibility="shared", status="active")} == active
    assert all(trial.images.members(one) == wanted for one in active)


@pytest.mark.parametrize("member", ["per-project", "shared"], indirect=True)
def test_a_pass_that_is_killed_anywhere_is_completed_by_the_next(trial, member, share):
    rounds = Rounds(trial)
    rounds.begin()
    whole = list(steps(rounds.count()))
    assert len(whole) > 45

    for number, moment in share(whole, 10):
        rounds.kill(number, moment)
        after = trial.site.sync()
        assert after.code == 0, (number, moment, after.out + after.err)
        trial.assert_good()
        if member:
            assert_shared(trial, member)

    trial.assert_converged()
