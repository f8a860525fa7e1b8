"""At least 10,000 changed messages in every run, others for each commit; ``make fuzz`` goes on for as long as it may."""

import resource
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

SHARES = 4
EACH = {"bytes": 700, "lines": 800, "nodes": 800, "json": 300}
MOST_MEMORY = 200 * 1024  # KiB


@pytest.fixture(scope="module")
def commit() -> str:
    asked = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def trial() -> Any:
    from mutants import Trial

    return Trial()


def test_a_run_has_ten_thousand_changed_messages() -> None:
    assert sum(EACH.values()) * SHARES >= 10_000


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("kind", EACH)
def test_no_changed_message_passes_for_another(trial: Any, commit: str, kind: str, share: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    for number in range(EACH[kind]):
        seed = f"{commit} {kind} {share} {number}"
        try:
            trial.check(kind, Random(seed))
        except BaseException as error:
            error.add_note(f"Random({seed!r})")
            raise

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MEMORY


def test_no_bit_of_a_signature_gives_another_signer(trial: Any, commit: str) -> None:
    """Other ones for each commit; all of a message take a minute."""
    dice = Random(commit)
    seed = dice.choice(trial.seeds)

    for bit in dice.sample(range(8 * len(seed.signature)), 700):
        signature = bytearray(seed.signature)
        signature[bit // 8] ^= 1 << bit % 8
        trial.judge(seed.envelope(bytes(signature)))


def test_some_changes_do_not_matter(trial: Any) -> None:
    # Else the changes were so coarse that nothing was tested behind the envelope.
    before = trial.accepted

    for number in range(200):
        trial.check("lines", Random(number))

    assert 10 < trial.accepted - before < 150
