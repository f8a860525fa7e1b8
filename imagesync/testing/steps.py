"""Dying at every step, with the steps counted by the code that is tested.

A *step* is the moment before, or the moment after, a call of a method of a port. A scenario is run once to count them,
and then once for each, dying there::

    for steps in each_step(scenario):
        world = World()
        with pytest.raises(Died):
            scenario(world, steps)
        converge(world)

A killed process does nothing any more. Therefore every step after the death dies as well: clean-up code that runs
while ``Died`` travels up cannot change anything through a port.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Died(BaseException):
    """The process was killed here. No error: nothing that catches ``Exception`` catches it."""


class Steps:
    """Counts steps and dies at number ``die_at``, counted from 1; never if that is ``None``."""

    def __init__(self, die_at: int | None = None) -> None:
        """Begin to count."""
        self.die_at = die_at
        self.names: list[str] = []
        self.dead = False
        self._lock = threading.Lock()

    def step(self, name: str) -> None:
        """Pass a step.

        Raises:
            Died: at step ``die_at``, and at every later one.
        """
        with self._lock:
            if self.dead:
                raise Died(self.names[-1])
            self.names.append(name)
            self.dead = len(self.names) == self.die_at
        if self.dead:
            raise Died(name)


class Dying:
    """Forwards to ``port``; each call of a method is two steps, ``before`` and ``after``."""

    def __init__(self, port: object, steps: Steps, prefix: str = "") -> None:
        """Wrap ``port``. ``prefix`` goes in front of the steps' names."""
        self._port = port
        self._steps = steps
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - it stands for any attribute of any port
        """Return the port's attribute; a method comes with its steps around it."""
        attribute = getattr(self._port, name)
        return self._around(attribute, f"{self._prefix}{name}") if callable(attribute) else attribute

    def _around(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: object, **options: object) -> object:
            self._steps.step(f"before {name}")
            result = method(*arguments, **options)
            self._steps.step(f"after {name}")
            return result

        return call


def dying(port: T, steps: Steps, prefix: str = "") -> T:
    """Return ``port`` with steps around each of its methods, in the type of the port."""
    return cast("T", Dying(port, steps, prefix))


def each_step(scenario: Callable[[Steps], object]) -> Iterator[Steps]:
    """Run ``scenario`` once to count its steps, then yield a ``Steps`` for each that dies there.

    The caller runs the scenario again with each, on a fresh world.
    """
    counted = Steps()
    scenario(counted)
    for number in range(1, len(counted.names) + 1):
        yield Steps(die_at=number)
