import pytest

from imagesync.testing.steps import Died, Steps, dying, each_step


class Port:
    name = "port"

    def __init__(self) -> None:
        self.done: list[str] = []

    def one(self, value: str) -> str:
        self.done.append(value)
        return value.upper()


def test_each_call_is_two_steps() -> None:
    steps = Steps()

    assert dying(Port(), steps, "p.").one(value="a") == "A"
    assert steps.names == ["before p.one", "after p.one"]


def test_other_attributes_are_no_steps() -> None:
    steps = Steps()

    assert dying(Port(), steps).name == "port"
    assert steps.names == []


@pytest.mark.parametrize(("die_at", "done"), [(1, []), (2, ["a"]), (3, ["a"]), (4, ["a", "b"])])
def test_it_dies_where_it_is_told(die_at: int, done: list[str]) -> None:
    port, steps = Port(), Steps(die_at)
    wrapped = dying(port, steps)

    with pytest.raises(Died):
        [wrapped.one(value) for value in "ab"]
    assert port.done == done


def test_the_dead_do_nothing_any_more() -> None:
    port, steps = Port(), Steps(1)
    wrapped = dying(port, steps)
    for _ in range(3):
        with pytest.raises(Died, match="before one"):
            wrapped.one("a")

    assert (port.done, steps.names) == ([], ["before one"])


def test_every_step_is_visited_once() -> None:
    visited = []
    for steps in each_step(lambda steps: dying(Port(), steps).one("a")):
        with pytest.raises(Died):
            dying(Port(), steps).one("a")
        visited.append(steps.names[-1])

    assert visited == ["before one", "after one"]


def test_death_is_not_an_exception_that_is_caught_by_the_way() -> None:
    assert not issubclass(Died, Exception)
