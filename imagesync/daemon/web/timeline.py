"""The last passes as a picture: how long they took, what they moved, what failed. Pure; a template draws it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from imagesync.run.history import RunDigest

MOST = 60
WIDTH, LEFT, GAP = 960, 92, 4
_ROWS = (("duration", 20, 72), ("moved", 116, 72), ("failed", 212, 34))
HEIGHT = 262


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: of one run in one row."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """A run and its bars, by row."""

    run: RunDigest
    x: float
    width: float
    bars: tuple[tuple[str, Bar], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its ``name``, its base line, the height of its bars, and what the highest stands for."""

    name: str
    base: float
    height: float
    most: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """The picture, in units of a view box of ``WIDTH`` by ``HEIGHT``. The newest run is on the right."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT


_VALUES: tuple[Callable[[RunDigest], float], ...] = (
    lambda run: run.seconds or 0.0,
    lambda run: float(run.downloaded + run.uploaded),
    lambda run: float(run.failed),
)


def timeline(runs: Sequence[RunDigest]) -> Timeline:
    """Return the picture of the newest runs; ``runs`` has the newest first."""
    chosen = list(reversed(runs[:MOST]))
    rows = tuple(
        Row(name, top + height, height, max((value(run) for run in chosen), default=0.0))
        for (name, top, height), value in zip(_ROWS, _VALUES, strict=True)
    )
    step = min((WIDTH - LEFT) / max(len(chosen), 1), 40.0)
    columns = tuple(_column(run, LEFT + number * step, step, rows) for number, run in enumerate(chosen))
    return Timeline(columns, rows)


def _column(run: RunDigest, x: float, step: float, rows: Sequence[Row]) -> Column:
    width = round(step - GAP, 2)
    bars = []
    for row, value in zip(rows, _VALUES, strict=True):
        height = _height(value(run), row)
        if height:
            bars.append((row.name, Bar(round(x, 2), round(row.base - height, 2), width, height)))
    return Column(run, round(x, 2), width, tuple(bars))


def _height(value: float, row: Row) -> float:
    """Return the height of a bar. The root, so that one that is large does not flatten the others."""
    return round(max(math.sqrt(value / row.most) * row.height, 2.0), 2) if value > 0 and row.most > 0 else 0.0
