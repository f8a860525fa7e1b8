"""Die at every step of a pass, run again, compare (rule "Crash-only")."""

from contextlib import suppress
from dataclasses import replace

import pytest

from imagesync.state import open_state
from imagesync.testing.steps import Died, Steps, each_step


def prepared(site, root):
    """Return a site whose next pass registers, replaces, retires and updates."""
    root.mkdir()
    site = replace(site, root=root, cloud=type(site.cloud)(), images={}, prepared=[], steps=Steps())
    site.offer(kept="one", changing="old", leaving="three").publish().sync()
    del site.images["leaving"]
    return site.offer(changing="new", coming="four").publish()


def interrupted(site, steps):
    site.steps = site.cloud.steps = steps
    return site.sync()


def test_a_pass_interrupted_anywhere_ends_like_one_that_was_not(site, tmp_path):
    whole = prepared(site, tmp_path / "whole")
    whole.sync()
    names = []

    for number, steps in enumerate(each_step(lambda counted: interrupted(prepared(site, tmp_path / "count"), counted))):
        torn = prepared(site, tmp_path / str(number))
        had = set(torn.published())
        with pytest.raises(Died):
            interrupted(torn, steps)
        names.append(steps.names[-1])

        assert had - set(torn.published()) <= {"leaving"}, f"no published copy after dying at {names[-1]}"

        torn.steps = torn.cloud.steps = Steps()
        torn.sync()
        assert torn.published() == whole.published(), names[-1]
        assert torn.states() == whole.states(), names[-1]
        assert torn.sync().targets[0].plan.changes == (), names[-1]

    assert len(names) > 40
    assert {"before publish", "after publish", "after upload", "before retire", "before state.accept"} <= set(names)


def test_dying_twice_in_a_row_converges_too(site, tmp_path):
    whole = prepared(site, tmp_path / "whole")
    whole.sync()

    for first in range(1, 40, 5):
        for second in range(1, 40, 7):
            torn = prepared(site, tmp_path / f"{first}-{second}")
            for number in (first, second):
                with suppress(Died):
                    interrupted(torn, Steps(die_at=number))
            torn.steps = torn.cloud.steps = Steps()
            torn.sync()
            assert torn.states() == whole.states()


def test_after_a_death_anywhere_an_older_list_undoes_nothing(site, tmp_path):
    """Where others can edit the records, these are no floor: the state is one before anything is changed."""

    def begun(root):
        made = prepared(site, root)
        made.cloud.editable = True
        return made

    counted = 0
    for number, steps in enumerate(each_step(lambda counted: interrupted(begun(tmp_path / "count"), counted))):
        torn = begun(tmp_path / str(number))
        had = torn.published()
        with open_state(f"sqlite:///{torn.root}/state.db") as state:
            older = state.stored(torn.name).blob
        with pytest.raises(Died):
            interrupted(torn, steps)
        done = {name for name in had if torn.published().get(name) != had[name]}

        torn.steps = torn.cloud.steps = Steps()
        torn.offer(changing="old", leaving="three").blob = older
        torn.sync()

        now = torn.published()
        assert done <= {name for name in had if now.get(name) != had[name]}, steps.die_at
        counted += bool(done)

    assert counted > 5
