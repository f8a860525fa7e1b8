"""Time to verify, parse and admit a large list, against ``openssl cms -verify`` and ``json.loads``.

    python tests/bench/bench_lists.py [IMAGES]

Prints one JSON object; both sides run alternately in one process, the medians are compared.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
sys.path.insert(0, str(FIXTURES / "lists"))

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ROUNDS = 7


def message(images: int) -> bytes:
    """Return a signed list of so many images, in the size that AppDB's entries have."""
    import generate
    import pki

    warnings.filterwarnings("ignore", "Parsed a serial number")
    endorser = pki.endorsers(pki.authorities())["endorser"]
    padding = {"sl:comments": "x" * 100, "ad:user:fullname": "Some Body", "hv:hypervisor": "KVM"}
    entries = [generate.image(number, **padding) for number in range(1, images + 1)]
    return generate.message(generate.document(endorser, images=entries), endorser)


def ours(path: Path) -> int:
    """Verify, parse and admit as a pass does; return the number of images."""
    from imagesync.lists.admit import AdmissionRules, admit
    from imagesync.lists.anchors import load_anchors
    from imagesync.lists.hepix import parse
    from imagesync.lists.smime import SignaturePolicy, verify
    from imagesync.model import Identity

    base = "/DC=test/DC=imagesync/CN="
    rules = AdmissionRules("bench", "vo.example.org", (Identity(f"{base}Endorser", f"{base}Root CA"),))
    anchors = load_anchors(FIXTURES / "trust" / "anchors")
    payload = verify(path.read_bytes(), anchors, SignaturePolicy(pinned=True), NOW)
    return len(admit(parse(payload), rules, None, NOW).content.images)


def theirs(path: Path) -> int:
    """Verify with OpenSSL's command line and load the JSON; return the number of images."""
    options = ["-purpose", "any", "-x509_strict", "-auth_level", "2", "-crl_check_all", "-no-CAfile", "-no-CAstore"]
    command = ["openssl", "cms", "-verify", "-in", str(path), "-CApath", str(FIXTURES / "trust" / "anchors")]
    at = ["-attime", str(int(NOW.timestamp()))]
    done = subprocess.run([*command, *options, *at], capture_output=True, check=True)
    return len(json.loads(done.stdout)["hv:imagelist"]["hv:images"])


def timed(work: Callable[[Path], int], path: Path, images: int) -> float:
    """Return the seconds of one run, after checking that it did the work."""
    start = time.perf_counter()
    found = work(path)
    seconds = time.perf_counter() - start
    assert found == images
    return seconds


def measure(images: int) -> dict[str, float]:
    """Return the medians of both sides in seconds, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list"
        path.write_bytes(message(images))
        timed(ours, path, images)  # imports are paid once per process, not per list
        pairs = [(timed(ours, path, images), timed(theirs, path, images)) for _ in range(ROUNDS)]
        size = path.stat().st_size
    own, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    return {"images": images, "bytes": size, "imagesync": own, "openssl": other, "ratio": own / other}


if __name__ == "__main__":
    json.dump(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000), sys.stdout, indent=1)
