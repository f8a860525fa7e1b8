"""Tests that run again and again over changed code, each time in a fork of one process in which all is warm.

The plugin runs the chosen tests twice: first to set up what they share, then to see which lines each runs and how long
it takes. A mutant is then judged by the tests that run its statement, the quickest first, in a child that has only to
put the changed code in the place of the other.
"""

from __future__ import annotations

import gc
import importlib
import os
import resource
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, NoReturn, Protocol

import pytest
from sites import Mutant

LONGEST = 5.0
"""Seconds of the processor. A test that takes longer judges no mutant."""

LONG = 0.25
"""Seconds. A test that takes longer is asked about every mutant: looking at what it runs would take too long."""

ENDLESS = 2
"""Seconds of the processor, beside four times what it takes else, after which a test never ends: it saw the mutant."""

MEMORY = 4 << 30
"""Bytes that a mutant may have."""

KEEN = 5
"""How many tests are asked first because they saw the mutants before this one: neighbours often are seen by one."""

QUICK = 0.05
"""Seconds of the processor. A test that takes longer waits until the quicker ones were asked."""

NOBODY = "nobody"


class Judged(Protocol):
    """Takes a verdict."""

    def __call__(self, mutant: Mutant, /, *, is_killed: bool) -> None: ...


@dataclass
class Warm:
    """A pytest plugin that judges mutants instead of running tests once."""

    mutants: Sequence[Mutant]
    report: Judged
    runs: dict[pytest.Item, Mapping[str, set[int]]] = field(default_factory=dict)
    seconds: dict[pytest.Item, float] = field(default_factory=dict)
    saw: list[pytest.Item] = field(default_factory=list)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what chance decides: another run must come to the same verdicts."""
        items[:] = [item for item in items if item.get_closest_marker("hypothesis") is None]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Judge all mutants."""
        for item, after in _with_next(session.items):
            begin = _spent()
            item.ihook.pytest_runtest_protocol(item=item, nextitem=after)
            self.seconds[item] = _spent() - begin
        files = {mutant.file for mutant in self.mutants}
        for item, after in _with_next([item for item in session.items if self.seconds[item] <= LONG]):
            with _traced(files) as lines:
                item.ihook.pytest_runtest_protocol(item=item, nextitem=after)
                is_whole = sys.gettrace() is not None  # the deepest call of a recursion ends it
            if is_whole:
                self.runs[item] = lines
        if session.testsfailed:
            raise pytest.UsageError("a test fails without any change")
        gc.collect()
        gc.freeze()  # what is never looked at again is never copied into a child
        for mutant in self.mutants:
            self.report(mutant, is_killed=self._is_killed(session, mutant))
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Show why a test fails; in a child nobody sees it."""
        if report.failed:
            print(report.nodeid, report.longreprtext)

    def _judges(self, mutant: Mutant) -> list[pytest.Item]:
        """Return the tests that run a mutant's statement: those that saw the last ones, then the quickest first."""
        running = [item for item in self.seconds if self._runs(item, mutant)]
        last = [item for item in self.saw[-KEEN:] if self.seconds[item] < QUICK]
        return sorted(running, key=lambda item: (item not in last, self.seconds[item]))

    def _runs(self, item: pytest.Item, mutant: Mutant) -> bool:
        if item not in self.runs:
            return self.seconds[item] <= LONGEST
        ran = self.runs[item].get(mutant.file, set())
        if mutant.lines:
            return bool(ran & mutant.lines)
        return bool(ran) or item.path.stem == f"test_{mutant.module}"  # which may look at a value alone

    def _is_killed(self, session: pytest.Session, mutant: Mutant) -> bool:
        judges = self._judges(mutant)
        said, tell = os.pipe()
        child = os.fork()
        if not child:
            _judge(session, mutant, {item: self.seconds[item] for item in judges}, tell)
        os.close(tell)
        with os.fdopen(said) as answer:
            number = answer.read()
        os.waitpid(child, 0)
        if number.isdigit():
            self.saw.append(judges[int(number)])
        return number != NOBODY


def _judge(session: pytest.Session, mutant: Mutant, judges: Mapping[pytest.Item, float], tell: int) -> NoReturn:
    """Say, in a child, which test sees the mutant, ``NOBODY``, or nothing if it cannot be imported or never ends."""
    try:
        gc.disable()
        session.config.option.tbstyle = "no"  # nobody sees why a test fails, and finding its source takes long
        _confine()
        _transplant(mutant.code(), importlib.import_module(f"imagesync.lists.{mutant.module}"))
        number = 0
        for item, after in _with_next(list(judges)):
            end = ceil(time.process_time() + ENDLESS + 4 * judges[item])
            resource.setrlimit(resource.RLIMIT_CPU, (end, resource.RLIM_INFINITY))
            item.ihook.pytest_runtest_protocol(item=item, nextitem=after)
            if session.testsfailed:
                break
            number += 1
        os.write(tell, (NOBODY if number == len(judges) else str(number)).encode())
    finally:
        os._exit(0)


def _with_next(items: Sequence[pytest.Item]) -> Iterator[tuple[pytest.Item, pytest.Item]]:
    """Yield each test and the one after it; after the last comes the first, so that what all share is kept."""
    return zip(items, [*items[1:], *items[:1]], strict=True)


def _spent() -> float:
    return sum(os.times()[:4])


@contextmanager
def _traced(files: Collection[str]) -> Iterator[Mapping[str, set[int]]]:
    """Give sets to which the lines of files are added that run."""
    lines: dict[str, set[int]] = {file: set() for file in files}

    def local(frame: FrameType, event: str, _: object) -> Any:
        if event == "line":
            lines[frame.f_code.co_filename].add(frame.f_lineno)
        return local

    def trace(frame: FrameType, *_: object) -> Any:
        return local if frame.f_code.co_filename in files else None

    threading.settrace(trace)
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]


def _confine() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


# --- changed code in the place of the other --------------------------------------------------------------------------
def _transplant(code: CodeType, module: ModuleType) -> None:
    """Give a module's functions, wherever they were imported to, the code of a changed one, and it its values."""
    changed = ModuleType(module.__name__)
    changed.__file__ = module.__file__
    exec(code, changed.__dict__)
    for name, new in vars(changed).items():
        old = vars(module).get(name)
        if isinstance(new, type) and new.__module__ == module.__name__:
            for inner, value in vars(new).items():
                _replace_code(vars(old).get(inner), value)
        elif getattr(new, "__module__", None) == module.__name__ and callable(new):
            _replace_code(old, new)
        elif not name.startswith("__") and (type(new) is not type(old) or new != old):
            _replace_value(name, old, new)


def _replace_code(old: Any, new: Any) -> None:
    while hasattr(new, "__wrapped__"):
        old, new = old.__wrapped__, new.__wrapped__
    if isinstance(old, FunctionType) and isinstance(new, FunctionType) and old.__module__ == new.__module__:
        old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__


def _replace_value(name: str, old: object, new: object) -> None:
    """Give a module's value also to those who imported it."""
    for module in list(sys.modules.values()):
        found = getattr(module, "__dict__", {})
        if found.get(name, NOBODY) is old and module.__name__.startswith(("imagesync.", "tests.")):
            found[name] = new
