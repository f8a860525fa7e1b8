"""What one message costs: ``python hostile_one.py ANCHORS MESSAGE``.

Written are, in JSON, the seconds of the processor that it takes to verify and to parse it, the MiB that the process has
at its highest above what it had when everything was imported and the anchors were loaded, and what it came to.
"""

import gc
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from imagesync.errors import TrustError
from imagesync.lists.anchors import load_anchors
from imagesync.lists.hepix import parse
from imagesync.lists.smime import SignaturePolicy, verify

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def _kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


anchors, policy, verdict = load_anchors(Path(sys.argv[1])), SignaturePolicy(pinned=True), "parsed"
gc.collect()
Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the highest begins anew
imported, begin = _kib("VmRSS"), time.process_time()
blob = Path(sys.argv[2]).read_bytes()
try:
    content = parse(verify(blob, anchors, policy, NOW))
except TrustError as error:
    verdict = f"{error.reason}: {error.detail}"
spent = time.process_time() - begin
json.dump({"seconds": spent, "MiB": (_kib("VmHWM") - imported) / 1024, "verdict": verdict[:200]}, sys.stdout)
