"""Two imagesync on the same project, each with a state and a cache of its own."""

from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import wait
from threading import Event

import passes
import pytest
from cloud.faults import ANY, Meanwhile

LIMIT = 120
HALF = 640 << 10


@pytest.fixture
def second(trial, proxied, tmp_path):
    """Return the same site as another host has it, with a way of its own to Glance."""
    root = tmp_path / "second"
    root.mkdir()
    glance = proxied(trial.site.cloud.glance_url())
    site = replace(trial.site, root=root, target={**trial.site.target, "endpoint_override": glance.url})
    site.configure()
    return replace(trial, site=site, glance=glance)


def start(trial):
    return passes.start(trial.site.words("sync"), trial.site.env, trial.site.root / "output.log")


def end(process):
    process.join(LIMIT)
    assert process.exitcode in {0, 1}


def test_two_hosts_in_turn_change_nothing_of_each_others(trial, second):
    trial.start("changes", "stays", "swings")
    assert second.site.sync().done() == []
    trial.renew()

    assert len(second.site.sync().done()) == 3

    assert trial.site.sync().done() == []
    trial.assert_converged()
    second.assert_converged()


def test_two_hosts_at_the_same_time_end_with_one_copy_of_each(trial, second):
    trial.site.offer(*"abcdef")
    trial.site.published.publish()

    for process in [start(trial), start(second)]:
        end(process)

    assert {trial.site.sync().code, second.site.sync().code} == {0}
    trial.assert_converged()
    second.assert_converged()


def pauses(methods):
    """Yield the number and the moment of every pause of a pass that makes such requests."""
    for number, method in enumerate(methods, start=1):
        if method == "PUT":
            yield number, {"after": HALF}
        yield number, {"answer": True}


def test_one_host_works_through_every_pause_of_the_other(trial, second, share):
    trial.start("changes", "stays", "swings")
    trial.renew()
    trial.site.sync()
    for number, moment in share(list(pauses(one.method for one in trial.glance.exchanges)), 5):
        trial.renew()
        reader, writer = Pipe(duplex=False)
        go = Event()

        def pause(writer=writer, go=go):
            writer.send(None)
            go.wait(LIMIT)

        trial.glance.add(ANY, ".*", Meanwhile(pause, **moment), nth=number)
        process = start(trial)
        assert reader in wait([reader, process.sentinel], LIMIT), number
        assert second.site.sync().code in {0, 1}, number
        go.set()
        end(process)

        assert trial.site.sync().code == 0, number
        assert second.site.sync().code == 0, number
        trial.assert_good()
        assert trial.site.run("plan", "--check").code == 0, number
        assert second.site.run("plan", "--check").code == 0, number
