"""Measurements that mean the same on every machine: ratios of two things timed in turn, in one run.

A script ``bench_NAME.py`` beside this file has ``measure() -> dict``, made by ``ratio`` or ``limit``, or a list of
such. ``python tests/bench [NAME]...`` runs them, prints a table, writes ``build/bench.json`` and exits with 1 when a
value is beyond its limit.
"""

import gc
import os
import platform
import resource
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Any

ROUNDS = 5

Measurement = dict[str, Any]


def wall(action: Callable[[], object]) -> float:
    """Return the seconds that ``action`` takes on the wall."""
    begin = perf_counter()
    action()
    return perf_counter() - begin


def child_cpu(action: Callable[[], object]) -> float:
    """Return the seconds of processor time used by the processes that ``action`` runs and waits for."""
    begin = resource.getrusage(resource.RUSAGE_CHILDREN)
    action()
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    return end.ru_utime - begin.ru_utime + end.ru_stime - begin.ru_stime


def alternate(actions: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Return what each action gave in each round; the actions take turns, so that a slow minute hits all of them.

    Each action measures itself, so that preparing and clearing away stay outside.
    """
    if rounds < ROUNDS:
        msg = f"at least {ROUNDS} rounds, not {rounds}"
        raise ValueError(msg)
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            gc.collect()
            taken[name].append(action())
    return taken


def ratio(
    name: str, ours: Callable[[], float], reference: Callable[[], float], *, at_most: float, rounds: int = ROUNDS
) -> Measurement:
    """Return the median of ``ours`` divided by the median of ``reference``, measured in turn, and whether it holds."""
    taken = alternate({"ours": ours, "reference": reference}, rounds)
    value = median(taken["ours"]) / median(taken["reference"])
    return limit(name, value, at_most=at_most, unit="x", samples=taken)


def limit(
    name: str, value: float, *, at_most: float, unit: str, samples: Mapping[str, Sequence[float]] | None = None
) -> Measurement:
    """Return a value with its limit and whether it holds; ``samples`` are kept for the record."""
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "limit": at_most,
        "ok": value <= at_most,
        "samples": {key: [round(sample, 6) for sample in taken] for key, taken in (samples or {}).items()},
    }


def machine() -> dict[str, Any]:
    """Return what a reader needs to judge the figures."""
    return {"processors": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}


def table(measurements: Iterable[Measurement]) -> str:
    """Return one line per measurement: name, value, limit, verdict."""
    lines = [f"{'measurement':<64} {'value':>12} {'limit':>12}"]
    for found in measurements:
        value, bound = (f"{found[key]:.2f} {found['unit']}" for key in ("value", "limit"))
        lines.append(f"{found['name']:<64} {value:>12} {bound:>12}  {'ok' if found['ok'] else 'TOO MUCH'}")
    return "\n".join(lines)


def log(text: str) -> None:
    """Say on stderr what is being measured; results go to stdout."""
    print(text, file=sys.stderr, flush=True)
