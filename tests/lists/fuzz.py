"""Changed messages for as long as one likes, chosen and made smaller by Hypothesis: ``python tests/lists/fuzz.py MINUTES``.

What fails is printed and kept in ``build/fuzz``, from where the next run tries it first.
"""

import sys
import time
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase

sys.path.insert(0, str(Path(__file__).parent))

from mutants import MUTATIONS, Trial

KEPT = Path(__file__).resolve().parents[2] / "build" / "fuzz"
ROUND = settings(
    max_examples=2000,
    deadline=None,
    database=DirectoryBasedExampleDatabase(KEPT),
    suppress_health_check=list(HealthCheck),
    phases=(Phase.reuse, Phase.generate, Phase.shrink),
)


def main(minutes: float) -> None:
    """Run rounds until the time is over.

    Raises:
        AssertionError: A changed message passed for another, or took too long.
    """
    trial, begin, judged = Trial(), time.monotonic(), 0

    def check(kind: str, dice: Random, number: int) -> None:
        nonlocal judged
        judged += 1
        trial.check(kind, Random(number) if number % 2 else dice)

    dice, numbers = st.randoms(use_true_random=False), st.integers(0, 2**64)
    while time.monotonic() - begin < 60 * minutes:
        seed(time.time_ns())(ROUND(given(st.sampled_from(sorted(MUTATIONS)), dice, numbers)(check)))()
        print(f"{judged:,} messages, {trial.accepted:,} of them verify and say the same", flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))
