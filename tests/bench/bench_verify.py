"""Verification against OpenSSL: of a list of 10,000 images and of a small one; and loading the IGTF distribution.

Of the large list, ours reads the trust anchors and the message and goes on to a ``TrustedList``, as a pass does. The reference is
``openssl cms -verify`` with the same strictness as a process, and ``json.loads`` of what it put out. Of the small list, ours is the verification alone, with anchors that were loaded
once, as they are for all lists of a pass.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import warnings
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import harness

from imagesync.lists.admit import AdmissionRules, admit
from imagesync.lists.anchors import load_anchors
from imagesync.lists.hepix import parse
from imagesync.lists.smime import SignaturePolicy, verify
from imagesync.model import Identity

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
ANCHORS = FIXTURES / "trust" / "anchors"
DISTRIBUTION = Path("/usr/share/igtf-policy")
IMAGES = 10_000
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def measure() -> list[harness.Measurement]:
    """Return our seconds divided by those of the reference, and the seconds that the distribution takes."""
    return [_large(), _small(), _distribution()]


def _large() -> harness.Measurement:
    with tempfile.TemporaryDirectory(prefix="bench-verify-") as folder:
        path = Path(folder) / "image.list"
        path.write_bytes(_message())
        _ours(path)  # imports are paid once per process, not per list
        name = f"verify, parse, admit {IMAGES:,} images / openssl cms -verify, json.loads"
        return harness.ratio(
            name,
            lambda: harness.wall(lambda: _check(_ours(path))),
            lambda: harness.wall(lambda: _check(_reference(path))),
            at_most=2.0,
            rounds=7,
        )


def _small() -> harness.Measurement:
    path = FIXTURES / "lists" / "good" / "plain.list"
    anchors, blob = load_anchors(ANCHORS), path.read_bytes()
    verify(blob, anchors, SignaturePolicy(), NOW)
    return harness.ratio(
        "one verification of a small list / openssl cms -verify",
        lambda: harness.wall(lambda: verify(blob, anchors, SignaturePolicy(), NOW)),
        lambda: harness.wall(lambda: _openssl(path)),
        at_most=1.0,
        rounds=51,
    )


def _distribution() -> harness.Measurement:
    with tempfile.TemporaryDirectory(prefix="bench-anchors-") as folder:
        for file in DISTRIBUTION.glob("*/*"):
            shutil.copy(file, Path(folder) / file.name, follow_symlinks=False)
        times = [harness.wall(lambda: load_anchors(Path(folder))) for _ in range(7)]
    return harness.limit("load the distribution of the IGTF", median(times), at_most=0.5, unit="s")


def _message() -> bytes:
    """Return a signed list whose entries have the size of AppDB's."""
    sys.path.insert(0, str(FIXTURES / "lists"))
    import generate
    import pki

    warnings.filterwarnings("ignore", "Parsed a serial number")
    endorser = pki.endorsers(pki.authorities())["endorser"]
    padding = {"sl:comments": "x" * 100, "ad:user:fullname": "Some Body", "hv:hypervisor": "KVM"}
    entries = [generate.image(number, **padding) for number in range(1, IMAGES + 1)]
    return generate.message(generate.document(endorser, images=entries), endorser)


def _ours(path: Path) -> int:
    base = "/DC=test/DC=imagesync/CN="
    rules = AdmissionRules("bench", "vo.example.org", (Identity(f"{base}Endorser", f"{base}Root CA"),))
    payload = verify(path.read_bytes(), load_anchors(ANCHORS), SignaturePolicy(pinned=True), NOW)
    return len(admit(parse(payload), rules, None, NOW).content.images)


def _reference(path: Path) -> int:
    return len(json.loads(_openssl(path))["hv:imagelist"]["hv:images"])


def _openssl(path: Path) -> bytes:
    strict = ["-purpose", "any", "-x509_strict", "-auth_level", "2", "-crl_check_all", "-no-CAfile", "-no-CAstore"]
    command = ["openssl", "cms", "-verify", "-in", str(path), "-CApath", str(ANCHORS), *strict]
    return subprocess.run([*command, "-attime", str(int(NOW.timestamp()))], capture_output=True, check=True).stdout


def _check(images: int) -> None:
    if images != IMAGES:
        raise RuntimeError(f"{images} images instead of {IMAGES}")
