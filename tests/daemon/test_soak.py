"""A short slice of ``make soak``: a real daemon, disturbed, stays flat."""

import importlib.util
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

SECONDS = 20


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("soak", Path(__file__).parents[1] / "soak" / "soak.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["soak"]


def test_memory_descriptors_threads_and_state_do_not_grow(soak, tmp_path):
    chance = random.Random(1)
    figures = []
    with soak.Site(tmp_path, datetime.now(UTC)) as site:
        due = time.monotonic() + SECONDS
        while time.monotonic() < due or figures[-1].passes < 6:
            site.disturb(chance)
            site.look()
            time.sleep(0.5)
            figures.append(site.figures())

    assert soak.growth(figures[len(figures) // 4 :]) == []


def test_growth_is_noticed(soak):
    flat = [soak.Figures(100 << 20, 10, 5, 1 << 20, number, 0) for number in range(4)]
    grown = [soak.Figures(120 << 20, 20, 9, 20 << 20, number, 0) for number in range(4, 8)]

    assert soak.growth(flat) == []
    assert [line.split()[0] for line in soak.growth(flat + grown)] == ["memory", "descriptors", "threads", "state"]
    leak = [
        soak.Figures(100 << 20, 10, 5, 1 << 20, number, 0, opened=20 + number % 3 * 9 + number) for number in range(8)
    ]
    assert [line.partition(" from")[0] for line in soak.growth(leak)] == ["what is open"]
    dead = [soak.Figures(100 << 20, 10, 5, 1 << 20, number, 0, 9, number) for number in range(4)]
    assert soak.growth(dead)[0].startswith("what the page did not give")
    assert soak.growth(flat[:1] * 4)[0].startswith("nothing")
